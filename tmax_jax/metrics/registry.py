"""All metrics by the names of their columns: what a reader sees, which way is better, and how each is computed."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tmax_jax.metrics import lesion, surface, voxel
from tmax_jax.metrics.sums import THRESHOLDS_S, TmaxSums, on_host


class Metric(NamedTuple):
    """One column of every table."""

    label: str  # as a reader sees it
    unit: str  # empty for a share or a coefficient
    best: str  # "low", "high" or "zero"; empty where no value is better than another
    value: Callable[..., np.ndarray | float]
    undefined: str = ""  # when a case has no value (NaN): it is left out of means. Empty: every case has one


_NEITHER = "neither map has such tissue"


def _above(threshold_s: float) -> dict[str, Metric]:
    """The metrics of the tissue above a threshold."""
    end, where = f"{threshold_s:g}s", f"Tmax > {threshold_s:g} s"
    at = functools.partial(functools.partial, threshold_s=threshold_s)
    return {
        f"dice_{end}": Metric(f"Dice, {where}", "", "high", at(lesion.dice), _NEITHER),
        f"jaccard_{end}": Metric(f"Jaccard, {where}", "", "high", at(lesion.jaccard), _NEITHER),
        f"precision_{end}": Metric(f"precision, {where}", "", "high", at(lesion.precision), "none is predicted"),
        f"recall_{end}": Metric(f"recall, {where}", "", "high", at(lesion.recall), "truth has none"),
        f"volume_true_{end}_ml": Metric(f"true volume, {where}", "mL", "", at(lesion.volume_true_ml)),
        f"volume_predicted_{end}_ml": Metric(f"predicted volume, {where}", "mL", "", at(lesion.volume_predicted_ml)),
        f"volume_difference_{end}_ml": Metric(
            f"volume difference, {where}", "mL", "zero", at(lesion.volume_difference_ml)
        ),
    }


SUM_METRICS: dict[str, Metric] = {  # of `TmaxSums`
    "mse_all_s2": Metric("MSE, all voxels", "s²", "low", voxel.mse_all_s2),
    "mse_brain_s2": Metric("MSE, brain", "s²", "low", voxel.mse_brain_s2),
    "mae_brain_s": Metric("MAE, brain", "s", "low", voxel.mae_brain_s),
    "bias_brain_s": Metric("bias, brain", "s", "zero", voxel.bias_brain_s),
    "over_share_brain": Metric("share of error too high", "", "", voxel.over_share_brain, "the maps are equal"),
    "r2_brain": Metric("R²", "", "high", voxel.r2_brain, "the truth is constant"),
    "ccc_brain": Metric("CCC", "", "high", voxel.ccc_brain, "both maps are the same constant"),
    "pearson_brain": Metric("Pearson r", "", "high", voxel.pearson_brain, "a map is constant"),
    "psnr_brain_db": Metric("PSNR", "dB", "high", voxel.psnr_brain_db),
    "ssim_brain": Metric("SSIM", "", "high", voxel.ssim_brain),
    "whiteout": Metric("white-out", "", "low", lesion.whiteout, "no healthy brain"),
    "hir_true": Metric("HIR, true", "", "", lesion.hir_true, "no tissue above 6 s in truth"),
    "hir_predicted": Metric("HIR, predicted", "", "", lesion.hir_predicted, "no tissue predicted above 6 s"),
    "hir_difference": Metric("HIR, difference", "", "zero", lesion.hir_difference, "one HIR is undefined"),
} | {name: metric for threshold_s in THRESHOLDS_S for name, metric in _above(threshold_s).items()}

MAP_METRICS: dict[str, Metric] = {  # of the maps of one case, on the host
    "hausdorff95_6s_mm": Metric("Hausdorff 95 %, Tmax > 6 s", "mm", "low", surface.hausdorff95_6s_mm, _NEITHER),
}

METRICS = SUM_METRICS | MAP_METRICS


def sum_values(sums: TmaxSums) -> dict[str, np.ndarray]:
    """Derives every metric of sums.

    Args:
      sums: of each case, or of a cohort (`pool`).

    Returns:
      By the names of `SUM_METRICS`: `[case]` each, without the axis for a cohort; NaN where undefined.
    """
    host = on_host(sums)
    return {name: np.asarray(metric.value(host)) for name, metric in SUM_METRICS.items()}


def map_values(
    prediction_s: np.ndarray, tmax_s: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]
) -> dict[str, float]:
    """Derives the metrics of one case that need its maps.

    Args:
      prediction_s: float32 `[z, y, x]`, predicted Tmax in seconds.
      tmax_s: float32 `[z, y, x]`, true Tmax in seconds.
      mask: bool `[z, y, x]`, True in the brain.
      spacing_mm: of the voxels along z, y and x.

    Returns:
      By the names of `MAP_METRICS`; NaN where undefined.
    """
    return {name: float(metric.value(prediction_s, tmax_s, mask, spacing_mm)) for name, metric in MAP_METRICS.items()}


def defined(name: str, values: Iterable[float]) -> list[float]:
    """Leaves out the cases for which a metric says nothing.

    Args:
      name: of `METRICS`.
      values: one a case.

    Returns:
      The values to average. NaN of a metric that every case has stays: it says that a prediction was not finite.

    Example:
      >>> defined("dice_6s", [0.5, math.nan]), defined("mse_brain_s2", [0.5, math.nan])
      ([0.5], [0.5, nan])
    """
    return [value for value in values if not (METRICS[name].undefined and math.isnan(value))]
