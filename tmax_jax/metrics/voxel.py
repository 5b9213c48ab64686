"""Voxel-wise errors of Tmax maps, one row of sums a case."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class VoxelSums(NamedTuple):
    """Sums over the voxels of each case, `[case]` each.

    Sums, not means: those of two parts of a volume add up, and a cohort's figure divides total by total.
    """

    squared_all: jax.Array  # s^2, over all voxels, background included: the paper's score
    count_all: jax.Array
    squared_brain: jax.Array  # s^2, over the mask
    absolute_brain: jax.Array  # s
    signed_brain: jax.Array  # s, predicted - true
    count_brain: jax.Array


def voxel_sums(prediction_s: jax.Array, tmax_s: jax.Array, mask: jax.Array) -> VoxelSums:
    """Sums up the errors of each case.

    Args:
      prediction_s: float32 `[case, z, y, x]`, predicted Tmax in seconds.
      tmax_s: float32 `[case, z, y, x]`, true Tmax in seconds.
      mask: bool `[case, z, y, x]`, True in the brain.

    Returns:
      One `[case]` array for each sum.

    Example:
      >>> import jax.numpy as jnp
      >>> sums = voxel_sums(jnp.full((1, 1, 1, 2), 3.0), jnp.ones((1, 1, 1, 2)), jnp.array([[[[True, False]]]]))
      >>> float(sums.squared_all[0]), float(sums.squared_brain[0])
      (8.0, 4.0)
    """
    axes = (1, 2, 3)
    error = prediction_s - tmax_s
    inside = jnp.where(mask, error, 0)
    return VoxelSums(
        squared_all=jnp.sum(jnp.square(error), axes),
        count_all=jnp.full(error.shape[:1], error[0].size, jnp.float32),
        squared_brain=jnp.sum(jnp.square(inside), axes),
        absolute_brain=jnp.sum(jnp.abs(inside), axes),
        signed_brain=jnp.sum(inside, axes),
        count_brain=jnp.sum(mask, axes, dtype=jnp.float32),
    )


def voxel_values(sums: VoxelSums) -> dict[str, np.ndarray]:
    """Divides the sums: the names and units of every table.

    Args:
      sums: on the host; of one case, of each case, or added up over cases.

    Returns:
      `mse_all_s2`, `mse_brain_s2`, `mae_brain_s`, `bias_brain_s` (positive: predicted too high).
    """
    brain = np.maximum(sums.count_brain, 1)
    values = {
        "mse_all_s2": sums.squared_all / sums.count_all,
        "mse_brain_s2": sums.squared_brain / brain,
        "mae_brain_s": sums.absolute_brain / brain,
        "bias_brain_s": sums.signed_brain / brain,
    }
    return {name: np.asarray(value) for name, value in values.items()}
