"""Ventricles and vessels, told from tissue by their curves: features for networks, and voxels that no volume counts."""

import jax
import jax.numpy as jnp

_VESSEL_AREA = 2.3  # of the brain's median
_VENTRICLE_AREA = 0.35
_VENTRICLE_SIGNAL = 1.15  # fluid is bright where the weighting is T2*


def vessel_mask(concentration: jax.Array, mask: jax.Array) -> jax.Array:
    """Marks voxels with far more blood than tissue has.

    Args:
      concentration: `[..., time]`, of one scan's voxels, dR2* in 1/s.
      mask: bool `[...]`, True = brain.

    Returns:
      bool `[...]`.
    """
    area = jnp.sum(concentration, axis=-1)
    return mask & (area > _VESSEL_AREA * _median(area, mask))


def ventricle_mask(concentration: jax.Array, baseline: jax.Array, mask: jax.Array) -> jax.Array:
    """Marks fluid: hardly any blood, and bright before the bolus.

    Args:
      concentration: `[..., time]`, of one scan's voxels, dR2* in 1/s.
      baseline: `[...]`, signal before the bolus.
      mask: bool `[...]`, True = brain.

    Returns:
      bool `[...]`.
    """
    area = jnp.sum(concentration, axis=-1)
    bloodless = area < _VENTRICLE_AREA * _median(area, mask)
    return mask & bloodless & (baseline > _VENTRICLE_SIGNAL * _median(baseline, mask))


def _median(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.nan_to_num(jnp.nanmedian(jnp.where(mask, values, jnp.nan)))
