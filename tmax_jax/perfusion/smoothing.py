"""Smoothing that keeps edges: voxels are averaged with neighbours whose curves look alike."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

_REACH = 2  # voxels in y and x


def smooth_similar(
    concentration: jax.Array,
    mask: jax.Array,
    *,
    noise: jax.Array | float,
    spacing_mm: Sequence[float],
    width_mm: float = 2.5,
    tolerance: float = 0.3,
) -> jax.Array:
    """Averages each curve with those of its slice's neighbours that differ from it by little more than noise does.

    Args:
      concentration: `[z, y, x, time]`, dR2* in 1/s.
      mask: bool `[z, y, x]`, True = brain; voxels outside take no part and come back as they are.
      noise: standard deviation of the curves in 1/s, scalar or `[z, y, x]`, as from their baseline.
      spacing_mm: of the voxels, z, y, x.
      width_mm: standard deviation of the spatial weight.
      tolerance: by how much of what noise explains the mean squared difference may exceed it.

    Returns:
      `[z, y, x, time]`.

    Example:
      >>> flat = jnp.ones((1, 4, 4, 8))
      >>> found = smooth_similar(flat, flat[..., 0] > 0, noise=0.1, spacing_mm=(5.0, 2.0, 2.0))
      >>> bool(jnp.allclose(found, 1.0))
      True

    Reference:
      Mendrik et al., Phys Med Biol 2011;56:3857 (time-intensity profile similarity).
    """
    noise = jnp.broadcast_to(jnp.asarray(noise, jnp.float32), mask.shape)
    steps = range(-_REACH, _REACH + 1)
    offsets = list(itertools.product(steps, steps))
    spatial = [
        math.exp(-0.5 * ((dy * spacing_mm[1]) ** 2 + (dx * spacing_mm[2]) ** 2) / width_mm**2) for dy, dx in offsets
    ]
    shifts = jnp.array(offsets)

    def one_slice(parts: tuple[jax.Array, ...]) -> jax.Array:
        curves, inside, noise = parts
        curves = jnp.where(inside[..., None], curves, 0.0)
        padded = jnp.pad(curves, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)))
        counts = jnp.pad(inside, _REACH)

        def add(total: tuple[jax.Array, jax.Array], step: tuple[jax.Array, jax.Array]) -> tuple:
            (dy, dx), near = step
            corner = (dy + _REACH, dx + _REACH)
            other = jax.lax.dynamic_slice(padded, (*corner, 0), curves.shape)
            there = jax.lax.dynamic_slice(counts, corner, inside.shape)
            difference = jnp.mean((other - curves) ** 2, axis=-1) / (2.0 * noise**2 + 1e-12)
            alike = jnp.exp(-0.5 * (jnp.maximum(difference - 1.0, 0.0) / tolerance) ** 2)
            weight = near * alike * there
            return (total[0] + weight[..., None] * other, total[1] + weight), None

        start = jnp.zeros_like(curves), jnp.zeros(inside.shape, curves.dtype)
        (total, weight), _ = jax.lax.scan(add, start, (shifts, jnp.array(spatial)))
        return total / jnp.maximum(weight, 1e-12)[..., None]

    smooth = jax.lax.map(one_slice, (concentration, mask, noise))
    return jnp.where(mask[..., None], smooth, concentration)
