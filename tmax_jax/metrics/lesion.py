"""The tissue above thresholds of Tmax: overlap, volumes, and what clinicians read from them.

With P and T the volumes above a threshold in prediction and truth, inside the brain, and B that above it in both.
"""

from typing import NamedTuple

import numpy as np

from tmax_jax.metrics._ratio import ratio
from tmax_jax.metrics.sums import HYPOPERFUSED_S, THRESHOLDS_S, TmaxSums

_SEVERE_S = 10.0


class Mismatch(NamedTuple):
    """Hypoperfused tissue against its core."""

    volume_ml: np.ndarray
    ratio: np.ndarray
    treatable: np.ndarray  # bool: the profile of the DEFUSE 3 trial


def dice(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Overlap of the tissue above a threshold.

    Returns:
      2 B / (P + T), from 0 to 1. Undefined where neither has such tissue.

    Reference:
      Dice 1945, Ecology 26:297.
    """
    true, predicted, both = _volumes(sums, threshold_s)
    return ratio(2 * both, predicted + true)


def jaccard(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Overlap of the tissue above a threshold, as a share of what either has.

    Returns:
      B / (P + T - B), from 0 to 1. Undefined where neither has such tissue.

    Reference:
      Jaccard 1912, New Phytologist 11:37.
    """
    true, predicted, both = _volumes(sums, threshold_s)
    return ratio(both, predicted + true - both)


def precision(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Share of the predicted tissue above a threshold that is so in truth.

    Returns:
      B / P, from 0 to 1. Undefined where none is predicted.

    Reference:
      Altman and Bland 1994, BMJ 309:102 (positive predictive value).
    """
    _, predicted, both = _volumes(sums, threshold_s)
    return ratio(both, predicted)


def recall(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Share of the tissue above a threshold in truth that is predicted so.

    Returns:
      B / T, from 0 to 1. Undefined where truth has none.

    Reference:
      Altman and Bland 1994, BMJ 308:1552 (sensitivity).
    """
    true, _, both = _volumes(sums, threshold_s)
    return ratio(both, true)


def volume_true_ml(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Volume above a threshold in truth.

    Returns:
      T, in mL: number of voxels x spacing.

    Reference:
      Olivot et al. 2009, Stroke 40:469.
    """
    return _volumes(sums, threshold_s)[0]


def volume_predicted_ml(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Volume above a threshold in the prediction.

    Returns:
      P, in mL: number of voxels x spacing.

    Reference:
      Olivot et al. 2009, Stroke 40:469.
    """
    return _volumes(sums, threshold_s)[1]


def volume_difference_ml(sums: TmaxSums, *, threshold_s: float = HYPOPERFUSED_S) -> np.ndarray:
    """Error of the volume above a threshold.

    Returns:
      P - T, in mL; positive: predicted too large.

    Reference:
      Bland and Altman 1986, Lancet 327:307.
    """
    true, predicted, _ = _volumes(sums, threshold_s)
    return predicted - true


def hir_true(sums: TmaxSums) -> np.ndarray:
    """Hypoperfusion intensity ratio of the truth: how severe the hypoperfusion is.

    Returns:
      T above 10 s / T above 6 s, from 0 to 1. Undefined without tissue above 6 s.

    Reference:
      Olivot et al. 2014, Stroke 45:1018.
    """
    return ratio(volume_true_ml(sums, threshold_s=_SEVERE_S), volume_true_ml(sums))


def hir_predicted(sums: TmaxSums) -> np.ndarray:
    """Hypoperfusion intensity ratio of the prediction.

    Returns:
      P above 10 s / P above 6 s, from 0 to 1. Undefined without tissue above 6 s.

    Reference:
      Olivot et al. 2014, Stroke 45:1018.
    """
    return ratio(volume_predicted_ml(sums, threshold_s=_SEVERE_S), volume_predicted_ml(sums))


def hir_difference(sums: TmaxSums) -> np.ndarray:
    """Error of the hypoperfusion intensity ratio.

    Returns:
      `hir_predicted` - `hir_true`, from -1 to 1. Undefined where one of them is.

    Reference:
      Olivot et al. 2014, Stroke 45:1018.
    """
    return hir_predicted(sums) - hir_true(sums)


def whiteout(sums: TmaxSums) -> np.ndarray:
    """White-out index: the share of healthy brain that is called critically hypoperfused.

    It tells a map that is bright everywhere from one that errs at the lesion's rim: the errors of tissue between
    4 and 6 s do not count.

    Returns:
      voxels with true Tmax <= 4 s and predicted Tmax > 6 s / voxels with true Tmax <= 4 s, from 0 to 1. Undefined
      without healthy brain.

    Reference:
      False positive rate (Altman and Bland 1994, BMJ 308:1552) away from the decision's border.
    """
    return ratio(sums.whiteout, sums.healthy)


def mismatch(hypoperfused_ml: np.ndarray, core_ml: np.ndarray) -> Mismatch:
    """Compares the hypoperfused volume with that of the core, for cohorts that have a core mask.

    Args:
      hypoperfused_ml: volume with Tmax > 6 s, such as `volume_predicted_ml`.
      core_ml: volume of the ischaemic core, from diffusion or CBF; `np.sum(mask) * np.prod(spacing_mm) / 1000`.

    Returns:
      Difference in mL, and ratio (undefined without a core), with core < 70 mL, difference >= 15 mL and ratio >= 1.8
      (or no core) as the profile that was treated.

    Example:
      >>> found = mismatch(np.array([90.0, 90.0]), np.array([20.0, 80.0]))
      >>> found.volume_ml.tolist(), found.ratio.tolist(), found.treatable.tolist()
      ([70.0, 10.0], [4.5, 1.125], [True, False])

    Reference:
      Albers et al. 2018, New England Journal of Medicine 378:708 (DEFUSE 3).
    """
    volume_ml, quotient = hypoperfused_ml - core_ml, ratio(hypoperfused_ml, core_ml)
    treatable = (core_ml < 70) & (volume_ml >= 15) & ((quotient >= 1.8) | np.isnan(quotient))
    return Mismatch(volume_ml, quotient, treatable)


def _volumes(sums: TmaxSums, threshold_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the volumes above a threshold in truth, in the prediction and in both."""
    place = THRESHOLDS_S.index(threshold_s)
    true, predicted, both = (np.asarray(v)[..., place] for v in (sums.true_ml, sums.predicted_ml, sums.both_ml))
    return true, predicted, both
