"""Losses of `[case, z, y, x]` maps, one value per case: `loss(predictions, targets, *, ..., where=None)`.

They work under `jit`, `grad` and `vmap`, in float32 and bfloat16 (sums are taken in float32), and mask before any
arithmetic: NaN outside `where` leaks neither value nor gradient. Losses with an argument in seconds take Tmax in
seconds.
"""

from collections.abc import Callable

from tmax_jax.losses.combine import weighted_sum
from tmax_jax.losses.ordinal import ordinal
from tmax_jax.losses.overlap import dice, generalized_dice
from tmax_jax.losses.precision import focal_tversky, precision_weighted, soft_precision, tversky
from tmax_jax.losses.regression import (
    absolute_error,
    asymmetric_squared_error,
    huber,
    log_cosh,
    quantile,
    relative_error,
    squared_error,
)
from tmax_jax.losses.structural import gradient_difference, multiscale_ssim, ssim, ssim_map

LOSSES: dict[str, Callable] = {
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "log_cosh": log_cosh,
    "quantile": quantile,
    "asymmetric_squared_error": asymmetric_squared_error,
    "relative_error": relative_error,
    "precision_weighted": precision_weighted,
    "soft_precision": soft_precision,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "dice": dice,
    "generalized_dice": generalized_dice,
    "ordinal": ordinal,
    "ssim": ssim,
    "multiscale_ssim": multiscale_ssim,
    "gradient_difference": gradient_difference,
    "weighted_sum": weighted_sum,
}

__all__ = [
    "LOSSES",
    "absolute_error",
    "asymmetric_squared_error",
    "dice",
    "focal_tversky",
    "generalized_dice",
    "gradient_difference",
    "huber",
    "log_cosh",
    "multiscale_ssim",
    "ordinal",
    "precision_weighted",
    "quantile",
    "relative_error",
    "soft_precision",
    "squared_error",
    "ssim",
    "ssim_map",
    "tversky",
    "weighted_sum",
]
