"""One file's header, read once: everything that ordering, scaling and labelling need, and where its pixels lie.

Which reader takes a file is decided by its SOP class (`READERS`); a new kind of object is a new entry.
"""

import dataclasses
import math
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import UID, ImplicitVRLittleEndian

_TEXT = {
    "patient_id": "PatientID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "sop_uid": "SOPInstanceUID",
    "description": "SeriesDescription",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "rescale_type": "RescaleType",
    "photometric": "PhotometricInterpretation",
}
_NUMBERS = {  # None where absent or empty
    "instance_number": "InstanceNumber",
    "temporal_position": "TemporalPositionIdentifier",
    "temporal_positions": "NumberOfTemporalPositions",
    "acquisition_number": "AcquisitionNumber",
    "trigger_time_ms": "TriggerTime",
    "temporal_resolution_ms": "TemporalResolution",
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "flip_angle_deg": "FlipAngle",
    "field_strength_t": "MagneticFieldStrength",
    "slice_thickness_mm": "SliceThickness",
    "slice_spacing_mm": "SpacingBetweenSlices",
    "padding_value": "PixelPaddingValue",
}
_GE_SLICES = 0x0021104F  # how many locations a GE scanner planned
_PHILIPS_SLICES = 0x20011018
_PHILIPS_LABEL = 0x20051429  # label or control image of arterial spin labelling
_OTHER = [
    "SOPClassUID",
    "ImageType",
    "Rows",
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "AcquisitionDate",
    "AcquisitionTime",
    "RealWorldValueMappingSequence",
]
_TAGS: list[Any] = [*_TEXT.values(), *_NUMBERS.values(), *_OTHER, _GE_SLICES, _PHILIPS_SLICES, _PHILIPS_LABEL]
_FLOAT_PIXELS = {0x7FE00008: np.dtype("<f4"), 0x7FE00009: np.dtype("<f8")}
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")


class DicomError(ValueError):
    """A file, or a series of them, that cannot be used; the message names it and what is wrong with it."""

    patient_id: str = ""  # whose file it is, where its header says so


class DamagedError(DicomError):
    """One file is damaged: it counts as a missing image."""


class SkippedError(DicomError):
    """The file is not an image that belongs here: a text, a report, another kind of object."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Where the pixels of a frame are and what they mean."""

    offset: int  # of the first byte; 0 where a decoder must find them
    dtype: str  # numpy's name for the stored values, byte order included
    bits: int  # of these, how many count
    slope: float
    intercept: float
    padding: float | None  # stored value that means "nothing here"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image. Patient's identifiers in it never leave the memory of the converter."""

    path: str
    name: str  # relative to the folder that is read: what a message may show
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    description: str
    manufacturer: str
    model: str
    rescale_type: str
    photometric: str
    image_type: tuple[str, ...]
    shape: tuple[int, int]  # rows, columns
    orientation: tuple[float, ...]  # direction of a row, then of a column, in patient coordinates (LPS)
    position_mm: tuple[float, ...]  # of the first pixel
    pixel_spacing_mm: tuple[float, float]  # between rows, between columns
    pixels: Pixels
    real_world: tuple[float, float, str] | None  # slope, intercept, unit of a real world value mapping
    label: str  # "LABEL", "CONTROL" or nothing
    slices: int | None  # planned by the scanner
    acquired_s: float | None  # when, seconds since midnight of the series' first day
    instance_number: float | None
    temporal_position: float | None
    temporal_positions: float | None
    acquisition_number: float | None
    trigger_time_ms: float | None
    temporal_resolution_ms: float | None
    echo_time_ms: float | None
    repetition_time_ms: float | None
    flip_angle_deg: float | None
    field_strength_t: float | None
    slice_thickness_mm: float | None
    slice_spacing_mm: float | None


def read_frame(path: Path, name: str) -> Frame:
    """Reads the header of one file.

    Args:
      path: of the file; a link, a pipe or a device is never opened.
      name: relative path for messages.

    Returns:
      The frame. Its pixels are read by `pixels.read_pixels`.

    Raises:
      SkippedError: no image of a kind that is read here.
      DamagedError: an image whose header or pixels are incomplete.
      DicomError: an image with values that make its whole series unusable.

    Example:
      `read_frame(Path("export/IM0001"), "IM0001").instance_number`
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise SkippedError(f"{name}: not a regular file, not opened")
    try:
        with path.open("rb") as file:
            magic = file.read(132)[128:]
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=magic != b"DICM")
            sop_class = str(dataset.get("SOPClassUID", ""))
            if not sop_class:
                raise SkippedError(f"{name}: not a DICOM image")
            syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)))
            if sop_class not in READERS:
                kind = UID(sop_class).name
                raise SkippedError(f"{name}: {kind} is not read; export the series as classic MR images")
            start = file.tell()
            head = file.read(12)
    except DicomError:
        raise
    except Exception as error:  # pydicom raises nearly anything on noise
        raise SkippedError(f"{name}: not a readable DICOM file ({type(error).__name__})") from error
    try:
        return READERS[sop_class](dataset, syntax, start, head, found.st_size, path, name)
    except DicomError as error:
        error.patient_id = _text(dataset.get("PatientID"))
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        damaged = DamagedError(f"{name}: a value in its header cannot be read ({type(error).__name__})")
        damaged.patient_id = _text(dataset.get("PatientID"))
        raise damaged from error


def _classic(dataset: pydicom.Dataset, syntax: UID, start: int, head: bytes, size: int, path: Path, name: str) -> Frame:
    for keyword in ("Rows", "Columns", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        if dataset.get(keyword) in (None, ""):
            raise DamagedError(f"{name}: no {keyword} in its header")
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise DicomError(f"{name}: a colour image; measured values are needed, not a picture of them")
    if "MOSAIC" in (dataset.get("ImageType", None) or ()):
        raise DicomError(f"{name}: a Siemens mosaic is not read; export the series as one image a slice")
    orientation = _vector(dataset, "ImageOrientationPatient", 6, name)
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    if abs(row @ row - 1) > 1e-2 or abs(column @ column - 1) > 1e-2 or abs(row @ column) > 1e-2:
        raise DicomError(f"{name}: ImageOrientationPatient {orientation} is not two perpendicular directions")
    spacing = _vector(dataset, "PixelSpacing", 2, name)
    if min(spacing) <= 0:
        raise DicomError(f"{name}: PixelSpacing {spacing} is not positive")
    texts: dict[str, Any] = {field: _text(dataset.get(keyword)) for field, keyword in _TEXT.items()}
    numbers: dict[str, Any] = {field: _number(dataset.get(keyword)) for field, keyword in _NUMBERS.items()}
    padding = numbers.pop("padding_value")
    return Frame(
        path=str(path),
        name=name,
        **texts,
        **numbers,
        image_type=tuple(str(value) for value in dataset.get("ImageType", None) or ()),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        orientation=orientation,
        position_mm=_vector(dataset, "ImagePositionPatient", 3, name),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        pixels=_find_pixels(dataset, syntax, start, head, size, name, padding),
        real_world=_real_world(dataset),
        label=_private(dataset, _PHILIPS_LABEL),
        slices=int(_private(dataset, _GE_SLICES) or _private(dataset, _PHILIPS_SLICES) or 0) or None,
        acquired_s=_acquired_s(dataset),
    )


READERS: dict[str, Callable[..., Frame]] = {"1.2.840.10008.5.1.4.1.1.4": _classic}  # MR Image Storage


def _find_pixels(
    dataset: pydicom.Dataset, syntax: UID, start: int, head: bytes, size: int, name: str, padding: float | None
) -> Pixels:
    slope, intercept = (
        default if dataset.get(keyword) in (None, "") else float(dataset[keyword].value)
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise DicomError(f"{name}: RescaleSlope {slope} and RescaleIntercept {intercept} give no values")
    order = "<" if syntax.is_little_endian or syntax.is_compressed else ">"
    tag = int.from_bytes(head[:2], "little" if order == "<" else "big") << 16
    tag += int.from_bytes(head[2:4], "little" if order == "<" else "big")
    if len(head) < 8 and not syntax.is_deflated:
        raise DamagedError(f"{name}: no pixel data")
    if tag in _FLOAT_PIXELS:
        dtype = _FLOAT_PIXELS[tag].newbyteorder(order)
    else:
        allocated = int(dataset.get("BitsAllocated", 16))
        if allocated not in (8, 16, 32):
            raise DamagedError(f"{name}: BitsAllocated is {allocated}; 8, 16 and 32 are read")
        dtype = np.dtype(f"{order}{'i' if dataset.get('PixelRepresentation', 0) else 'u'}{allocated // 8}")
    bits = int(dataset.get("BitsStored", 8 * dtype.itemsize)) if dtype.kind != "f" else 8 * dtype.itemsize
    native = not (syntax.is_compressed or syntax.is_deflated) and dataset.get("HighBit", bits - 1) in (bits - 1, None)
    offset = 0
    if native:
        offset = start + (12 if not syntax.is_implicit_VR and head[4:6] in _LONG_VRS else 8)
        wanted = int(dataset.Rows) * int(dataset.Columns) * dtype.itemsize
        if size - offset < wanted:
            raise DamagedError(f"{name}: {size - offset} bytes of pixel data, {wanted} wanted")
    return Pixels(offset, dtype.str, bits, slope, intercept, padding)


def _real_world(dataset: pydicom.Dataset) -> tuple[float, float, str] | None:
    mappings = dataset.get("RealWorldValueMappingSequence", None)
    if not mappings:
        return None
    mapping = mappings[0]
    units = mapping.get("MeasurementUnitsCodeSequence", None)
    if "RealWorldValueSlope" not in mapping or not units:
        return None
    return (
        float(mapping.RealWorldValueSlope),
        float(mapping.get("RealWorldValueIntercept", 0.0)),
        _text(units[0].get("CodeValue")),
    )


def _acquired_s(dataset: pydicom.Dataset) -> float | None:
    text = _text(dataset.get("AcquisitionTime"))
    if len(text.split(".")[0]) < 6:
        return None
    try:
        seconds = int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
    except ValueError:
        return None
    day = _text(dataset.get("AcquisitionDate"))
    return seconds + (86400.0 * (np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:8]}").astype(int)) if len(day) == 8 else 0)


def _vector(dataset: pydicom.Dataset, keyword: str, length: int, name: str) -> tuple[float, ...]:
    value = dataset[keyword].value
    try:
        values = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        values = ()
    if len(values) != length or not all(map(math.isfinite, values)):
        raise DicomError(f"{name}: {keyword} holds no {length} finite numbers")
    return values


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _private(dataset: pydicom.Dataset, tag: int) -> str:
    value = dataset[tag].value if tag in dataset else None
    if not isinstance(value, bytes):
        return _text(value)
    text = value.decode("ascii", "ignore").strip(" \0")  # implicit VR: a private element's type is not known
    return text if text.isalnum() else str(int.from_bytes(value[:4], "little"))
