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
      Values `[z, time, y, x]`; `inserted` bool `[z, time]`, True where no image was found: its values are 0; and the
      names of damaged files with what is wrong.

    Raises:
      DicomError: pixels that no installed decoder reads, or more of them than fit in memory.
    """
    rows, columns = series.frames[0].shape
    shape = (series.grid.count, series.time.count, rows, columns)
    if np.prod(shape, dtype=np.float64) > MAX_VOXELS:
        raise DicomError(f"the series {series.label} has {shape} voxels; up to {MAX_VOXELS} are read")
    dtype = np.result_type(*{np.dtype(frame.pixels.dtype).newbyteorder("=") for frame in series.frames})
    stored = np.zeros(shape, dtype)
    inserted = np.ones(shape[:2], bool)
    damaged = []
    for i, values in read_all_pixels(series.frames):
        if isinstance(values, DamagedError):
            damaged.append(str(values))
        elif isinstance(values, DicomError):
            raise values
        else:
            place = series.z[i], series.time.index[i]
            stored[place] = values
            inserted[place] = False
    if inserted.all():
        raise DicomError(f"no image of the series {series.label} can be read: {damaged[0]}")
    return stored, inserted, damaged


def to_real(
    series: Series, stored: np.ndarray, inserted: np.ndarray, *, prefer_real_world: bool = False
) -> tuple[np.ndarray, int]:
    """Turns stored values into real ones.

    Args:
      series: whose slopes and intercepts, image by image, count.
      stored: `[z, time, y, x]` of `read_stored`.
      inserted: bool `[z, time]`, images that are not there: their real value is 0.
      prefer_real_world: use the real world value mapping where an image has one, as a map should.

    Returns:
      Values `[z, y, x, time]`, in the stored integer type or the smallest of int16, uint16 and int32 where the
      rescale keeps integers, else float32; and how many were not finite. Those, and padding, are 0.
    """
    slope, intercept = np.ones(stored.shape[:2]), np.zeros(stored.shape[:2])
    padding = np.full(stored.shape[:2], np.nan)
    for frame, z, t in zip(series.frames, series.z, series.time.index, strict=True):
        slope[z, t], intercept[z, t] = frame.pixels.slope, frame.pixels.intercept
        if prefer_real_world and frame.real_world:
            slope[z, t], intercept[z, t] = frame.real_world[:2]
        if frame.pixels.padding is not None:
            padding[z, t] = frame.pixels.padding
    rescaled = bool(np.any(slope != 1) or np.any(intercept != 0))
    z_count, t_count, rows, columns = stored.shape
    values = np.empty((z_count, rows, columns, t_count), _real_type(stored, slope, intercept))
    not_finite = 0
    for z in range(z_count):
        images = stored[z]
        if rescaled:
            images = images * slope[z, :, None, None] + intercept[z, :, None, None]
        if stored.dtype.kind == "f":
            bad = ~np.isfinite(images)
            not_finite += int(bad.sum())
            images = np.where(bad, 0, images)
        if np.isfinite(padding[z]).any():
            images = np.where(stored[z] == padding[z, :, None, None], 0, images)
        values[z] = np.moveaxis(images, 0, -1)  # in the type that holds them
        values[z][..., inserted[z]] = 0
    return values, not_finite


def _real_type(stored: np.ndarray, slope: np.ndarray, intercept: np.ndarray) -> np.dtype:
    """Finds the smallest type that holds the real values without loss."""
    if stored.dtype.kind == "f":
        return np.dtype(np.float32)
    if np.all(slope == 1) and np.all(intercept == 0):
        return stored.dtype
    if np.any(slope != np.round(slope)) or np.any(intercept != np.round(intercept)):
        return np.dtype(np.float32)
    ends = np.stack([stored.min(axis=(2, 3)), stored.max(axis=(2, 3))]) * slope + intercept
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= min(0, ends.min()) and ends.max() <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)
