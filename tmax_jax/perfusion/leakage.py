"""Contrast agent that leaks out of the vessels, and what it does to the curves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES

_LAST_FRAMES = 10  # over which tissue that leaks is told from tissue that does not


class Leakage(NamedTuple):
    """Curves without the effect of leakage, and how large it was."""

    corrected: jax.Array  # [..., time], dR2* in 1/s
    k1: jax.Array  # [...], height relative to the mean curve of tissue that does not leak
    k2: jax.Array  # [...], 1/s; positive where T1 shortening dominates, negative where T2* does
    reference: jax.Array  # [time], that mean curve


@jax.jit
def leakage_correction(
    concentration: jax.Array, mask: jax.Array, *, dt: float | jax.Array, arrival_frame: float | jax.Array
) -> Leakage:
    """Fits `K1 m(t) - K2 integral(m)` to each curve and takes the second term away.

    m is the mean curve of the voxels that do not leak: their last frames lie within one standard deviation of their own
    baseline around it or above.

    Args:
      concentration: `[..., time]`, of one scan's voxels, dR2* in 1/s.
      mask: bool `[...]`, True = brain.
      dt: seconds between frames.
      arrival_frame: of the bolus, as `find_bolus` returns it.

    Returns:
      The corrected curves and constants; curves outside the mask come back as they are, with K1 and K2 of 0.

    Example:
      `leakage_correction(found.curves, mask, dt=1.5, arrival_frame=found.bolus.arrival).k2`

    Reference:
      Boxerman et al., AJNR 2006;27:859.
    """
    frame = jnp.arange(concentration.shape[-1]).reshape((1,) * (concentration.ndim - 1) + (-1,))
    before = (frame >= NON_STEADY_FRAMES) & (frame <= arrival_frame)
    noise = jax.lax.stop_gradient(jnp.std(concentration, axis=-1, where=before))
    end = jnp.mean(concentration[..., -_LAST_FRAMES:], axis=-1)
    quiet = mask & (end >= -noise)
    weight = quiet.astype(concentration.dtype)[..., None]
    reference = jnp.sum(weight * concentration, axis=range(mask.ndim)) / jnp.maximum(jnp.sum(weight), 1.0)
    area = jnp.cumsum(reference) * dt
    exact = jax.lax.Precision.HIGHEST
    on_reference = jnp.matmul(concentration, reference, precision=exact)
    on_area = jnp.matmul(concentration, area, precision=exact)
    aa, ab, bb = jnp.sum(reference**2), jnp.sum(reference * area), jnp.sum(area**2)
    determinant = aa * bb - ab**2
    solvable = determinant > 1e-6 * aa * bb
    safe = jnp.where(solvable, determinant, 1.0)
    inside = mask & solvable
    k1 = jnp.where(inside, (bb * on_reference - ab * on_area) / safe, 0.0)
    k2 = jnp.where(inside, (ab * on_reference - aa * on_area) / safe, 0.0)
    corrected = concentration + k2[..., None] * area.reshape((1,) * mask.ndim + (-1,))
    return Leakage(corrected, k1, k2, reference)
