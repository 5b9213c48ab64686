"""What is summed over the voxels of each case, on the device; `+` merges, and values are derived once, at the end."""

import dataclasses
import functools
import operator
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.losses import ssim_map

THRESHOLDS_S = (4.0, 6.0, 8.0, 10.0)  # of Tmax, as clinical programs read it
HYPOPERFUSED_S = 6.0  # the threshold of critical hypoperfusion
HEALTHY_S = 4.0  # tissue up to here is healthy beyond doubt
RANGE_S = 20.0  # span of Tmax, for SSIM and PSNR: one for all cases, so that scores compare

Array = jax.Array | np.ndarray
Values = Any  # arrays of JAX on the device, of NumPy on the host


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, means and centred second moments of prediction and truth, `[case]` each.

    Sums of squares would lose their digits when the spread is small beside the mean. Moments about the mean do not,
    and merge exactly.

    Reference:
      Chan, Golub and LeVeque 1983, The American Statistician 37:242.
    """

    count: Values
    mean_predicted: Values
    mean_true: Values
    squares_predicted: Values  # sum of (p - mean p)^2
    squares_true: Values  # sum of (t - mean t)^2
    products: Values  # sum of (p - mean p) (t - mean t)

    def __add__(self, other: Self) -> "Moments":
        """Returns the moments of both parts together."""
        count = self.count + other.count
        share = other.count / (count + (count == 0))
        between = self.count * share
        step_p = other.mean_predicted - self.mean_predicted
        step_t = other.mean_true - self.mean_true
        return Moments(
            count,
            self.mean_predicted + share * step_p,
            self.mean_true + share * step_t,
            self.squares_predicted + other.squares_predicted + between * step_p * step_p,
            self.squares_true + other.squares_true + between * step_t * step_t,
            self.products + other.products + between * step_p * step_t,
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TmaxSums:
    """Sums over the voxels of each case: `[case]`, or `[case, threshold]` in the order of `THRESHOLDS_S`.

    A case that does not count, such as the padding of a batch, has 0 everywhere and changes no sum.
    """

    count_all: Values  # all voxels, background included
    squared_all: Values  # s^2
    squared_brain: Values  # s^2, over the mask, as all that follows
    over_brain: Values  # s, errors of voxels predicted too high
    under_brain: Values  # s, errors of voxels predicted too low, positive
    brain: Moments
    similarity: Values  # SSIM
    healthy: Values  # voxels with a true Tmax up to HEALTHY_S
    whiteout: Values  # those of them predicted above HYPOPERFUSED_S
    true_ml: Values  # [case, threshold], volume above each threshold
    predicted_ml: Values  # [case, threshold]
    both_ml: Values  # [case, threshold]

    def __add__(self, other: Self) -> "TmaxSums":
        """Returns the sums of both parts together: two parts of the same cases, or two cohorts already pooled."""
        mine, its = ([getattr(part, field.name) for field in dataclasses.fields(TmaxSums)] for part in (self, other))
        return TmaxSums(*(a + b for a, b in zip(mine, its, strict=True)))


def tmax_sums(
    prediction_s: Array,
    tmax_s: Array,
    mask: Array,
    *,
    spacing_mm: Array,
    valid: Array | None = None,
) -> TmaxSums:
    """Sums up what all metrics of each case need, in one go.

    Args:
      prediction_s: float32 `[case, z, y, x]`, predicted Tmax in seconds.
      tmax_s: float32 `[case, z, y, x]`, true Tmax in seconds.
      mask: bool `[case, z, y, x]`, True in the brain. Only `mse_all_s2` looks outside.
      spacing_mm: `[case, 3]`, of the voxels along z, y and x.
      valid: bool `[case]`, False for padding; all cases count by default.

    Returns:
      The sums of each case.

    Example:
      >>> maps = jnp.full((1, 1, 1, 2), 7.0), jnp.array([[[[7.0, 1.0]]]])
      >>> sums = tmax_sums(*maps, jnp.ones((1, 1, 1, 2), bool), spacing_mm=jnp.full((1, 3), 10.0))
      >>> sums.over_brain, sums.predicted_ml[:, 1]
      (Array([6.], dtype=float32), Array([2.], dtype=float32))
    """
    prediction_s, tmax_s, mask, spacing_mm = map(jnp.asarray, (prediction_s, tmax_s, mask, spacing_mm))
    valid = jnp.ones(len(mask), bool) if valid is None else jnp.asarray(valid)
    voxels = valid[:, None, None, None]
    mask = mask & voxels
    error_all = jnp.where(voxels, prediction_s - tmax_s, 0)
    predicted, true = jnp.where(mask, prediction_s, 0), jnp.where(mask, tmax_s, 0)
    error = predicted - true
    voxel_ml = jnp.prod(spacing_mm, axis=1) / 1000

    def volumes(above: list[jax.Array]) -> jax.Array:
        return jnp.stack([_count(where) * voxel_ml for where in above], axis=-1)

    predicted_above = [mask & (prediction_s > at) for at in THRESHOLDS_S]
    true_above = [mask & (tmax_s > at) for at in THRESHOLDS_S]
    healthy = mask & (tmax_s <= HEALTHY_S)
    return TmaxSums(
        count_all=jnp.where(valid, jnp.float32(error[0].size), 0),
        squared_all=_sum(jnp.square(error_all)),
        squared_brain=_sum(jnp.square(error)),
        over_brain=_sum(jnp.maximum(error, 0)),
        under_brain=_sum(jnp.maximum(-error, 0)),
        brain=_moments(predicted, true, mask),
        similarity=_sum(ssim_map(prediction_s, tmax_s, data_range=RANGE_S, where=mask)),
        healthy=_count(healthy),
        whiteout=_count(healthy & (prediction_s > HYPOPERFUSED_S)),
        true_ml=volumes(true_above),
        predicted_ml=volumes(predicted_above),
        both_ml=volumes([p & t for p, t in zip(predicted_above, true_above, strict=True)]),
    )


def pool(sums: TmaxSums) -> TmaxSums:
    """Merges the cases into one: the sums of the cohort's voxels, in float64 on the host.

    Args:
      sums: of each case.

    Returns:
      Sums without the axis of cases, for the values of the cohort as one volume.

    Example:
      >>> maps = jnp.full((2, 1, 1, 1), 3.0), jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
      >>> sums = tmax_sums(*maps, jnp.ones((2, 1, 1, 1), bool), spacing_mm=jnp.ones((2, 3)))
      >>> float(pool(sums).squared_brain)
      4.0
    """
    host = on_host(sums)
    cases = (jax.tree.map(operator.itemgetter(case), host) for case in range(len(host.count_all)))
    return functools.reduce(operator.add, cases)


def on_host(sums: TmaxSums) -> TmaxSums:
    """Returns the sums as float64 arrays of NumPy."""
    return jax.tree.map(lambda value: np.asarray(value, np.float64), jax.device_get(sums))


def _sum(values: jax.Array) -> jax.Array:
    return jnp.sum(values, axis=(1, 2, 3))


def _count(where: jax.Array) -> jax.Array:
    return jnp.sum(where, axis=(1, 2, 3), dtype=jnp.float32)


def _moments(predicted: jax.Array, true: jax.Array, mask: jax.Array) -> Moments:
    """Means first, then what is left about them; the maps are 0 outside the mask."""
    count = _count(mask)
    mean_p, mean_t = (_sum(values) / jnp.maximum(count, 1) for values in (predicted, true))
    rest_p, rest_t = (
        jnp.where(mask, values - mean[:, None, None, None], 0) for values, mean in ((predicted, mean_p), (true, mean_t))
    )
    squares = _sum(jnp.square(rest_p)), _sum(jnp.square(rest_t))
    return Moments(count, mean_p, mean_t, *squares, _sum(rest_p * rest_t))
