"""What all losses share: the masked difference and the mean over the voxels that count."""

import jax
import jax.numpy as jnp


def masked_error(predictions: jax.Array, targets: jax.Array, where: jax.Array | None) -> jax.Array:
    """Returns `predictions - targets` with 0 where the mask is False.

    The inputs are masked before the subtraction: a NaN outside the mask would otherwise come back through
    the gradient, since 0 x NaN is NaN.
    """
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions have shape {predictions.shape} and targets {targets.shape}; both must be [case, z, y, x]"
        )
    if where is None:
        return predictions - targets
    if where.shape != targets.shape:
        raise ValueError(f"where has shape {where.shape}; it must be that of the targets, {targets.shape}")
    return jnp.where(where, predictions, 0) - jnp.where(where, targets, 0)


def masked_mean(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Returns the mean over all axes but the first, of the voxels that count: `[case]`, 0 for an empty mask."""
    axes = tuple(range(1, values.ndim))
    if where is None:
        return jnp.mean(values, axis=axes)
    kept = jnp.sum(where, axis=axes, dtype=values.dtype)
    return jnp.sum(jnp.where(where, values, 0), axis=axes) / jnp.maximum(kept, 1)
