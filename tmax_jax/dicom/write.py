"""Series of classic MR images as files, as a scanner and a commercial package write them.

It serves simulated patients: the identities are fake and say so, and the same arguments give the same bytes.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

TIME_KEYS = ("temporal_position", "acquisition_number", "trigger_time", "instance_number")
_MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")
_START_S = 36000.0  # the scan starts at ten o'clock
_DAY = "20000101"


@dataclasses.dataclass(frozen=True)
class SeriesHeader:
    """What the images of one series share."""

    patient_id: str
    patient_name: str
    seed_text: str  # of all UIDs; the series of one study begin with the same words up to a colon
    series_number: int
    description: str
    manufacturer: str
    model: str
    image_type: tuple[str, ...]
    spacing_mm: tuple[float, float, float]  # z, y, x
    tilt_rad: float  # of the slices about the left-right axis
    slope: float = 1.0
    intercept: float = 0.0
    rescale_type: str = ""
    time_key: str = "temporal_position"  # one of TIME_KEYS
    frame_interval_s: float = 1.0
    echo_time_ms: float = 30.0
    descending: bool = False  # images numbered from the top slice down


def make_uid(text: str) -> UID:
    """Returns the UID that stands for a text, always the same one.

    Example:
      >>> make_uid("a study").startswith("2.25.")
      True
    """
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15])}")


def images(stored: np.ndarray, header: SeriesHeader) -> Iterator[Dataset]:
    """Makes the images of a series, one after the other.

    Args:
      stored: `[z, y, x, time]`: int16 or uint16 as scanners store, or float32, which keeps NaN (Float Pixel Data).
      header: of the series.

    Returns:
      Data sets with file meta information, times fastest within a slice; each is the one before, changed, so use it
      before the next is asked for. What a vendor's time key asks for is in the
      headers and nothing else tells the time.
    """
    slices, rows, columns, times = stored.shape
    template = _template(header, rows, columns, stored.dtype)
    cos, sin = np.cos(header.tilt_rad), np.sin(header.tilt_rad)
    row, column, normal = np.array([1.0, 0, 0]), np.array([0, cos, sin]), np.array([0, -sin, cos])
    z_mm, y_mm, x_mm = header.spacing_mm
    centre = -0.5 * ((columns - 1) * x_mm * row + (rows - 1) * y_mm * column + (slices - 1) * z_mm * normal)
    template.ImageOrientationPatient = _decimals([*row, *column])
    planes = np.ascontiguousarray(np.moveaxis(stored, -1, 1))
    for z in range(slices):
        template.ImagePositionPatient = _decimals(centre + z * z_mm * normal)
        template.SliceLocation = _decimals([z * z_mm])[0]
        for t in range(times):
            _number(template, header, z, t, slices, times)
            uid = make_uid(f"{header.seed_text} {header.series_number} {z} {t}")
            template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
            pixels = planes[z, t].tobytes()
            if stored.dtype.kind == "f":
                template.FloatPixelData = pixels
            else:
                template.PixelData = pixels
            yield template


def write_images(paths: list[Path | None], stored: np.ndarray, header: SeriesHeader) -> int:
    """Writes the images of a series.

    Args:
      paths: one an image, in the order of `images`; None leaves an image out, as a lost file.
      stored: `[z, y, x, time]`.
      header: of the series.

    Returns:
      The number of files written.
    """
    for path in paths:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    for path, dataset in zip(paths, images(stored, header), strict=True):
        if path:
            dcmwrite(path, dataset, enforce_file_format=True)
    return sum(path is not None for path in paths)


def _template(header: SeriesHeader, rows: int, columns: int, dtype: np.dtype) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = _MR_IMAGE
    study = header.seed_text.split(":")[0]
    _, y_mm, x_mm = header.spacing_mm
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": _MR_IMAGE,
        "Modality": "MR",
        "ImageType": list(header.image_type),
        "StudyDate": _DAY,
        "SeriesDate": _DAY,
        "AcquisitionDate": _DAY,
        "StudyTime": _clock(_START_S),
        "SeriesTime": _clock(_START_S),
        "AcquisitionTime": _clock(_START_S),
        "AccessionNumber": "",
        "InstitutionName": "simulated, no institution",
        "ReferringPhysicianName": "",
        "PatientName": header.patient_name,
        "PatientID": header.patient_id,
        "PatientBirthDate": "",
        "PatientSex": "O",
        "PatientPosition": "HFS",
        "Manufacturer": header.manufacturer,
        "ManufacturerModelName": header.model,
        "StudyDescription": "MR stroke protocol (simulated)",
        "SeriesDescription": header.description,
        "StudyInstanceUID": make_uid(f"{study} study"),
        "SeriesInstanceUID": make_uid(f"{header.seed_text} {header.series_number}"),
        "FrameOfReferenceUID": make_uid(f"{study} frame of reference"),
        "StudyID": "1",
        "SeriesNumber": header.series_number,
        "MagneticFieldStrength": "3",
        "ScanningSequence": "EP",
        "SequenceVariant": "SK",
        "MRAcquisitionType": "2D",
        "SequenceName": "epfid2d1",
        "EchoTime": header.echo_time_ms,
        "RepetitionTime": 1000 * header.frame_interval_s,
        "FlipAngle": "90",
        "SliceThickness": header.spacing_mm[0],
        "SpacingBetweenSlices": header.spacing_mm[0],
        "PixelSpacing": _decimals([y_mm, x_mm]),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 8 * dtype.itemsize,
        "RescaleSlope": header.slope,
        "RescaleIntercept": header.intercept,
        "RescaleType": header.rescale_type or "US",
    }
    if dtype.kind != "f":
        values |= {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": int(dtype.kind == "i")}
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _number(dataset: Dataset, header: SeriesHeader, z: int, t: int, slices: int, times: int) -> None:
    """Numbers an image as the vendors do whose time key it is."""
    place = slices - 1 - z if header.descending else z
    slices_fastest, times_fastest = t * slices + place + 1, place * times + t + 1
    time_s = t * header.frame_interval_s
    if header.time_key == "temporal_position":
        dataset.TemporalPositionIdentifier = t + 1
        dataset.NumberOfTemporalPositions = times
        dataset.TriggerTime = f"{1000 * time_s:.3f}"
        dataset.AcquisitionTime = _clock(_START_S + time_s)
        dataset.InstanceNumber = times_fastest
    elif header.time_key == "acquisition_number":
        dataset.AcquisitionNumber = t + 1
        dataset.AcquisitionTime = _clock(_START_S + time_s + header.frame_interval_s * z / slices)
        dataset.InstanceNumber = slices_fastest
    elif header.time_key == "trigger_time":
        dataset.TriggerTime = f"{1000 * time_s:.3f}"
        dataset.InstanceNumber = times_fastest
    else:
        dataset.InstanceNumber = slices_fastest
    dataset.ContentDate = _DAY
    dataset.ContentTime = _clock(_START_S)


def _decimals(values: np.ndarray | list[float]) -> list[str]:
    """Formats numbers as decimal strings, which hold 16 characters at most."""
    return [f"{value + 0.0:.9g}"[:16] for value in values]


def _clock(seconds: float) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{int(hours):02d}{int(minutes):02d}{rest:09.6f}"
