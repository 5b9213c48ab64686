"""Voxel-wise regression losses."""

import jax
import jax.numpy as jnp

from tmax_jax.losses._reduce import masked_error, masked_mean


def squared_error(predictions: jax.Array, targets: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Mean squared error, the paper's loss.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default. Masked voxels may
        hold NaN.

    Returns:
      `[case]`: mean of (prediction - target)^2 over the voxels that count, 0 where none does.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> squared_error(jnp.full((1, 1, 1, 2), 3.0), jnp.array([[[[1.0, 0.0]]]]))
      Array([6.5], dtype=float32)

    Reference:
      Sossin, Carlson and Radzihovsky 2021, section IV.C.
    """
    return masked_mean(jnp.square(masked_error(predictions, targets, where)), where)


def absolute_error(predictions: jax.Array, targets: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Mean absolute error; its minimum is the median, so that few extreme voxels weigh less.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`: mean of |prediction - target| over the voxels that count, 0 where none does.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> absolute_error(jnp.full((1, 1, 1, 2), 3.0), jnp.array([[[[1.0, 0.0]]]]))
      Array([2.5], dtype=float32)

    Reference:
      Koenker and Bassett 1978, Econometrica 46:33 (the median as the minimiser).
    """
    return masked_mean(jnp.abs(masked_error(predictions, targets, where)), where)


def huber(
    predictions: jax.Array, targets: jax.Array, *, delta: float = 1.0, where: jax.Array | None = None
) -> jax.Array:
    """Quadratic for errors below `delta`, linear above.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      delta: the size of error at which the loss turns linear, in the unit of the predictions.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`: mean of e^2 / 2 for |e| <= delta and delta (|e| - delta / 2) beyond, 0 where no voxel counts.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> huber(jnp.full((1, 1, 1, 2), 3.0), jnp.array([[[[2.0, 0.0]]]]))
      Array([1.5], dtype=float32)

    Reference:
      Huber 1964, Annals of Mathematical Statistics 35:73.
    """
    size = jnp.abs(masked_error(predictions, targets, where))
    quadratic = jnp.minimum(size, delta)
    return masked_mean(0.5 * jnp.square(quadratic) + delta * (size - quadratic), where)
