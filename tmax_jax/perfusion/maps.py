"""The numbers that clinicians read, from curves and from flow-scaled residue functions."""

import jax
import jax.numpy as jnp

# Plasma fraction of large vessels over that of capillaries, and grams of brain in a millilitre.
HEMATOCRIT_RATIO = 0.73
BRAIN_DENSITY = 1.04
ML_PER_GRAM = HEMATOCRIT_RATIO / BRAIN_DENSITY


def tmax_s(residue: jax.Array, *, dt: float | jax.Array) -> jax.Array:
    """Returns when the residue function peaks, between frames by a parabola through the peak.

    Args:
      residue: `[..., 2 * time]`, as `deconvolve` returns it; its second half holds negative times.
      dt: seconds between frames.

    Returns:
      Seconds `[...]`; negative where tissue is fed before the artery measured.

    Example:
      >>> tmax_s(jnp.array([0.0, 1.0, 3.0, 3.0, 1.0, 0.0, 0.0, 0.0]), dt=2.0).item()
      5.0
    """
    length = residue.shape[-1]
    peak = jnp.argmax(residue, axis=-1)[..., None]
    around = (jnp.take_along_axis(residue, (peak + shift) % length, axis=-1)[..., 0] for shift in (-1, 0, 1))
    before, top, after = around
    curvature = before - 2.0 * top + after
    shift = jnp.where(curvature < 0, 0.5 * (before - after) / jnp.where(curvature < 0, curvature, 1.0), 0.0)
    index = jnp.where(peak[..., 0] >= length // 2, peak[..., 0] - length, peak[..., 0])
    return (index + shift) * dt


def cbf_ml_100g_min(residue: jax.Array) -> jax.Array:
    """Returns cerebral blood flow `[...]` in ml/100 g/min, the peak of the flow-scaled residue `[..., time]` in 1/s."""
    return ML_PER_GRAM * 6000.0 * jnp.max(residue, axis=-1)


def cbv_ml_100g(concentration: jax.Array, aif: jax.Array) -> jax.Array:
    """Returns cerebral blood volume, the ratio of the areas under the curves.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[time]`, arterial curve in the same unit and with the same frames.

    Returns:
      `[...]` in ml/100 g.
    """
    return 100.0 * ML_PER_GRAM * jnp.sum(concentration, axis=-1) / jnp.sum(aif)


def mtt_s(cbv: jax.Array, cbf: jax.Array) -> jax.Array:
    """Returns the mean transit time in seconds from volume (ml/100 g) and flow (ml/100 g/min); 0 without flow."""
    return jnp.where(cbf > 0, 60.0 * cbv / jnp.where(cbf > 0, cbf, 1.0), 0.0)
