"""From the elements of a header to the frame of an image, and what is wrong with it.

Readers (`readers.py`) find the images in an object; all of them make their frames here, so that every image passes
the same checks. The headers of a series differ in a few elements: what the others say is decoded and checked once for
all images that have them in common.
"""

import functools
import math
from datetime import date
from typing import Any

import numpy as np

from tmax_jax.dicom.elements import Header
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, Object, Pixels
from tmax_jax.dicom.source import Source
from tmax_jax.dicom.tags import WANTED

MAX_FRAME_BYTES = 2**26  # of the pixels of one image as its header claims: 4096 x 4096 of four bytes
_KINDS_OF_IMAGE = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}  # GE's numbers
_MOMENTS = ("FrameAcquisitionDateTime", "FrameReferenceDateTime", "AcquisitionDateTime")
_OF_ONE_IMAGE = (
    "SOPInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "DimensionIndexValues",
    "InStackPositionNumber",
    "TriggerTime",
    "TemporalPositionTimeOffset",
    "AcquisitionDate",
    "AcquisitionTime",
    *_MOMENTS,
)
_OF_MANY = tuple(  # tags of the other elements, sequences and the large private header of mosaics left out
    tag
    for keyword, (tag, vr) in WANTED.items()
    if vr not in ("SQ", "OB") and keyword not in _OF_ONE_IMAGE and keyword != "TransferSyntaxUID"
)


def make_frame(header: Header, found: Object, *, index: int = 0, frames: int = 1) -> Frame:
    """Makes the frame of an image from the elements that hold for it.

    Args:
      header: of the object; of an object of many frames, with the frame's own functional groups merged in.
      found: the object.
      index: of the frame in it.
      frames: in the object.

    Returns:
      The frame.

    Raises:
      DamagedError: something that an image must have is not there.
      DicomError: a value that makes the series unusable.
    """
    of_many = tuple(map(header.elements.get, _OF_MANY))
    try:
        common = _common(of_many, header.endian, found.kind, found.endian, found.pixel_type)
        if not header.has("ImagePositionPatient"):
            raise DamagedError("no ImagePositionPatient in its header")
        position_mm = _vector(header, "ImagePositionPatient", 3)
        real_world, quantity = _real_world(header)
        pixels = _place_pixels(common, found, index, frames)
    except DicomError as error:
        raise type(error)(f"{found.name}: {error}") from None
    return common._replace(
        source=found.source,
        name=found.name,
        sop_uid=header.text("SOPInstanceUID"),
        quantity=quantity or common.quantity,
        position_mm=position_mm,
        pixels=pixels,
        real_world=real_world,
        frames_in_file=frames,
        frame_number=index + 1 if frames > 1 else None,
        dimension_index=tuple(map(int, header.numbers("DimensionIndexValues"))),
        acquired_s=_acquired_s(header),
        instance_number=header.number("InstanceNumber"),
        temporal_position=_first(header, "TemporalPositionIdentifier", "TemporalPositionIndex"),
        acquisition_number=_first(header, "FrameAcquisitionNumber", "AcquisitionNumber"),
        trigger_time_ms=_trigger_time_ms(header),
    )


@functools.lru_cache(256)
def _common(values: tuple[Any, ...], endian: str, kind: str, pixel_endian: str, pixel_type: str) -> Frame:
    """Makes a frame of the elements that many images have in common; errors do not name the file yet."""
    elements = {tag: value for tag, value in zip(_OF_MANY, values, strict=True) if value is not None}
    header = Header(elements, endian)
    for keyword in ("Rows", "Columns", "ImageOrientationPatient", "PixelSpacing"):
        if not header.has(keyword):
            raise DamagedError(f"no {keyword} in its header")
    if (header.number("SamplesPerPixel") or 1) != 1 or header.text("PhotometricInterpretation") == "PALETTE COLOR":
        raise DicomError("a colour image; measured values are needed, not a picture of them")
    shape = _matrix(header)
    spacing = _vector(header, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise DicomError(f"PixelSpacing {spacing} is not positive")
    return Frame(
        source=Source(""),
        name="",
        kind=kind,
        patient_id=header.text("PatientID"),
        study_uid=header.text("StudyInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
        sop_uid="",
        series_number=header.number("SeriesNumber"),
        description=header.text("SeriesDescription"),
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        rescale_type=header.text("RescaleType"),
        photometric=header.text("PhotometricInterpretation"),
        image_type=header.texts("FrameType") or header.texts("ImageType"),
        component=_component(header),
        quantity=header.text("ContentLabel"),
        shape=shape,
        orientation=_orientation(header),
        position_mm=(),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        pixels=_describe_pixels(header, pixel_endian, pixel_type, shape),
        label=header.text("PhilipsLabel") or header.text("ASLContext"),
        slices=int(header.number("GESlices") or header.number("PhilipsSlices") or 0) or None,
        temporal_positions=header.number("NumberOfTemporalPositions"),
        temporal_resolution_ms=header.number("TemporalResolution"),
        echo_time_ms=_first(header, "EffectiveEchoTime", "EchoTime"),
        repetition_time_ms=header.number("RepetitionTime"),
        flip_angle_deg=header.number("FlipAngle"),
        b_value=_first(header, "DiffusionBValue", "PhilipsBValue", "SiemensBValue", "UIHBValue"),
        field_strength_t=header.number("MagneticFieldStrength"),
        slice_thickness_mm=header.number("SliceThickness"),
        slice_spacing_mm=header.number("SpacingBetweenSlices"),
    )


def _matrix(header: Header) -> tuple[int, int]:
    rows, columns = (int(header.number(keyword) or 0) for keyword in ("Rows", "Columns"))
    if rows < 1 or columns < 1 or 4 * rows * columns > MAX_FRAME_BYTES:
        raise DamagedError(f"Rows {rows} and Columns {columns} are no size of an image")
    return rows, columns


def _describe_pixels(header: Header, endian: str, pixel_type: str, shape: tuple[int, int]) -> Pixels:
    """Says what the stored values are; where they lie, `_place_pixels` says."""
    slope = _rescale(header, "RescaleSlope", 1.0)
    intercept = _rescale(header, "RescaleIntercept", 0.0)
    if slope == 0:
        raise DicomError(f"RescaleSlope {slope} and RescaleIntercept {intercept} give no values")
    signed = bool(header.number("PixelRepresentation"))
    if pixel_type == "integer":
        allocated = int(header.number("BitsAllocated") or 16)
        if allocated not in (8, 16, 32):
            raise DamagedError(f"BitsAllocated is {allocated}; 8, 16 and 32 are read")
        dtype = np.dtype(f"{endian}{'i' if signed else 'u'}{allocated // 8}")
    else:
        dtype = np.dtype(f"{endian}f{4 if pixel_type == 'float' else 8}")
    width = 8 * dtype.itemsize
    bits = int(header.number("BitsStored") or width) if dtype.kind != "f" else width
    high_bit = int(_or(header.number("HighBit"), bits - 1)) if dtype.kind != "f" else width - 1
    if not 0 < bits <= high_bit + 1 <= width:
        raise DamagedError(f"BitsStored {bits} and HighBit {high_bit} do not fit {width} bits")
    padding = header.number("PixelPaddingValue")
    if padding is not None and signed and padding >= 2**15:
        padding -= 2**16  # without a value representation in the file it was read as unsigned
    return Pixels(0, dtype.str, bits, high_bit, slope, intercept, padding, matrix=shape)


def _place_pixels(common: Frame, found: Object, index: int, frames: int) -> Pixels:
    pixels = common.pixels
    wanted = pixels.matrix[0] * pixels.matrix[1] * int(pixels.dtype[2:])
    if found.encoding != "encapsulated" and found.available < wanted * frames:
        raise DamagedError(f"{found.available} bytes of pixel data, {wanted * frames} wanted")
    offset = found.offset + index * wanted if found.encoding != "encapsulated" else 0
    return pixels._replace(offset=offset, encoding=found.encoding, syntax=found.syntax, frame_index=index)


def _rescale(header: Header, keyword: str, default: float) -> float:
    if not header.has(keyword):
        return default
    value = header.number(keyword)
    if value is None:
        raise DicomError(f"{keyword} is {header.text(keyword)!r}, no number")
    return value


def _real_world(header: Header) -> tuple[tuple[float, float, str] | None, str]:
    """Finds slope, intercept and unit of a real world value mapping, and what quantity it maps to."""
    for mapping in header.items("RealWorldValueMappingSequence"):
        units = mapping.items("MeasurementUnitsCodeSequence")
        quantities = [
            code.text("CodeMeaning")
            for item in mapping.items("QuantityDefinitionSequence")
            for code in item.items("ConceptCodeSequence")
        ]
        slope, intercept = mapping.number("RealWorldValueSlope"), mapping.number("RealWorldValueIntercept")
        if slope is None or not units:
            continue
        if slope == 0:
            raise DicomError("RealWorldValueSlope 0 gives no values")
        quantity = " ".join([*quantities, mapping.text("LUTLabel")]).strip()
        return (slope, intercept or 0.0, units[0].text("CodeValue")), quantity
    return None, ""


def _trigger_time_ms(header: Header) -> float | None:
    offset_s = header.number("TemporalPositionTimeOffset")  # its name in objects of many frames
    return header.number("TriggerTime") if offset_s is None else 1000 * offset_s


def _component(header: Header) -> str:
    text = header.text("ComplexImageComponent")
    if text:
        return text
    number = header.number("GEImageKind")
    return "" if number is None else _KINDS_OF_IMAGE.get(int(number), "")


def _acquired_s(header: Header) -> float | None:
    """Returns when an image was acquired: by its frame, by its date and time, or by both in one."""
    frame, reference, both = map(header.text, _MOMENTS)
    clock = header.text("AcquisitionTime")
    for text in (frame, reference, clock and header.text("AcquisitionDate").ljust(8) + clock, both):
        seconds = _seconds(text[:8], text[8:].split("+")[0].split("-")[0]) if text else None
        if seconds is not None:
            return seconds
    return None


@functools.lru_cache(1 << 14)
def _seconds(day: str, clock: str) -> float | None:
    """Returns seconds since a fixed day, or since midnight where the day is not known."""
    clock = clock.replace(":", "")
    try:
        if len(clock.split(".")[0]) < 6:
            return None
        seconds = int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + float(clock[4:])
    except ValueError:
        return None
    try:
        days = date(int(day[:4]), int(day[4:6]), int(day[6:8])).toordinal()
    except ValueError:
        days = 0
    return seconds + 86400.0 * days if math.isfinite(seconds) else None


def _orientation(header: Header) -> tuple[float, ...]:
    values = _vector(header, "ImageOrientationPatient", 6)
    row, column = values[:3], values[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(dot) > 1e-2:
        raise DicomError(f"ImageOrientationPatient {values} is not two perpendicular directions")
    return values


def _vector(header: Header, keyword: str, length: int) -> tuple[float, ...]:
    values = header.numbers(keyword)
    if len(values) != length:
        raise DicomError(f"{keyword} holds no {length} finite numbers")
    return values


def _first(header: Header, *keywords: str) -> float | None:
    for keyword in keywords:
        value = header.number(keyword)
        if value is not None:
            return value
    return None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
