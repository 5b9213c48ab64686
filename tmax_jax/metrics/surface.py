"""Distances between surfaces, on the host: distance transforms are no work for the device."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tmax_jax.metrics.sums import HYPOPERFUSED_S


def hausdorff95_6s_mm(
    prediction_s: np.ndarray, tmax_s: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]
) -> float:
    """Hausdorff distance, 95th percentile, of the surfaces of the tissue above 6 s.

    A voxel belongs to a surface when it has a face to the outside. For each voxel of one surface the distance to the
    nearest voxel of the other is taken between their centres.

    Args:
      prediction_s: float32 `[z, y, x]`, predicted Tmax of one case in seconds.
      tmax_s: float32 `[z, y, x]`, true Tmax in seconds.
      mask: bool `[z, y, x]`, True in the brain.
      spacing_mm: of the voxels along z, y and x.

    Returns:
      max of the two directions' 95th percentiles, in mm. Undefined (NaN) where neither has such tissue; the diagonal of
      the volume, the worst that can be, where one has.

    Example:
      >>> truth = np.zeros((1, 1, 9))
      >>> truth[..., 2], prediction = 7.0, np.roll(truth, 3)
      >>> hausdorff95_6s_mm(np.roll(truth, 3), truth, np.ones(truth.shape, bool), (5.0, 2.0, 2.0))
      6.0

    Reference:
      Huttenlocher, Klanderman and Rucklidge 1993, IEEE Transactions on Pattern Analysis and Machine Intelligence
      15:850.
    """
    predicted, true = mask & (prediction_s > HYPOPERFUSED_S), mask & (tmax_s > HYPOPERFUSED_S)
    if not predicted.any() and not true.any():
        return float("nan")
    if not predicted.any() or not true.any():
        return float(np.linalg.norm(np.multiply(mask.shape, spacing_mm)))
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(predicted | true))
    surfaces = [_surface(lesion[box]) for lesion in (predicted, true)]
    return max(_percentile95(start, end, spacing_mm) for start, end in itertools.permutations(surfaces))


def _surface(lesion: np.ndarray) -> np.ndarray:
    return lesion & np.logical_not(ndimage.binary_erosion(lesion))


def _percentile95(start: np.ndarray, end: np.ndarray, spacing_mm: Sequence[float]) -> float:
    distance_mm = np.asarray(ndimage.distance_transform_edt(np.logical_not(end), sampling=spacing_mm))
    return float(np.percentile(distance_mm[start], 95))
