"""Curves of any scan on one grid of seconds around the arrival of the bolus in the artery.

A network that reads this grid takes any frame interval and any number of frames, and need not learn when scans start.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES, piecewise_arrival

BEFORE_S, AFTER_S = 8, 56  # around the arrival; a point a second
POINTS = BEFORE_S + AFTER_S
SCALARS = 4  # channels after the two curves
CHANNELS = 2 * POINTS + SCALARS
_TINY = 1e-6


class Aligned(NamedTuple):
    """Curves on the grid; before the first settled and after the last frame they are 0."""

    curve: jax.Array  # [..., point], of unit norm: integral of the square over seconds = 1
    artery: jax.Array  # [..., point], of unit area
    noise: jax.Array  # [...], standard deviation of the curve before the bolus, in its own unit
    flow_unit: jax.Array  # [...], 1/s: what a residue function of these two curves must be multiplied by
    dt: jax.Array  # [...], seconds between the scan's frames
    seen_s: jax.Array  # [...], from the arrival to the last frame

    def channels(self) -> jax.Array:
        """Returns everything on one axis, `[..., CHANNELS]`, for a network; `from_channels` takes it apart again."""
        scalars = (jnp.log(self.noise + 1e-3), jnp.log(self.flow_unit + _TINY), self.dt, self.seen_s / AFTER_S)
        return jnp.concatenate([self.curve, self.artery, jnp.stack(scalars, axis=-1)], axis=-1)

    @classmethod
    def from_channels(cls, channels: jax.Array) -> "Aligned":
        """Takes `channels` apart."""
        noise, flow_unit, dt, seen = jnp.moveaxis(channels[..., 2 * POINTS :], -1, 0)
        curve, artery = channels[..., :POINTS], channels[..., POINTS : 2 * POINTS]
        return cls(curve, artery, jnp.exp(noise) - 1e-3, jnp.exp(flow_unit) - _TINY, dt, seen * AFTER_S)


def align(concentration: jax.Array, aif: jax.Array, *, dt: float | jax.Array) -> Aligned:
    """Interpolates the curves of one scan to the grid, and takes their scales out.

    Args:
      concentration: `[..., time]`, dR2* in 1/s or anything proportional to it.
      aif: `[time]`, in the same unit.
      dt: seconds between frames.

    Returns:
      The curves, each field with the leading axes of `concentration`.

    Example:
      >>> aif = jnp.zeros(40).at[12:16].set(jnp.array([4.0, 8.0, 4.0, 1.0]))
      >>> found = align(0.1 * jnp.roll(aif, 3)[None], aif, dt=1.5)
      >>> found.curve.shape, int(found.artery.argmax()), round(float(found.artery.sum()), 3)
      ((1, 64), 11, 1.0)
    """
    frames = aif.shape[-1]
    frame = jnp.arange(frames, dtype=jnp.float32)
    arrival = piecewise_arrival(aif, jnp.argmax(aif))
    at = arrival + (jnp.arange(POINTS, dtype=jnp.float32) - BEFORE_S) / dt  # in frames
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(frame[:, None] - at.reshape(1, -1)))  # [time, point], straight lines
    weights = jnp.where((at >= NON_STEADY_FRAMES) & (at <= frames - 1), weights, 0.0)
    exact = jax.lax.Precision.HIGHEST
    curve, artery = jnp.matmul(concentration, weights, precision=exact), jnp.matmul(aif, weights, precision=exact)
    norm = jnp.sqrt(jnp.sum(curve**2, axis=-1)) + _TINY
    area = jnp.maximum(jnp.sum(artery), _TINY)
    before = (frame >= NON_STEADY_FRAMES) & (frame <= jnp.maximum(arrival, NON_STEADY_FRAMES))
    noise = jnp.std(concentration, axis=-1, where=before)
    shape = concentration.shape[:-1]
    spread = [jnp.broadcast_to(value, shape) for value in (dt, (frames - 1 - arrival) * dt)]
    return Aligned(
        curve / norm[..., None], jnp.broadcast_to(artery / area, curve.shape), noise / norm, norm / area, *spread
    )
