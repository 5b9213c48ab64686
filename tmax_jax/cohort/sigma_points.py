"""Patients condensed to a few hundred voxels that a linear network cannot tell from all of them.

The squared error of a linear network, and the statistics of its batch normalisation, depend on a patient only through
the mean and the covariance of [frames, Tmax] over the voxels. Sigma points are the fewest equal voxels that have a
given mean and covariance: the images are read once, and training steps on 122 voxels instead of 393,216, with the same
loss, gradient and statistics up to rounding.
"""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from tmax_jax.cohort.batches import Cohort


class Moments(NamedTuple):
    """Number, mean and covariance of [frames, Tmax] over some voxels; float64."""

    voxels: int
    mean: np.ndarray  # [time + 1]
    covariance: np.ndarray  # [time + 1, time + 1]


def condense(cohort: Cohort, *, normalise: bool, over: str) -> Cohort:
    """Replaces every patient by sigma points.

    Args:
      cohort: in memory.
      normalise: intensities to 0..1 per series, as the network sees them; else as stored.
      over: voxels that the loss counts, "brain" or "all". Batch statistics are always over all voxels, those outside
        the mask being 0.

    Returns:
      The same patients with `perfusion` float32 `[1, 1, point, time]`, what the network sees; `tmax_s [1, 1, point]`;
      and `mask [1, 1, point]`, the points that the loss counts.

    Reference:
      Julier and Uhlmann 2004, doi:10.1109/JPROC.2003.823141 (sigma points).
    """
    with ThreadPoolExecutor() as pool:
        brains = list(pool.map(lambda case: brain_moments(cohort, case, normalise=normalise), range(len(cohort.mask))))
    voxels = [mask.size for mask in cohort.mask]
    if over == "all":
        points = [
            sigma_points(*with_background(brain, tmax_s[~mask])[1:])
            for brain, mask, tmax_s in zip(brains, cohort.mask, cohort.tmax_s, strict=True)
        ]
        counted = [np.ones(len(found), bool) for found in points]
    else:
        shares = [brain.voxels / size for brain, size in zip(brains, voxels, strict=True)]
        sets = max(2, *(math.ceil(1 / share) for share in shares if share))  # of points: of the brain, and the others
        points = [brain_and_others(brain, share, sets) for brain, share in zip(brains, shares, strict=True)]
        of_brain = np.arange(len(points[0])) < len(points[0]) // sets
        counted = [of_brain & (share > 0) for share in shares]
    return dataclasses.replace(
        cohort,
        perfusion=tuple(found[None, None, :, :-1].astype(np.float32) for found in points),
        tmax_s=tuple(found[None, None, :, -1].astype(np.float32) for found in points),
        mask=tuple(counts[None, None] for counts in counted),
        intensity_min=np.zeros_like(cohort.intensity_min),
        intensity_max=np.ones_like(cohort.intensity_max),
    )


def brain_moments(cohort: Cohort, case: int, *, normalise: bool) -> Moments:
    """Sums up a patient's voxels inside the mask, a slice at a time so that the products stay in the cache.

    Sums of products of 16-bit integers are below 2^53 and therefore exact; normalisation is applied to the sums.
    """
    perfusion, mask, tmax_s = cohort.perfusion[case], cohort.mask[case], cohort.tmax_s[case]
    time = perfusion.shape[-1]
    sums = np.zeros((time + 2, time + 2))
    for images, inside, truth in zip(perfusion, mask, tmax_s, strict=True):
        voxels = np.ones((np.count_nonzero(inside), time + 2))
        voxels[:, :time] = images[inside]
        voxels[:, time] = truth[inside]
        sums += voxels.T @ voxels
    count = round(sums[-1, -1])
    mean = sums[-1, :-1] / max(count, 1)
    covariance = sums[:-1, :-1] / max(count, 1) - np.outer(mean, mean)
    if normalise:
        low, high = float(cohort.intensity_min[case]), float(cohort.intensity_max[case])
        scale = np.append(np.full(time, 1 / max(high - low, float(np.finfo(np.float32).tiny))), 1)
        mean = (mean - np.append(np.full(time, low), 0) * (count > 0)) * scale
        covariance *= np.outer(scale, scale)
    return Moments(count, mean, covariance)


def with_background(brain: Moments, tmax_s: np.ndarray) -> Moments:
    """Adds the voxels outside the mask, whose frames are 0, to a patient's moments.

    Args:
      brain: moments inside the mask.
      tmax_s: float `[voxel]`, outside.
    """
    count = brain.voxels + tmax_s.size
    share = brain.voxels / count
    outside = np.zeros_like(brain.mean)
    spread = np.zeros_like(brain.covariance)
    if tmax_s.size:
        outside[-1], spread[-1, -1] = tmax_s.mean(dtype=np.float64), tmax_s.var(dtype=np.float64)
    step = brain.mean - outside
    covariance = share * brain.covariance + (1 - share) * spread + share * (1 - share) * np.outer(step, step)
    return Moments(count, outside + share * step, covariance)


def sigma_points(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Returns the 2 d points `[point, d]` that have this mean and this covariance.

    Example:
      >>> points = sigma_points(np.array([1.0, 2.0]), np.array([[2.0, 1.0], [1.0, 3.0]]))
      >>> np.round(points.mean(axis=0), 9).tolist(), np.round(np.cov(points.T, bias=True), 9).tolist()
      ([1.0, 2.0], [[2.0, 1.0], [1.0, 3.0]])
    """
    if not np.isfinite(covariance).all():
        return np.full((2 * len(mean), len(mean)), np.nan)  # the loop reports a loss that is not finite
    variances, axes = np.linalg.eigh(covariance)
    steps = (axes * np.sqrt(len(mean) * np.maximum(variances, 0))).T
    return np.concatenate([mean + steps, mean - steps])


def brain_and_others(brain: Moments, share: float, sets: int) -> np.ndarray:
    """Returns points of the brain and, after them, others that give all points together the moments of all voxels.

    Args:
      brain: moments inside the mask.
      share: of the voxels, that lie inside the mask.
      sets: of equally many points; the first has the moments of the brain. At least 2 and 1 / share.

    Returns:
      `[point, time + 1]`. All points together have the mean `share * mean`, since voxels outside the mask are 0.
    """
    # The others are voxels of the brain, thinned to the share of them that the first set leaves.
    left = (sets * share - 1) / (sets - 1) if share else 0.0
    thinned = left * brain.covariance + left * (1 - left) * np.outer(brain.mean, brain.mean)
    others = sigma_points(left * brain.mean, thinned)
    return np.concatenate([sigma_points(brain.mean, brain.covariance), *[others] * (sets - 1)])
