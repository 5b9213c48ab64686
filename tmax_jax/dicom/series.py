"""Frames to series: which images belong together, and where each lies in space and time."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tmax_jax.dicom.geometry import SliceGrid, slice_grid
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.pixels import read_pixels
from tmax_jax.dicom.timing import TimeOrder, order_in_time

MAX_IMAGES = 2**20  # of a series, as its headers claim: no memory is taken for more
OFF_GRID = 0.5  # of a gap: how far a slice of another series may lie from the grid
_ORIENTATION_TOLERANCE = 1e-3
_ECHO_TOLERANCE_MS = 0.5
_TMAX = re.compile(r"t[\s_-]?max", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Overrides:
    """What a user may say about a series where its headers are wrong or silent."""

    time_key: str = ""  # see `timing.TIME_KEYS`
    n_times: int = 0
    n_slices: int = 0
    echo_ms: float = 0.0  # echo time of the images to take


@dataclasses.dataclass(frozen=True)
class Series:
    """The images of one series, each with its place."""

    frames: list[Frame]
    grid: SliceGrid
    z: np.ndarray  # int64 [frame]
    time: TimeOrder
    findings: list[str]
    repeated: int = 0  # images that were there twice
    n_slices: int = 0  # as the user says

    @property
    def label(self) -> str:
        """How a message may name it: description and size, no identifiers."""
        text = self.frames[0].description or "no description"
        return f"'{text}' ({self.grid.count} slices x {self.time.count} times, {len(self.frames)} images)"

    @property
    def slices(self) -> int:
        """How many slices there should be: of the grid, as the scanner planned or numbered them, as the user says."""
        planned = max(frame.slices or 0 for frame in self.frames) if self.frames[0].kind == "classic" else 0
        return self.n_slices or max(self.grid.count, planned, self.time.slices)

    @property
    def expected(self) -> int:
        """How many images there should be."""
        return self.slices * self.time.count

    def there(self) -> np.ndarray:
        """Where images are on the grid, bool `[z, time]`."""
        there = np.zeros((self.grid.count, self.time.count), bool)
        there[self.z, self.time.index] = True
        return there

    def holes(self) -> list[tuple[int, int]]:
        """The places (z, t) of the grid at which no image is."""
        return [(int(z), int(t)) for z, t in np.argwhere(~self.there())]


def split_series(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Groups frames by study and series, in order of their names.

    A series has one number; files of several that share a UID were copied together by a tool.
    """
    groups: dict[tuple[str, str, float | None], list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: (frame.name, frame.frame_number or 0)):
        groups.setdefault((frame.study_uid, frame.series_uid, frame.series_number), []).append(frame)
    return list(groups.values())


def split_kinds(frames: Sequence[Frame]) -> list[tuple[str, list[Frame]]]:
    """Splits a series that holds images of several kinds, such as two echoes; says what each part is."""
    varying = [(what, value_of) for what, value_of in _CONSTANT.items() if len({value_of(f) for f in frames}) > 1]
    parts: dict[str, list[Frame]] = {}
    for frame in frames:
        kind = ", ".join(f"{what} {value_of(frame)}" for what, value_of in varying)
        parts.setdefault(kind, []).append(frame)
    return sorted(parts.items())


def order_series(frames: Sequence[Frame], overrides: Overrides = Overrides()) -> Series:
    """Puts the images of one series in their places.

    Args:
      frames: of one series, in any order.
      overrides: what the user says.

    Returns:
      The series, repeated images left out.

    Raises:
      DicomError: what should be one for the whole series differs, or the images cannot be placed.

    Example:
      `order_series([frame for path in folder.iterdir() for frame in read_sources(path, path.name)])`
    """
    frames = _of_echo(frames, overrides.echo_ms)
    frames, repeated = _without_repeats(frames)
    _check_constant(frames)
    grid = slice_grid(frames)
    z = np.round(grid.index(frames)).astype(np.int64)
    time = order_in_time(frames, z, grid.count, time_key=overrides.time_key, n_times=overrides.n_times)
    if grid.count * time.count > MAX_IMAGES:
        raise DicomError(
            f"the headers claim {time.count} time points of {grid.count} slices, and {len(frames)} images are there;"
            " say how many there are with --n_times"
        )
    findings = [*time.warnings, *sorted({frame.note for frame in frames} - {""})]
    if repeated:
        findings.append(f"{repeated} repeated images left out")
    labels = {frame.label for frame in frames} - {""}
    if len(labels) > 1 and time.count > 1:
        findings.append(f"images are of {' and '.join(sorted(labels))}, interleaved in time")
    if overrides.n_slices and overrides.n_slices < grid.count:
        raise DicomError(f"--n_slices={overrides.n_slices}, but images lie at {grid.count} slices")
    return Series(list(frames), grid, z, time, findings, repeated, overrides.n_slices)


def extend_slices(series: Series, others: Sequence[Frame]) -> Series:
    """Extends a series' grid to slices that only another series of the same scan has: those were lost at an end.

    Args:
      series: of `order_series`.
      others: frames of a series in the same place, such as a map made from the complete scan.

    Returns:
      The series with room for all slices of both; unchanged where the others do not lie on its grid.
    """
    place = series.grid.index(others)
    if np.abs(place - np.round(place)).max() >= OFF_GRID or np.abs(place).max() > 4 * series.grid.count:
        return series
    lost = max(0, -int(np.round(place.min())))
    count = max(series.grid.count, int(np.round(place.max())) + 1) + lost
    grid = dataclasses.replace(
        series.grid,
        first_mm=series.grid.first_mm - lost * series.grid.gap_mm,
        origin_mm=series.grid.origin_mm - lost * series.grid.step_mm,
        count=count,
    )
    return dataclasses.replace(series, grid=grid, z=series.z + lost)


def is_tmax(series: Series) -> bool:
    """Whether the headers name a series Tmax: one image a slice, and the name in its description, type or quantity."""
    frame = series.frames[0]
    texts = (frame.description, frame.quantity, *frame.image_type)
    return series.time.count == 1 and any(_TMAX.search(text) for text in texts)


def _of_echo(frames: Sequence[Frame], echo_ms: float) -> Sequence[Frame]:
    times = sorted({frame.echo_time_ms for frame in frames if frame.echo_time_ms is not None})
    if not echo_ms or len(times) < 2:
        return frames
    kept = [frame for frame in frames if abs((frame.echo_time_ms or 0) - echo_ms) < _ECHO_TOLERANCE_MS]
    if not kept:
        raise DicomError(f"--echo={echo_ms:g}: the echo times (ms) are {', '.join(f'{time:g}' for time in times)}")
    return kept


def _without_repeats(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    first: dict[tuple[Any, ...], Frame] = {}
    kept = []
    for frame in frames:
        key = (frame.sop_uid, frame.frame_number, frame.pixels.corner)
        if not frame.sop_uid or key not in first:
            first[key] = frame
            kept.append(frame)
            continue
        other = first[key]
        same = frame.position_mm == other.position_mm and frame.shape == other.shape
        if not same or not np.array_equal(
            read_pixels(frame), read_pixels(other), equal_nan=frame.pixels.dtype[1] == "f"
        ):
            raise DicomError(f"{other.name} and {frame.name} claim to be one image but differ; remove the wrong one")
    return kept, len(frames) - len(kept)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


_CONSTANT: dict[str, Callable[[Frame], Any]] = {
    "matrix": lambda frame: frame.shape,
    "image orientation": lambda frame: tuple((np.round(frame.orientation, 2) + 0.0).tolist()),
    "pixel spacing (mm)": lambda frame: tuple(np.round(frame.pixel_spacing_mm, 3).tolist()),
    "echo time (ms)": lambda frame: _rounded(frame.echo_time_ms, 2),
    "flip angle (degrees)": lambda frame: _rounded(frame.flip_angle_deg, 1),
    "b-value (s/mm2)": lambda frame: _rounded(frame.b_value, 0),
    "image type": lambda frame: frame.image_type[2:4],
    "complex component": lambda frame: frame.component,
}


def _check_constant(frames: Sequence[Frame]) -> None:
    alike = {}  # one of all frames that agree to the last digit, which nearly all do
    for frame in frames:
        same = frame.shape, frame.orientation, frame.pixel_spacing_mm, frame.echo_time_ms, frame.flip_angle_deg
        alike.setdefault((*same, frame.b_value, frame.image_type, frame.component), frame)
    frames = list(alike.values())
    for what, value_of in _CONSTANT.items():
        values = sorted({str(value_of(frame)) for frame in frames})
        if len(values) > 1 and not (what == "image orientation" and _same_orientation(frames)):
            remedy = "name the one to take with --echo" if what.startswith("echo") else "export each kind as a series"
            raise DicomError(f"one series holds images of several kinds: {what} is {', '.join(values[:4])}; {remedy}")
    if not _same_orientation(frames):
        raise DicomError(
            "one series holds images of several kinds: image orientation differs by more than"
            f" {_ORIENTATION_TOLERANCE}; export each kind as a series"
        )


def _same_orientation(frames: Sequence[Frame]) -> bool:
    directions = np.array([frame.orientation for frame in frames])
    return bool(np.abs(directions - directions[0]).max() <= _ORIENTATION_TOLERANCE)
