"""Tmax as a rank: on which side of each clinical threshold a voxel lies."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tmax_jax.losses._reduce import Array, masked, masked_mean, wide


def ordinal(
    predictions: Array,
    targets: Array,
    *,
    thresholds_s: Sequence[float] = (4.0, 6.0, 8.0, 10.0),
    temperature_s: float = 0.5,
    where: Array | None = None,
) -> jax.Array:
    """Divergence of the soft answers to "is Tmax above 4, 6, 8, 10 s?".

    With a_k = (target - threshold_k) / temperature and b_k the same of the prediction, and s(a) = 1 / (1 + exp(-a)) the
    soft answer, each threshold costs the Kullback-Leibler divergence of s(b_k) from s(a_k),
    softplus(b_k) - softplus(a_k) - s(a_k) (b_k - a_k). Errors far from every threshold are nearly free.

    Args:
      predictions: Tmax in seconds, `[case, z, y, x]`.
      targets: true Tmax in seconds, `[case, z, y, x]`.
      thresholds_s: of Tmax.
      temperature_s: seconds over which the thresholds are soft.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`, in nats, at least 0: the mean over the voxels that count of the sum over thresholds; 0 where none does,
      and where the two maps are equal.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> sure, wrong = jnp.full((1, 1, 1, 1), 20.0), jnp.full((1, 1, 1, 1), 5.0)
      >>> f"{ordinal(wrong, sure, thresholds_s=[6.0])[0]:.3f}"  # log(1 + e^2)
      '2.127'

    Reference:
      McCullagh 1980, Journal of the Royal Statistical Society B 42:109 (cumulative logits).
    """
    predictions, targets = masked(predictions, targets, where)
    total = jnp.zeros_like(wide(targets))
    for threshold_s in thresholds_s:
        predicted, true = ((wide(tmax) - threshold_s) / temperature_s for tmax in (predictions, targets))
        step = predicted - true
        total += jax.nn.softplus(predicted) - jax.nn.softplus(true) - jax.nn.sigmoid(true) * step
    return masked_mean(total, where).astype(predictions.dtype)
