"""Voxel-wise regression losses."""

import math

import jax
import jax.numpy as jnp

from tmax_jax.losses._reduce import Array, masked, masked_error, masked_mean


def squared_error(predictions: Array, targets: Array, *, where: Array | None = None) -> jax.Array:
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


def absolute_error(predictions: Array, targets: Array, *, where: Array | None = None) -> jax.Array:
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


def huber(predictions: Array, targets: Array, *, delta: float = 1.0, where: Array | None = None) -> jax.Array:
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


def log_cosh(predictions: Array, targets: Array, *, where: Array | None = None) -> jax.Array:
    """Smooth everywhere: quadratic for errors well below 1 and linear well above, in the unit of the predictions.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`: mean of log(cosh(prediction - target)) over the voxels that count, 0 where none does.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = log_cosh(jnp.zeros((1, 1, 1, 1)), jnp.full((1, 1, 1, 1), 1000.0))
      >>> f"{loss[0]:.2f}"  # 1000 - log 2, where cosh itself overflows
      '999.31'

    Reference:
      Green 1990, IEEE Transactions on Medical Imaging 9:84 (the potential log cosh).
    """
    size = jnp.abs(masked_error(predictions, targets, where))
    return masked_mean(size + jax.nn.softplus(-2 * size) - math.log(2), where)


def quantile(predictions: Array, targets: Array, *, level: float = 0.5, where: Array | None = None) -> jax.Array:
    """Pinball loss, whose minimum is a quantile of the targets; a level below 0.5 punishes "too high" more.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      level: of the quantile, between 0 and 1; 0.5 is half the absolute error.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`: mean of max(level (t - p), (level - 1) (t - p)) over the voxels that count, 0 where none does.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> quantile(jnp.array([[[[3.0, 0.0]]]]), jnp.array([[[[1.0, 2.0]]]]), level=0.25)  # 2 x 0.75 and 2 x 0.25
      Array([1.], dtype=float32)

    Reference:
      Koenker and Bassett 1978, Econometrica 46:33.
    """
    missing = -masked_error(predictions, targets, where)
    return masked_mean(jnp.maximum(level * missing, (level - 1) * missing), where)


def asymmetric_squared_error(
    predictions: Array,
    targets: Array,
    *,
    over: float = 2.0,
    under: float = 1.0,
    where: Array | None = None,
) -> jax.Array:
    """Squared error that weighs "too high" and "too low" differently.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      over: weight of a prediction above its target.
      under: weight of a prediction below its target.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`: mean of w e^2 with e = prediction - target and w = over for e > 0, under otherwise; over the voxels
      that count, 0 where none does. Its minimum is an expectile of the targets, at under / (over + under).

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> asymmetric_squared_error(jnp.array([[[[3.0, 0.0]]]]), jnp.array([[[[1.0, 2.0]]]]), over=3.0)
      Array([8.], dtype=float32)

    Reference:
      Newey and Powell 1987, Econometrica 55:819.
    """
    error = masked_error(predictions, targets, where)
    return masked_mean(jnp.where(error > 0, over * jnp.square(error), under * jnp.square(error)), where)


def relative_error(predictions: Array, targets: Array, *, floor: float = 1.0, where: Array | None = None) -> jax.Array:
    """Absolute error as a share of the target.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      floor: targets nearer to 0 than this count as this, in the unit of the predictions: Tmax is 0 in much of the
        brain, where a share of it means nothing.
      where: bool `[case, z, y, x]`, True for the voxels that count; all of them by default.

    Returns:
      `[case]`: mean of |prediction - target| / max(|target|, floor) over the voxels that count, 0 where none does.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> relative_error(jnp.array([[[[6.0, 0.5]]]]), jnp.array([[[[4.0, 0.0]]]]))  # 2 / 4 and 0.5 / 1
      Array([0.5], dtype=float32)

    Reference:
      Hyndman and Koehler 2006, International Journal of Forecasting 22:679 (percentage errors and their poles).
    """
    predictions, targets = masked(predictions, targets, where)
    return masked_mean(jnp.abs(predictions - targets) / jnp.maximum(jnp.abs(targets), floor), where)
