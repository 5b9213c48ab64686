"""Losses of `[case, z, y, x]` maps, one value per case: `loss(predictions, targets, *, ..., where=None)`."""

from collections.abc import Callable

from tmax_jax.losses.regression import absolute_error, huber, squared_error

LOSSES: dict[str, Callable] = {
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
}

__all__ = ["LOSSES", "absolute_error", "huber", "squared_error"]
