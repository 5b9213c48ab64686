"""Losses against maps that read too high: what is called hypoperfused and is not weighs more."""

import jax
import jax.numpy as jnp

from tmax_jax.losses._reduce import Array, masked, masked_mean
from tmax_jax.losses._soft import exceedance, soft_counts


def precision_weighted(
    predictions: Array,
    targets: Array,
    *,
    threshold_s: float = 6.0,
    weight: float = 4.0,
    where: Array | None = None,
) -> jax.Array:
    """Squared error in which voxels falsely called hypoperfused weigh more.

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      threshold_s: Tmax above which tissue is called hypoperfused.
      weight: of a voxel predicted above the threshold that is not above it in truth; all others weigh 1.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, in s^2: mean of w (prediction - target)^2 over the voxels that count, 0 where none does. It jumps where
      a prediction crosses the threshold; the gradient is that of the squared error on either side.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> precision_weighted(jnp.array([[[[7.0, 5.0]]]]), jnp.array([[[[5.0, 7.0]]]]))  # 4 x 4 and 4
      Array([10.], dtype=float32)

    Reference:
      Elkan 2001, IJCAI 17:973 (costs that depend on the kind of error).
    """
    predictions, targets = masked(predictions, targets, where)
    squared = jnp.square(predictions - targets)
    falsely = (predictions > threshold_s) & (targets <= threshold_s)
    return masked_mean(jnp.where(falsely, weight * squared, squared), where)


def soft_precision(
    predictions: Array,
    targets: Array,
    *,
    threshold_s: float = 6.0,
    temperature_s: float = 0.5,
    smooth: float = 1.0,
    where: Array | None = None,
) -> jax.Array:
    """Share of the predicted hypoperfusion that is none: 1 - precision, with a threshold that has a gradient.

    It is 0 for a map without any hypoperfusion, so use it beside another loss (`weighted_sum`).

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      threshold_s: Tmax above which tissue is called hypoperfused.
      temperature_s: seconds over which the threshold is soft; the hard one is its limit at 0.
      smooth: voxels added to what both have; it keeps tiny lesions from deciding.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, from 0 to 1: FP / (TP + FP + smooth), see `tversky`; 0 where no voxel counts.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = soft_precision(jnp.array([[[[20.0, 20.0]]]]), jnp.array([[[[20.0, 0.0]]]]), smooth=0.0)
      >>> f"{loss[0]:.3f}"
      '0.500'

    Reference:
      Tversky 1977, Psychological Review 84:327 (with alpha 1 and beta 0).
    """
    return tversky(
        predictions,
        targets,
        threshold_s=threshold_s,
        temperature_s=temperature_s,
        alpha=1.0,
        beta=0.0,
        smooth=smooth,
        where=where,
    )


def tversky(
    predictions: Array,
    targets: Array,
    *,
    threshold_s: float = 6.0,
    temperature_s: float = 0.5,
    alpha: float = 0.7,
    beta: float = 0.3,
    smooth: float = 1.0,
    where: Array | None = None,
) -> jax.Array:
    """Overlap of the hypoperfused tissue, false positives and false negatives weighed apart.

    With p and t the soft masks of prediction and truth, m = 1 / (1 + exp((threshold - Tmax) / temperature)):
    TP = sum min(p, t), FP = sum max(p - t, 0), FN = sum max(t - p, 0).

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      threshold_s: Tmax above which tissue is called hypoperfused.
      temperature_s: seconds over which the threshold is soft; the hard one is its limit at 0.
      alpha: weight of false positives; above `beta` it favours precision.
      beta: weight of false negatives. 0.5 and 0.5 give `dice`.
      smooth: voxels added to what both have; it keeps tiny lesions from deciding. At 0, a case without any
        hypoperfusion has no value.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, from 0 to 1: 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth); 0 where no voxel counts, and 0
      exactly where the two maps are equal.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = tversky(jnp.array([[[[20.0, 20.0]]]]), jnp.array([[[[20.0, 0.0]]]]), smooth=0.0)
      >>> f"{loss[0]:.3f}"  # 0.7 / 1.7
      '0.412'

    Reference:
      Salehi, Erdogmus and Gholipour 2017, MLMI, LNCS 10541:379; min(p, t) for soft targets: Wang et al. 2023, MICCAI,
      LNCS 14223:475.
    """
    predictions, targets = masked(predictions, targets, where)
    predicted, true = (
        exceedance(tmax, threshold_s=threshold_s, temperature_s=temperature_s) for tmax in (predictions, targets)
    )
    both, over, under = soft_counts(predicted, true, where)
    wrong = alpha * over + beta * under
    return (wrong / (both + wrong + smooth)).astype(predictions.dtype)


def focal_tversky(
    predictions: Array,
    targets: Array,
    *,
    threshold_s: float = 6.0,
    temperature_s: float = 0.5,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
    where: Array | None = None,
) -> jax.Array:
    """Root of the Tversky loss, steeper for cases that are nearly right: small lesions keep their gradient.

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      threshold_s: Tmax above which tissue is called hypoperfused.
      temperature_s: seconds over which the threshold is soft; the hard one is its limit at 0.
      alpha: weight of false positives.
      beta: weight of false negatives.
      gamma: of the root; 1 gives `tversky`.
      smooth: voxels added to what both have.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, from 0 to 1: tversky^(1 / gamma); 0, with gradient 0, where the maps are equal or no voxel counts.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = focal_tversky(jnp.array([[[[20.0, 20.0]]]]), jnp.array([[[[20.0, 0.0]]]]), smooth=0.0)
      >>> f"{loss[0]:.3f}"  # (0.7 / 1.7)^(3 / 4)
      '0.514'

    Reference:
      Abraham and Khan 2019, IEEE ISBI 16:683.
    """
    loss = tversky(
        predictions,
        targets,
        threshold_s=threshold_s,
        temperature_s=temperature_s,
        alpha=alpha,
        beta=beta,
        smooth=smooth,
        where=where,
    )
    return jnp.where(loss > 0, jnp.where(loss > 0, loss, 1) ** (1 / gamma), 0)  # the root has no slope at 0
