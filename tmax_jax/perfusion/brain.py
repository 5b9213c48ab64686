"""Where the bolus passes: brain, told from scalp and air by the curves. Runs inside jit, vmap and on split rows."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES

_RISE_OVER_NOISE = 4.0  # of the mean after the arrival; scalp has little blood and little signal
_LEAST_AREA = 0.3  # of the upper quartile
_HOLES_VOXELS = 4  # gaps of up to twice so many are closed: a core without flow is brain


@jax.jit
def brain_mask(concentration: jax.Array, head: jax.Array, *, arrival_frame: float | jax.Array) -> jax.Array:
    """Finds the brain in the head: the largest piece through which contrast agent passes.

    A mask by brightness alone keeps the scalp, in whose curves noise reads as late tissue, and as arteries.

    Args:
      concentration: `[z, y, x, time]`, dR2* in 1/s.
      head: bool `[z, y, x]`, where it is looked for.
      arrival_frame: of the bolus in the head's mean curve, as `find_bolus` returns it.

    Returns:
      bool `[z, y, x]`, holes filled slice by slice, so that tissue without flow and ventricles are in it. Empty where
      nothing rises above its noise.

    Example:
      `brain_mask(scan.curves, head, arrival_frame=scan.bolus.arrival)`
    """
    area, rise = _rise(concentration, arrival_frame)
    seen = head & (rise > _RISE_OVER_NOISE)
    upper_quartile = jnp.nanpercentile(jnp.where(seen, area, jnp.nan), 75)
    seen &= area > _LEAST_AREA * upper_quartile  # never true where nothing is seen
    piece = _largest_piece(_grow(_shrink(seen)))
    margin = (_HOLES_VOXELS, _HOLES_VOXELS)
    closed = jnp.pad(piece, ((0, 0), margin, margin))
    for step in [_grow] * _HOLES_VOXELS + [_shrink] * _HOLES_VOXELS:
        closed = step(closed)
    rest = _pieces(~closed, (1, 2))
    outside = rest == rest[:, -1:, -1:]  # the margin's corner is never closed
    inner = slice(_HOLES_VOXELS, -_HOLES_VOXELS)
    return ~outside[:, inner, inner] & head


def _rise(concentration: jax.Array, arrival_frame: float | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean after the arrival, and how many times its own standard error it is, each `[z, y, x]`."""
    frame = jnp.arange(concentration.shape[-1]).reshape(1, 1, 1, -1)
    before = (frame >= NON_STEADY_FRAMES) & (frame <= arrival_frame)
    after = frame > arrival_frame
    area = jnp.mean(concentration, axis=-1, where=after)
    noise = jnp.std(concentration, axis=-1, where=before)
    error = noise / jnp.sqrt(jnp.maximum(jnp.sum(after), 1).astype(noise.dtype))
    return area, area / jnp.where(error > 0, error, 1.0) * (error > 0)


def _neighbours(values: jax.Array, axes: Sequence[int], outside: int) -> list[jax.Array]:
    """Returns the array moved by one to either side along each axis, with a value for what lies outside of it."""

    def moved(axis: int, forward: bool) -> jax.Array:
        length = values.shape[axis]
        margin = [(0, 0)] * values.ndim
        margin[axis] = (1, 0) if forward else (0, 1)
        kept = jax.lax.slice_in_dim(values, *((0, length - 1) if forward else (1, length)), axis=axis)
        return jnp.pad(kept, margin, constant_values=outside)

    return [moved(axis, forward) for axis in axes for forward in (True, False)]


def _grow(mask: jax.Array) -> jax.Array:
    return functools.reduce(jnp.logical_or, _neighbours(mask, (1, 2), False), mask)


def _shrink(mask: jax.Array) -> jax.Array:
    return functools.reduce(jnp.logical_and, _neighbours(mask, (1, 2), False), mask)


def _pieces(mask: jax.Array, axes: Sequence[int]) -> jax.Array:
    """Numbers the pieces of a mask, joined by faces along `axes`: by the place of their last voxel, from 1; 0 outside.

    Every voxel points at a voxel of its piece. What a voxel points at takes the highest place that any of the
    neighbours points at, then all follow their pointers: a few rounds, however winding the piece.
    """
    places = jnp.arange(1, mask.size + 1, dtype=jnp.int32).reshape(mask.shape)
    pointer = jnp.where(mask, places, 0)

    def join(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        before, _ = state
        highest = jnp.where(mask, functools.reduce(jnp.maximum, _neighbours(before, axes, 0), before), 0)
        by_place = jnp.pad(before.reshape(-1), (1, 0)).at[before.reshape(-1)].max(highest.reshape(-1))
        by_place = by_place[by_place]
        after = by_place[by_place[before]]
        return after, jnp.any(after != before)

    pointer, _ = jax.lax.while_loop(lambda state: state[1], join, (pointer, jnp.any(mask)))
    return pointer


def _largest_piece(mask: jax.Array) -> jax.Array:
    """Returns the piece of most voxels, an empty one where there is none."""
    piece = _pieces(mask, (0, 1, 2))
    voxels = jnp.zeros(mask.size + 1, jnp.int32).at[piece.reshape(-1)].add(mask.reshape(-1).astype(jnp.int32))
    return mask & (piece == jnp.argmax(voxels))
