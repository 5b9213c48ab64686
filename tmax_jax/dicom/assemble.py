"""A series' pixels to one array: as they are stored, and as real values."""

import numpy as np

from tmax_jax.dicom.header import DamagedError, DicomError
from tmax_jax.dicom.pixels import read_all_pixels
from tmax_jax.dicom.series import Series

MAX_VOXELS = 2**27  # of a series, all times counted: 512 MiB of real values


def read_stored(series: Series) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Reads the values of a series as they are stored, before rescale.

    Args:
      series: of `order_series`.

    Returns:
      Values `[z, y, x, time]`; `inserted` bool `[z, time]`, True where no image was found: its values are 0; and the
      names of damaged files with what is wrong.

    Raises:
      DicomError: pixels that no installed decoder reads, or more of them than fit in memory.
    """
    rows, columns = series.frames[0].shape
    shape = (series.grid.count, rows, columns, series.time.count)
    if np.prod(shape, dtype=np.float64) > MAX_VOXELS:
        raise DicomError(f"the series {series.label} has {shape} voxels; up to {MAX_VOXELS} are read")
    dtype = np.result_type(*{np.dtype(dtype).newbyteorder("=") for dtype in {f.pixels.dtype for f in series.frames}})
    stored = np.zeros(shape, dtype)
    inserted = np.ones((series.grid.count, series.time.count), bool)
    damaged = []
    order = np.lexsort((series.time.index, series.z)).tolist()  # a slice at a time: its place stays in the cache
    for place, values in read_all_pixels([series.frames[i] for i in order]):
        if isinstance(values, DamagedError):
            damaged.append(str(values))
        elif isinstance(values, DicomError):
            raise values
        else:
            z, t = series.z[order[place]], series.time.index[order[place]]
            stored[z, :, :, t] = values
            inserted[z, t] = False
    if inserted.all():
        raise DicomError(f"no image of the series {series.label} can be read: {damaged[0]}")
    return stored, inserted, damaged


def to_real(
    series: Series, stored: np.ndarray, inserted: np.ndarray, *, prefer_real_world: bool = False
) -> tuple[np.ndarray, float, int]:
    """Turns stored values into real ones.

    Args:
      series: whose slopes and intercepts, image by image, count.
      stored: `[z, y, x, time]` of `read_stored`; may be changed.
      inserted: bool `[z, time]`, images that are not there: their real value is 0.
      prefer_real_world: use the real world value mapping where an image has one, as a map should.

    Returns:
      Values and scale of `rescale`, `[z, y, x, time]`; and how many were not finite. Those, and padding, are 0.
    """
    slope, intercept = np.ones(inserted.shape), np.zeros(inserted.shape)
    padding = np.full(inserted.shape, np.nan)
    for frame, z, t in zip(series.frames, series.z, series.time.index, strict=True):
        mapping = frame.real_world if prefer_real_world else None
        slope[z, t], intercept[z, t] = mapping[:2] if mapping else (frame.pixels.slope, frame.pixels.intercept)
        if frame.pixels.padding is not None:
            padding[z, t] = frame.pixels.padding
    slope[inserted], intercept[inserted] = slope[~inserted][0], intercept[~inserted][0]  # any: they are set to 0
    nothing = None
    if np.isfinite(padding).any():
        nothing = stored == padding[:, None, None]
    values, scale, not_finite = rescale(stored, slope[:, None, None], intercept[:, None, None])
    for z, t in np.argwhere(inserted):
        values[z, :, :, t] = 0
    if nothing is not None:
        values[nothing] = 0
    return values, scale, not_finite


def rescale(stored: np.ndarray, slope: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Turns stored values into real ones, in the smallest type that loses nothing.

    Args:
      stored: `[z, y, x, time]`.
      slope: float64, to be broadcast against it.
      intercept: of the same shape.

    Returns:
      Values, and the scale by which they must be multiplied to be real: integers with scale 1 where slopes and
      intercepts keep them integers, the stored integers where one slope is all there is to it, else float32 with scale
      1. And how many were not finite, which are 0 now.

    Example:
      >>> rescale(np.array([[[[0, 7]]]], np.int16), np.array(0.5), np.array(0.0))
      (array([[[[0, 7]]]], dtype=int16), 0.5, 0)
    """
    shape = (len(stored), 1, 1, stored.shape[3])
    slope, intercept = np.broadcast_to(slope, shape), np.broadcast_to(intercept, shape)
    dtype = np.dtype(np.float32)
    if stored.dtype.kind != "f":
        one_factor = bool(np.all(intercept == 0) and np.ptp(slope) == 0)
        same = one_factor and slope.flat[0] == 1
        whole = bool(np.all(slope == np.round(slope)) and np.all(intercept == np.round(intercept)))
        if same or (one_factor and not whole):
            narrow = stored if stored.dtype.itemsize <= 2 else stored.astype(_integer_type(stored, 1, 0))
            if narrow.dtype.kind != "f":
                return narrow, float(slope.flat[0]), 0
        if whole:
            dtype = _integer_type(stored, slope, intercept)
    values = np.empty(stored.shape, dtype)
    not_finite = 0
    for z, images in enumerate(stored):
        with np.errstate(over="ignore"):  # it is counted
            values[z] = images * slope[z] + intercept[z]
        if stored.dtype.kind == "f":
            bad = ~np.isfinite(values[z])
            values[z][bad] = 0
            not_finite += int(bad.sum())
    return values, 1.0, not_finite


def _integer_type(stored: np.ndarray, slope: np.ndarray | int, intercept: np.ndarray | int) -> np.dtype:
    """Finds the smallest integer type that holds the real values, and 0; float32 where there is none."""
    ends = np.stack([stored.min(axis=(1, 2), keepdims=True), stored.max(axis=(1, 2), keepdims=True)]).astype(np.float64)
    ends = ends * slope + intercept
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= min(0, ends.min()) and ends.max() <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)
