"""The rows that every table starts from: what a map scores for which nobody trained anything."""

from collections.abc import Callable

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
    mean_s = training_mean_s(cohort, training, task)
    methods: dict[str, Callable[[Batch], jax.Array]] = {
        "predict zero": lambda batch: jnp.zeros_like(batch["tmax_s"]),
        "predict training mean": lambda batch: jnp.full_like(batch["tmax_s"], mean_s),
        "time to peak": _time_to_peak,
    }

    def predictor(method: Callable[[Batch], jax.Array]) -> Predictor:
        def predict(batch: Batch) -> tuple[jax.Array, TmaxSums]:
            return strip_and_score(method(batch), batch, task)

        return jax.jit(predict, out_shardings=(shardings.per_row, shardings.replicated))

    return {name: predictor(method) for name, method in methods.items()}


def training_mean_s(cohort: Cohort, training: np.ndarray, task: Task) -> float:
    """Returns the mean Tmax in seconds of the training cases, over the voxels that count for the loss."""
    total = count = 0.0
    for index in training:
        where = cohort.mask[index] if task.loss_over == "brain" else np.ones_like(cohort.mask[index])
        total += float(np.sum(cohort.tmax_s[index], where=where, dtype=np.float64))
        count += float(np.sum(where))
    return total / max(count, 1)


def _time_to_peak(batch: Batch) -> jax.Array:
    signal = batch["perfusion"].astype(jnp.float32)
    return jax.vmap(lambda case, mask, interval_s: time_to_peak_s(case, mask, frame_interval_s=interval_s))(
        signal, batch["mask"], batch["frame_interval_s"]
    )
