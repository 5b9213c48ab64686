"""Frames that are missing or unevenly spaced, before anything that needs a regular series."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_UNEVEN = 0.01  # of the mean interval; more is resampled


class Resampled(NamedTuple):
    """Curves at equal intervals."""

    curves: jax.Array  # [..., time]
    dt: jax.Array  # seconds between frames
    uneven: jax.Array  # bool: the frames were not at equal intervals, and the curves have been interpolated


def fill_missing(curves: jax.Array, present: jax.Array) -> jax.Array:
    """Fills missing frames on the straight line between their neighbours in time.

    Args:
      curves: `[..., time]`.
      present: bool `[..., time]`.

    Returns:
      Like `curves`; 0 where a curve has no frame at all. Before the first and after the last frame they go on.

    Example:
      >>> fill_missing(jnp.array([1.0, 0.0, 3.0]), jnp.array([True, False, True])).tolist()
      [1.0, 2.0, 3.0]
    """
    frames = curves.shape[-1]
    frame = jnp.broadcast_to(jnp.arange(frames).reshape((1,) * (curves.ndim - 1) + (-1,)), curves.shape)
    before = jax.lax.cummax(jnp.where(present, frame, -1), axis=curves.ndim - 1)
    after = jax.lax.cummin(jnp.where(present, frame, frames), axis=curves.ndim - 1, reverse=True)
    left = jnp.where(before < 0, jnp.minimum(after, frames - 1), before)
    right = jnp.where(after >= frames, left, after)
    fraction = (frame - left) / jnp.maximum(right - left, 1)
    known = jnp.where(present, curves, 0.0)
    low, high = (jnp.take_along_axis(known, at, axis=-1) for at in (left, right))
    return jnp.where(present, curves, low + fraction * (high - low))


def resample_evenly(curves: jax.Array, times_s: jax.Array) -> Resampled:
    """Interpolates curves to equal intervals, where their frames are not at such, and says so.

    Args:
      curves: `[..., time]`.
      times_s: `[time]`, seconds, rising.

    Returns:
      As many frames between the first and the last time. `uneven` is True where an interval differs from the mean one
      by more than 1 %; otherwise the curves come back as they are.

    Example:
      >>> found = resample_evenly(jnp.array([0.0, 1.0, 4.0]), jnp.array([0.0, 1.0, 4.0]))
      >>> found.curves.tolist(), found.dt.item(), bool(found.uneven)
      ([0.0, 2.0, 4.0], 2.0, True)
    """
    frames = times_s.shape[0]
    dt = (times_s[-1] - times_s[0]) / (frames - 1)
    uneven = jnp.any(jnp.abs(jnp.diff(times_s) - dt) > _UNEVEN * dt)
    even_s = times_s[0] + dt * jnp.arange(frames)
    right = jnp.clip(jnp.searchsorted(times_s, even_s, side="right"), 1, frames - 1)
    span = times_s[right] - times_s[right - 1]
    fraction = jnp.clip((even_s - times_s[right - 1]) / span, 0.0, 1.0).reshape((1,) * (curves.ndim - 1) + (-1,))
    between = curves[..., right - 1] * (1.0 - fraction) + curves[..., right] * fraction
    return Resampled(jnp.where(uneven, between, curves), dt, uneven)
