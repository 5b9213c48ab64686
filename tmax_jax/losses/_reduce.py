"""What all losses share: masking before arithmetic, and sums and means over the voxels that count."""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


def masked(predictions: Array, targets: Array, where: Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns predictions and targets with 0 where the mask is False.

    The inputs are masked before any arithmetic: a NaN outside the mask would otherwise come back through the
    gradient, since 0 x NaN is NaN.
    """
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions have shape {predictions.shape} and targets {targets.shape}; both must be [case, z, y, x]"
        )
    if where is None:
        return predictions, targets
    if where.shape != targets.shape:
        raise ValueError(f"where has shape {where.shape}; it must be that of the targets, {targets.shape}")
    return jnp.where(where, predictions, 0), jnp.where(where, targets, 0)


def masked_error(predictions: Array, targets: Array, where: Array | None) -> jax.Array:
    """Returns `predictions - targets` with 0 where the mask is False."""
    predictions, targets = masked(predictions, targets, where)
    return predictions - targets


def wide(values: jax.Array) -> jax.Array:
    """Returns the values in float32 at least: bfloat16 holds 8 bits, too few for a sum or a small difference."""
    return values if values.dtype == jnp.float64 else values.astype(jnp.float32)


def masked_sum(values: jax.Array, where: Array | None) -> jax.Array:
    """Returns the sum over all axes but the first, of the voxels that count: `[case]`, in float32 at least."""
    return jnp.sum(wide(values), axis=tuple(range(1, values.ndim)), where=where)


def masked_mean(values: jax.Array, where: Array | None) -> jax.Array:
    """Returns the mean over all axes but the first, of the voxels that count: `[case]`, 0 for an empty mask."""
    total = masked_sum(values, where)
    if where is None:
        return (total / values[0].size).astype(values.dtype)
    kept = jnp.sum(where, axis=tuple(range(1, values.ndim)), dtype=total.dtype)
    return (total / jnp.maximum(kept, 1)).astype(values.dtype)
