"""Stored pixels and real values of one frame."""

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

from tmax_jax.dicom.header import DamagedError, DicomError, Frame


def read_pixels(frame: Frame) -> np.ndarray:
    """Reads the values as they are stored, before rescale.

    Args:
      frame: of `read_frame`.

    Returns:
      `[row, column]` in native byte order.

    Raises:
      DamagedError: the pixel data is shorter than the image, or cannot be decoded.
      DicomError: no decoder for its compression is installed.
    """
    stored = frame.pixels
    if not stored.offset:
        return _decode(frame)
    dtype = np.dtype(stored.dtype)
    try:
        values = np.fromfile(frame.path, dtype, count=frame.shape[0] * frame.shape[1], offset=stored.offset)
        values = values.astype(dtype.newbyteorder("="), copy=False).reshape(frame.shape)
    except (OSError, ValueError) as error:
        raise DamagedError(f"{frame.name}: its pixel data cannot be read") from error
    unused = 8 * dtype.itemsize - stored.bits
    if dtype.kind == "f" or unused <= 0:
        return values
    return (values << unused) >> unused  # clears bits above the stored ones, or repeats the sign into them


def _decode(frame: Frame) -> np.ndarray:
    try:
        values = pixel_array(frame.path, raw=True)
    except RuntimeError as error:  # no plugin
        syntax = pydicom.dcmread(frame.path, stop_before_pixels=True, specific_tags=[]).file_meta.TransferSyntaxUID
        raise DicomError(
            f"{frame.name}: no decoder for {syntax.name}; install one with:"
            " pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        ) from error
    except Exception as error:  # decoders raise nearly anything on noise
        raise DamagedError(f"{frame.name}: its pixel data cannot be decoded ({type(error).__name__})") from error
    if values.shape != frame.shape:
        raise DamagedError(f"{frame.name}: decodes to {values.shape}, its header says {frame.shape}")
    return values


def real_values(stored: np.ndarray, frame: Frame, *, prefer_real_world: bool = False) -> np.ndarray:
    """Turns stored values into real ones.

    Args:
      stored: `[row, column]`.
      frame: with slope, intercept and padding value.
      prefer_real_world: use the real world value mapping where the frame has one, as a map should.

    Returns:
      Like `stored`; integers where slope and intercept keep them integers, else float32. Padding becomes 0.
    """
    slope, intercept = frame.pixels.slope, frame.pixels.intercept
    if prefer_real_world and frame.real_world:
        slope, intercept, _ = frame.real_world
    if slope == 1 and intercept == 0:
        values = stored
    elif stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        values = smallest_integer(stored.astype(np.int64) * int(slope) + int(intercept))
    else:
        values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    if frame.pixels.padding is not None:
        values = np.where(stored == frame.pixels.padding, values.dtype.type(0), values)
    return values


def smallest_integer(values: np.ndarray) -> np.ndarray:
    """Returns the values in the smallest of int16, uint16 and int32 that holds them, else as float32."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.float32)
