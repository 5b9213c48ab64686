"""Several losses as one."""

from collections.abc import Callable, Sequence

import jax

from tmax_jax.losses._reduce import Array


def weighted_sum(
    predictions: Array,
    targets: Array,
    *,
    terms: Sequence[tuple[float, Callable[..., jax.Array]]],
    where: Array | None = None,
) -> jax.Array:
    """Adds losses up.

    Args:
      predictions: `[case, z, y, x]`.
      targets: `[case, z, y, x]`, in the unit of the predictions.
      terms: pairs of a weight and a loss, `(predictions, targets, *, where)` -> `[case]`; bind the options of a loss
        with `functools.partial`.
      where: bool `[case, z, y, x]`, True for the voxels that count; passed to every term.

    Returns:
      `[case]`: sum of weight x loss.

    Raises:
      ValueError: there is no term, or the shapes differ.

    Example:
      >>> import functools
      >>> import jax.numpy as jnp
      >>> from tmax_jax.losses import absolute_error, huber
      >>> terms = [(1.0, absolute_error), (0.5, functools.partial(huber, delta=2.0))]
      >>> loss = functools.partial(weighted_sum, terms=terms)
      >>> loss(jnp.full((1, 1, 1, 1), 3.0), jnp.full((1, 1, 1, 1), 1.0))  # 2 + 0.5 x 2
      Array([3.], dtype=float32)

    Reference:
      Zhao, Gallo, Frosio and Kautz 2017, IEEE Transactions on Computational Imaging 3:47 (absolute error and SSIM).
    """
    if not terms:
        raise ValueError("terms is empty; name at least one (weight, loss)")
    values = [weight * loss(predictions, targets, where=where) for weight, loss in terms]
    return sum(values[1:], start=values[0])
