"""Tmax thresholds that have a gradient: how far each voxel lies above one, and overlaps of such soft masks."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.losses._reduce import Array, masked_sum, wide


class Counts(NamedTuple):
    """Soft numbers of voxels, `[case]` each."""

    both: jax.Array  # true positives
    over: jax.Array  # false positives
    under: jax.Array  # false negatives


def exceedance(values: jax.Array, *, threshold_s: float, temperature_s: float) -> jax.Array:
    """Returns how far values lie above a threshold, from 0 to 1: `1 / (1 + exp((threshold - value) / temperature))`."""
    return jax.nn.sigmoid((wide(values) - threshold_s) / temperature_s)


def bands(values: jax.Array, *, thresholds_s: Sequence[float], temperature_s: float) -> list[jax.Array]:
    """Returns the membership in each band between thresholds, from the lowest up; they sum to 1 in every voxel."""
    steps = [exceedance(values, threshold_s=at, temperature_s=temperature_s) for at in sorted(thresholds_s)]
    edges = [jnp.ones_like(steps[0]), *steps, jnp.zeros_like(steps[0])]
    return [lower - upper for lower, upper in itertools.pairwise(edges)]


def soft_counts(predicted: jax.Array, true: jax.Array, where: Array | None) -> Counts:
    """Counts the agreement of two soft masks with min(p, t) as what both have.

    Equal soft masks then agree wholly, so that a map has no reason to go beyond its target. The usual product p t
    calls 0.5 and 0.5 a disagreement. For masks of 0 and 1 the two are the same.
    """
    return Counts(
        both=masked_sum(jnp.minimum(predicted, true), where),
        over=masked_sum(jnp.maximum(predicted - true, 0), where),
        under=masked_sum(jnp.maximum(true - predicted, 0), where),
    )
