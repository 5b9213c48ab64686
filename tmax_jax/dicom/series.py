"""Frames to series, and a series to one array."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from tmax_jax.dicom.geometry import SliceGrid, slice_grid
from tmax_jax.dicom.header import DamagedError, DicomError, Frame
from tmax_jax.dicom.pixels import read_pixels, real_values
from tmax_jax.dicom.timing import TimeOrder, order_in_time

OFF_GRID = 0.25  # of a gap: how far a slice of another series may lie from the grid
_TMAX = re.compile(r"t[\s_-]?max", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Series:
    """The images of one series, each with its place."""

    frames: list[Frame]
    grid: SliceGrid
    z: np.ndarray  # int64 [frame]
    time: TimeOrder
    findings: list[str]

    @property
    def label(self) -> str:
        """How a message may name it: description and size, no identifiers."""
        text = self.frames[0].description or "no description"
        return f"'{text}' ({self.grid.count} slices x {self.time.count} times, {len(self.frames)} images)"


def split_series(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Groups frames by study and series, in order of their names."""
    groups: dict[tuple[str, str], list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: frame.name):
        groups.setdefault((frame.study_uid, frame.series_uid), []).append(frame)
    return list(groups.values())


def order_series(frames: Sequence[Frame]) -> Series:
    """Puts the images of one series in their places.

    Args:
      frames: of one series, in any order.

    Returns:
      The series, repeated images left out.

    Raises:
      DicomError: what should be one for the whole series differs, or the images cannot be placed.

    Example:
      `order_series([read_frame(path, path.name) for path in folder.iterdir()])`
    """
    frames, repeated = _without_repeats(frames)
    _check_constant(frames)
    grid = slice_grid(frames)
    z = np.round(grid.index(frames)).astype(np.int64)
    time = order_in_time(frames, z, grid.count)
    findings = list(time.warnings)
    if repeated:
        findings.append(f"{repeated} repeated images left out")
    labels = {frame.label for frame in frames} - {""}
    if len(labels) > 1 and time.count > 1:
        findings.append(f"images are of {' and '.join(sorted(labels))}, interleaved in time")
    return Series(list(frames), grid, z, time, findings)


def extend_slices(series: Series, others: Sequence[Frame]) -> Series:
    """Extends a series' grid to slices that only another series of the same scan has: those were lost at an end.

    Args:
      series: of `order_series`.
      others: frames of a series in the same place, such as a map made from the complete scan.

    Returns:
      The series with room for all slices of both; unchanged where the others do not lie on its grid.
    """
    place = series.grid.index(others)
    if np.abs(place - np.round(place)).max() > OFF_GRID:
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
    """Whether the headers name a series Tmax: one image a slice, and the name in its description or type."""
    frame = series.frames[0]
    return series.time.count == 1 and any(_TMAX.search(text) for text in (frame.description, *frame.image_type))


def assemble(series: Series, *, prefer_real_world: bool = False) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads the pixels of a series into one array of real values.

    Args:
      series: of `order_series`.
      prefer_real_world: of `pixels.real_values`.

    Returns:
      Values `[z, y, x, time]`, in the scanner's integer type where rescale keeps them integers, else float32;
      `inserted` bool `[z, time]`, True where no image was found: its values are 0; and the names of damaged files.

    Raises:
      DicomError: pixels that no installed decoder reads.
    """
    images: dict[tuple[int, int], np.ndarray] = {}
    damaged = []
    for frame, z, t in zip(series.frames, series.z, series.time.index, strict=True):
        try:
            images[z, t] = real_values(read_pixels(frame), frame, prefer_real_world=prefer_real_world)
        except DamagedError as error:
            damaged.append(str(error))
    if not images:
        raise DicomError(f"no image of the series {series.label} can be read: {damaged[0]}")
    dtype = np.result_type(*{image.dtype for image in images.values()})
    dtype = dtype if dtype.kind in "iu" else np.dtype(np.float32)
    rows, columns = series.frames[0].shape
    values = np.zeros((series.grid.count, series.time.count, rows, columns), dtype)
    inserted = np.ones(values.shape[:2], bool)
    for (z, t), image in images.items():
        values[z, t] = image
        inserted[z, t] = False
    return np.ascontiguousarray(np.moveaxis(values, 1, -1)), inserted, damaged


def _without_repeats(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    first: dict[str, Frame] = {}
    kept = []
    for frame in frames:
        if not frame.sop_uid or frame.sop_uid not in first:
            first[frame.sop_uid] = frame
            kept.append(frame)
            continue
        other = first[frame.sop_uid]
        same = frame.position_mm == other.position_mm and frame.shape == other.shape
        if not same or not np.array_equal(read_pixels(frame), read_pixels(other)):
            raise DicomError(f"{other.name} and {frame.name} claim to be one image but differ; remove the wrong one")
    return kept, len(frames) - len(kept)


def _check_constant(frames: Sequence[Frame]) -> None:
    checks = {
        "matrix": lambda frame: frame.shape,
        "image orientation": lambda frame: (np.round(frame.orientation, 2) + 0.0).tolist(),
        "pixel spacing (mm)": lambda frame: np.round(frame.pixel_spacing_mm, 4).tolist(),
        "echo time (ms)": lambda frame: frame.echo_time_ms,
        "flip angle (degrees)": lambda frame: frame.flip_angle_deg,
        "image type": lambda frame: frame.image_type[2:4],
    }
    for what, value_of in checks.items():
        values = sorted({str(value_of(frame)) for frame in frames})
        if len(values) > 1:
            raise DicomError(
                f"one series holds images of several kinds: {what} is {', '.join(values[:4])}; export each kind as a"
                " series of its own"
            )
