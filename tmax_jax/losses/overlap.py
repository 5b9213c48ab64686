"""How well the tissue above a threshold of Tmax is hit, as losses: 1 - Dice."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tmax_jax.losses._reduce import Array, masked, masked_sum
from tmax_jax.losses._soft import bands, soft_counts
from tmax_jax.losses.precision import tversky


def dice(
    predictions: Array,
    targets: Array,
    *,
    threshold_s: float = 6.0,
    temperature_s: float = 0.5,
    smooth: float = 1.0,
    where: Array | None = None,
) -> jax.Array:
    """Soft Dice loss of the hypoperfused tissue.

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      threshold_s: Tmax above which tissue is called hypoperfused.
      temperature_s: seconds over which the threshold is soft; the hard one is its limit at 0.
      smooth: voxels added to what both have; at 0, a case without any hypoperfusion has no value.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, from 0 to 1: 1 - (2 TP + 2 smooth) / (2 TP + FP + FN + 2 smooth) with the soft counts of `tversky`;
      0 where no voxel counts, and 0 exactly where the two maps are equal.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = dice(jnp.array([[[[20.0, 20.0]]]]), jnp.array([[[[20.0, 0.0]]]]), smooth=0.0)
      >>> f"{loss[0]:.3f}"  # 1 - 2 / 3
      '0.333'

    Reference:
      Milletari, Navab and Ahmadi 2016, 3DV 4:565; for soft targets Wang et al. 2023, MICCAI, LNCS 14223:475.
    """
    return tversky(
        predictions,
        targets,
        threshold_s=threshold_s,
        temperature_s=temperature_s,
        alpha=0.5,
        beta=0.5,
        smooth=smooth,
        where=where,
    )


def generalized_dice(
    predictions: Array,
    targets: Array,
    *,
    thresholds_s: Sequence[float] = (4.0, 6.0, 8.0, 10.0),
    temperature_s: float = 0.5,
    where: Array | None = None,
) -> jax.Array:
    """Dice loss over the bands between thresholds, each weighed by the inverse square of its size in truth.

    A band that is small, such as the core of a lesion, counts as much as healthy tissue.

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      thresholds_s: of Tmax; n of them make n + 1 bands.
      temperature_s: seconds over which the thresholds are soft.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, from 0 to 1: 1 - 2 sum_k w_k TP_k / sum_k w_k (2 TP_k + FP_k + FN_k) with w_k = 1 / V_k^2, V_k the
      voxels of band k in truth, at least 1; 0 where no voxel counts, and where the two maps are equal.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> maps = jnp.array([[[[20.0, 20.0]]]]), jnp.array([[[[20.0, 0.0]]]])
      >>> f"{generalized_dice(*maps, thresholds_s=[6.0])[0]:.3f}"  # 1 - 2 x (1 + 0) / (3 + 1)
      '0.500'

    Reference:
      Sudre et al. 2017, DLMIA, LNCS 10553:240.
    """
    predictions, targets = masked(predictions, targets, where)
    soft = (bands(tmax, thresholds_s=thresholds_s, temperature_s=temperature_s) for tmax in (predictions, targets))
    wrongs, sizes = [], []
    for predicted, true in zip(*soft, strict=True):
        both, over, under = soft_counts(predicted, true, where)
        weight = 1 / jnp.square(jnp.maximum(masked_sum(true, where), 1))
        wrongs.append(weight * (over + under))
        sizes.append(weight * (2 * both + over + under))
    wrong, size = sum(wrongs[1:], start=wrongs[0]), sum(sizes[1:], start=sizes[0])
    return jnp.where(size > 0, wrong / jnp.where(size > 0, size, 1), 0).astype(predictions.dtype)
