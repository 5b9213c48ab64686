"""The rows that every table starts from: what a map scores for which nobody trained anything."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.cohort.batches import Cohort
from tmax_jax.metrics import TmaxSums
from tmax_jax.perfusion.signal import time_to_peak_s
from tmax_jax.training.sharding import Shardings
from tmax_jax.training.step import Batch, Predictor, Task, strip_and_score


def predictors(cohort: Cohort, training: np.ndarray, task: Task, shardings: Shardings) -> dict[str, Predictor]:
    """Returns the trivial methods by name: `predict zero`, `predict training mean` and `time to peak`.

    Args:
      cohort: in memory.
      training: int64 `[case]`, the cases whose mean may be known.
      task: which voxels count, and whether a map is 0 outside the brain.
      shardings: of a batch.

    Returns:
      Functions of a batch, as `make_predict_step` builds them. Time to peak is the time of the bolus' peak after
      the arrival in the brain's mean curve: it needs no arterial input function, and no training.
    """
    constant, time_to_peak = (_compiled(method, task, shardings) for method in (_constant, _time_to_peak))
    values_s = {"predict zero": 0.0, "predict training mean": training_mean_s(cohort, training, task)}
    predictors: dict[str, Predictor] = {
        name: functools.partial(constant, np.float32(value_s)) for name, value_s in values_s.items()
    }
    return predictors | {"time to peak": functools.partial(time_to_peak, np.float32(0))}


@functools.lru_cache(maxsize=8)  # all folds, and the variants of a sweep, share what is compiled
def _compiled(
    method: Callable[[jax.Array, Batch], jax.Array], task: Task, shardings: Shardings
) -> Callable[[Any, Batch], tuple[jax.Array, TmaxSums]]:
    def predict(value_s: jax.Array, batch: Batch) -> tuple[jax.Array, TmaxSums]:
        return strip_and_score(method(value_s, batch), batch, task)

    return jax.jit(predict, out_shardings=(shardings.per_row, shardings.replicated))


def _constant(value_s: jax.Array, batch: Batch) -> jax.Array:
    return jnp.full_like(batch["tmax_s"], value_s)


def training_mean_s(cohort: Cohort, training: np.ndarray, task: Task) -> float:
    """Returns the mean Tmax in seconds of the training cases, over the voxels that count for the loss."""
    total = count = 0.0
    for index in training:
        where = cohort.mask[index] if task.loss_over == "brain" else np.ones_like(cohort.mask[index])
        total += float(np.sum(cohort.tmax_s[index], where=where, dtype=np.float64))
        count += float(np.sum(where))
    return total / max(count, 1)


def _time_to_peak(_: jax.Array, batch: Batch) -> jax.Array:
    signal = batch["perfusion"].astype(jnp.float32)
    return jax.vmap(lambda case, mask, interval_s: time_to_peak_s(case, mask, frame_interval_s=interval_s))(
        signal, batch["mask"], batch["frame_interval_s"]
    )
