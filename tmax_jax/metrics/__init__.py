"""How good a Tmax map is, counted as sums that merge over batches, devices and hosts and are divided once."""

from tmax_jax.metrics.cohort import VolumeAgreement, volume_agreement
from tmax_jax.metrics.lesion import Mismatch, mismatch
from tmax_jax.metrics.registry import METRICS, Metric, defined, map_values, sum_values
from tmax_jax.metrics.sums import THRESHOLDS_S, Moments, TmaxSums, pool, tmax_sums

__all__ = [
    "METRICS",
    "THRESHOLDS_S",
    "Metric",
    "Mismatch",
    "Moments",
    "TmaxSums",
    "VolumeAgreement",
    "defined",
    "map_values",
    "mismatch",
    "pool",
    "sum_values",
    "tmax_sums",
    "volume_agreement",
]
