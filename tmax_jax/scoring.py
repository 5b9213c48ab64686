"""Maps of patients and their scores: what every table is made of."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.cohort.batches import Cohort, batched
from tmax_jax.input import device_batches
from tmax_jax.metrics import METRICS, TmaxSums, map_values, sum_values
from tmax_jax.training.sharding import Shardings, fetch
from tmax_jax.training.step import Predictor, Task, strip_and_score


def predict_maps(
    predictor: Predictor, cohort: Cohort, indices: np.ndarray, shardings: Shardings
) -> list[np.ndarray | None]:
    """Predicts the maps of cases.

    Args:
      predictor: of a batch.
      cohort: in memory.
      indices: int64 `[case]`.
      shardings: of a batch.

    Returns:
      Tmax in seconds, float32 `[z, y, x]` a case, in the order of `indices`.
    """
    maps_s: list[np.ndarray | None] = []
    rows = batched(indices, shardings.batch_size)
    for row, batch in zip(rows, device_batches(cohort, rows, shardings), strict=True):
        predicted_s = fetch(predictor(batch)[0])
        maps_s += [predicted_s[place] for place in np.flatnonzero(row >= 0)]
    return maps_s


def score_maps(
    maps_s: Sequence[np.ndarray | None],
    cohort: Cohort,
    indices: np.ndarray,
    task: Task,
    *,
    truth_s: Sequence[np.ndarray] | None = None,
) -> list[dict[str, float]]:
    """Scores one map a case.

    Args:
      maps_s: Tmax in seconds, `[z, y, x]` a case; None where a method could make no map.
      cohort: in memory.
      indices: int64 `[case]`, the places of these cases.
      task: says whether maps are stripped of what lies outside the mask.
      truth_s: what they are compared with; the cohort's targets by default.

    Returns:
      All metrics of each case; all NaN where there is no map.
    """
    rows = []
    for place, map_s in enumerate(maps_s):
        if map_s is None:
            rows.append(dict.fromkeys(METRICS, np.nan))
            continue
        case = indices[place]
        tmax_s, mask = cohort.tmax_s[case] if truth_s is None else truth_s[place], cohort.mask[case]
        spacing_mm = cohort.spacing_mm[case]
        stripped_s, sums = _scored(*(values[None] for values in (map_s, tmax_s, mask, spacing_mm)), task)
        values = {name: float(value[0]) for name, value in sum_values(sums).items()}
        rows.append(values | map_values(np.asarray(stripped_s)[0], tmax_s, mask, spacing_mm.tolist()))
    return rows


@functools.partial(jax.jit, static_argnames="task")
def _scored(
    map_s: jax.Array, tmax_s: jax.Array, mask: jax.Array, spacing_mm: jax.Array, task: Task
) -> tuple[jax.Array, TmaxSums]:
    batch = {"tmax_s": tmax_s, "mask": mask, "spacing_mm": spacing_mm, "valid": jnp.ones(1, bool)}
    return strip_and_score(map_s, batch, task)
