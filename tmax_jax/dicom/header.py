"""One image of a perfusion series or a map, whatever kind of object it came in, and what is wrong with it.

Readers (`readers.py`) find the images in an object; all of them make their frames here, so that every image passes
the same checks.
"""

import dataclasses
import functools
import math
from datetime import date

import numpy as np

from tmax_jax.dicom.elements import Header
from tmax_jax.dicom.source import Source

MAX_FRAME_BYTES = 2**26  # of the pixels of one image as its header claims: 4096 x 4096 of four bytes
_KINDS_OF_IMAGE = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}  # GE's numbers


class DicomError(ValueError):
    """A file, or a series of them, that cannot be used; the message names it and what is wrong with it."""

    patient_id: str = ""  # whose file it is and of which series, where its header says so
    study_uid: str = ""
    series_uid: str = ""
    description: str = ""


class DamagedError(DicomError):
    """One file is damaged: it counts as a missing image."""


class SkippedError(DicomError):
    """The file is not an image that belongs here: a text, a report, another kind of object."""


@dataclasses.dataclass(frozen=True)
class Object:
    """A DICOM object in a file: what its frames share."""

    source: Source
    name: str  # what a message may show
    kind: str  # "classic", "mosaic", "grid", "enhanced" or "parametric map"
    syntax: str  # transfer syntax
    endian: str
    encoding: str  # of the pixels: "native", "encapsulated" or "deflated"
    pixel_type: str  # "integer", "float" or "double"
    offset: int  # of the pixels' first byte
    available: int  # bytes from there on


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Where the pixels of a frame are and what they mean."""

    offset: int  # of the first byte; 0 where a decoder must find them
    dtype: str  # numpy's name for the stored values, byte order included
    bits: int  # of these, how many count
    high_bit: int  # the highest of them
    slope: float
    intercept: float
    padding: float | None  # stored value that means "nothing here"
    encoding: str = "native"
    syntax: str = ""  # transfer syntax
    index: int = 0  # of the frame in its object
    matrix: tuple[int, int] = (0, 0)  # rows and columns of the whole image that is stored
    corner: tuple[int, int] = (0, 0)  # of this frame in it: a tile of a mosaic


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image. Patient's identifiers in it never leave the memory of the converter."""

    source: Source
    name: str  # of the file, relative to the folder that is read: what a message may show
    kind: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    series_number: float | None
    description: str
    manufacturer: str
    model: str
    rescale_type: str
    photometric: str
    image_type: tuple[str, ...]
    component: str  # "MAGNITUDE", "PHASE" and so on, where it is said
    quantity: str  # what the values of a map are, as a code's meaning or a label
    shape: tuple[int, int]  # rows, columns
    orientation: tuple[float, ...]  # direction of a row, then of a column, in patient coordinates (LPS)
    position_mm: tuple[float, ...]  # of the first pixel
    pixel_spacing_mm: tuple[float, float]  # between rows, between columns
    pixels: Pixels
    real_world: tuple[float, float, str] | None = None  # slope, intercept, unit of a real world value mapping
    label: str = ""  # of arterial spin labelling: "LABEL", "CONTROL", ...
    note: str = ""  # what the reader had to assume
    frames_in_file: int = 1
    frame_number: int | None = None  # in an object of many frames, from 1
    dimension_index: tuple[int, ...] = ()
    dimensions: tuple[str, ...] = ()  # what the dimension indices count, where it is said
    slices: int | None = None  # planned by the scanner
    acquired_s: float | None = None  # when, seconds since a fixed day, or since midnight
    instance_number: float | None = None
    temporal_position: float | None = None
    temporal_positions: float | None = None
    acquisition_number: float | None = None
    trigger_time_ms: float | None = None
    temporal_resolution_ms: float | None = None
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    flip_angle_deg: float | None = None
    b_value: float | None = None
    field_strength_t: float | None = None
    slice_thickness_mm: float | None = None
    slice_spacing_mm: float | None = None


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
    name = found.name
    for keyword in ("Rows", "Columns", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        if not header.has(keyword):
            raise DamagedError(f"{name}: no {keyword} in its header")
    if (header.number("SamplesPerPixel") or 1) != 1 or header.text("PhotometricInterpretation") == "PALETTE COLOR":
        raise DicomError(f"{name}: a colour image; measured values are needed, not a picture of them")
    shape = _matrix(header, name)
    spacing = _vector(header, "PixelSpacing", 2, name)
    if min(spacing) <= 0:
        raise DicomError(f"{name}: PixelSpacing {spacing} is not positive")
    real_world, quantity = _real_world(header, name)
    return Frame(
        source=found.source,
        name=name,
        kind=found.kind,
        patient_id=header.text("PatientID"),
        study_uid=header.text("StudyInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
        sop_uid=header.text("SOPInstanceUID"),
        series_number=header.number("SeriesNumber"),
        description=header.text("SeriesDescription"),
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        rescale_type=header.text("RescaleType"),
        photometric=header.text("PhotometricInterpretation"),
        image_type=header.texts("FrameType") or header.texts("ImageType"),
        component=_component(header),
        quantity=quantity or header.text("ContentLabel"),
        shape=shape,
        orientation=_orientation(header, name),
        position_mm=_vector(header, "ImagePositionPatient", 3, name),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        pixels=_find_pixels(header, found, shape, index, frames),
        real_world=real_world,
        label=header.text("PhilipsLabel") or header.text("ASLContext"),
        frames_in_file=frames,
        frame_number=index + 1 if frames > 1 else None,
        dimension_index=tuple(map(int, header.numbers("DimensionIndexValues"))),
        slices=int(header.number("GESlices") or header.number("PhilipsSlices") or 0) or None,
        acquired_s=_acquired_s(header),
        instance_number=header.number("InstanceNumber"),
        temporal_position=_first(header, "TemporalPositionIdentifier", "TemporalPositionIndex"),
        temporal_positions=header.number("NumberOfTemporalPositions"),
        acquisition_number=_first(header, "FrameAcquisitionNumber", "AcquisitionNumber"),
        trigger_time_ms=header.number("TriggerTime"),
        temporal_resolution_ms=header.number("TemporalResolution"),
        echo_time_ms=_first(header, "EffectiveEchoTime", "EchoTime"),
        repetition_time_ms=header.number("RepetitionTime"),
        flip_angle_deg=header.number("FlipAngle"),
        b_value=_first(header, "DiffusionBValue", "PhilipsBValue", "SiemensBValue", "UIHBValue"),
        field_strength_t=header.number("MagneticFieldStrength"),
        slice_thickness_mm=header.number("SliceThickness"),
        slice_spacing_mm=header.number("SpacingBetweenSlices"),
    )


def _matrix(header: Header, name: str) -> tuple[int, int]:
    rows, columns = (int(header.number(keyword) or 0) for keyword in ("Rows", "Columns"))
    if rows < 1 or columns < 1 or 4 * rows * columns > MAX_FRAME_BYTES:
        raise DamagedError(f"{name}: Rows {rows} and Columns {columns} are no size of an image")
    return rows, columns


def _find_pixels(header: Header, found: Object, shape: tuple[int, int], index: int, frames: int) -> Pixels:
    slope = _rescale(header, "RescaleSlope", 1.0, found.name)
    intercept = _rescale(header, "RescaleIntercept", 0.0, found.name)
    if slope == 0:
        raise DicomError(f"{found.name}: RescaleSlope {slope} and RescaleIntercept {intercept} give no values")
    if found.pixel_type == "integer":
        allocated = int(header.number("BitsAllocated") or 16)
        if allocated not in (8, 16, 32):
            raise DamagedError(f"{found.name}: BitsAllocated is {allocated}; 8, 16 and 32 are read")
        dtype = np.dtype(f"{found.endian}{'i' if header.number('PixelRepresentation') else 'u'}{allocated // 8}")
    else:
        dtype = np.dtype(f"{found.endian}f{4 if found.pixel_type == 'float' else 8}")
    width = 8 * dtype.itemsize
    bits = int(header.number("BitsStored") or width) if dtype.kind != "f" else width
    high_bit = int(_or(header.number("HighBit"), bits - 1)) if dtype.kind != "f" else width - 1
    if not 0 < bits <= high_bit + 1 <= width:
        raise DamagedError(f"{found.name}: BitsStored {bits} and HighBit {high_bit} do not fit {width} bits")
    wanted = shape[0] * shape[1] * dtype.itemsize
    if found.encoding != "encapsulated" and found.available < wanted * frames:
        raise DamagedError(f"{found.name}: {found.available} bytes of pixel data, {wanted * frames} wanted")
    offset = found.offset + index * wanted if found.encoding != "encapsulated" else 0
    padding = header.number("PixelPaddingValue")
    return Pixels(
        offset, dtype.str, bits, high_bit, slope, intercept, padding, found.encoding, found.syntax, index, shape
    )


def _rescale(header: Header, keyword: str, default: float, name: str) -> float:
    if not header.has(keyword):
        return default
    value = header.number(keyword)
    if value is None:
        raise DicomError(f"{name}: {keyword} is {header.text(keyword)!r}, no number")
    return value


def _real_world(header: Header, name: str) -> tuple[tuple[float, float, str] | None, str]:
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
            raise DicomError(f"{name}: RealWorldValueSlope 0 gives no values")
        quantity = " ".join([*quantities, mapping.text("LUTLabel")]).strip()
        return (slope, intercept or 0.0, units[0].text("CodeValue")), quantity
    return None, ""


def _component(header: Header) -> str:
    text = header.text("ComplexImageComponent")
    if text:
        return text
    number = header.number("GEImageKind")
    return "" if number is None else _KINDS_OF_IMAGE.get(int(number), "")


def _acquired_s(header: Header) -> float | None:
    moments = [header.text(keyword) for keyword in ("FrameAcquisitionDateTime", "FrameReferenceDateTime")]
    moments += [header.text("AcquisitionDate").ljust(8) + header.text("AcquisitionTime")]
    for text in [*moments, header.text("AcquisitionDateTime")]:
        seconds = _seconds(text[:8], text[8:].split("+")[0].split("-")[0])
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


def _orientation(header: Header, name: str) -> tuple[float, ...]:
    values = _vector(header, "ImageOrientationPatient", 6, name)
    if not _perpendicular(values):
        raise DicomError(f"{name}: ImageOrientationPatient {values} is not two perpendicular directions")
    return values


@functools.lru_cache(1 << 10)
def _perpendicular(values: tuple[float, ...]) -> bool:
    row, column = values[:3], values[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    return max(abs(length - 1) for length in lengths) <= 1e-2 and abs(dot) <= 1e-2


def _vector(header: Header, keyword: str, length: int, name: str) -> tuple[float, ...]:
    values = header.numbers(keyword)
    if len(values) != length:
        raise DicomError(f"{name}: {keyword} holds no {length} finite numbers")
    return values


def _first(header: Header, *keywords: str) -> float | None:
    for keyword in keywords:
        value = header.number(keyword)
        if value is not None:
            return value
    return None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
