"""One image of a perfusion series or a map, whatever kind of object it came in, and the errors of files.

Images are named tuples: a cohort has a hundred thousand of them, and they travel between processes.
"""

import dataclasses
from typing import NamedTuple

from tmax_jax.dicom.source import Source


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


class Pixels(NamedTuple):
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
    frame_index: int = 0  # of the frame in its object
    matrix: tuple[int, int] = (0, 0)  # rows and columns of the whole image that is stored
    corner: tuple[int, int] = (0, 0)  # of this frame in it: a tile of a mosaic


class Frame(NamedTuple):
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
