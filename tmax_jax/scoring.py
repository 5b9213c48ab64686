"""Maps of patients and their scores: what every table is made of."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from tmax_jax.classical import tmax_estimates, true_delays_s
from tmax_jax.cohort.batches import Cohort, batched
from tmax_jax.input import device_batches
from tmax_jax.metrics import METRICS, TmaxSums, defined, map_values, sum_values
from tmax_jax.results.records import TRUE_DELAY, CaseRow, write_cases
from tmax_jax.training import processes
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


def predict_all(
    predictors: Mapping[str, Predictor], cohort: Cohort, indices: np.ndarray, shardings: Shardings
) -> dict[str, list[np.ndarray | None]]:
    """Predicts the maps of cases by several methods; arguments and result, by the method's name, as `predict_maps`."""
    return {name: predict_maps(predictor, cohort, indices, shardings) for name, predictor in predictors.items()}


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


def score(predictor: Predictor, cohort: Cohort, indices: np.ndarray, shardings: Shardings) -> list[dict[str, float]]:
    """Predicts cases and scores each of them once, padding left out.

    Args:
      predictor: of a batch.
      cohort: in memory.
      indices: int64 `[case]`.
      shardings: of a batch.

    Returns:
      The metrics of each case, in the order of `indices`, without those that need the maps on the host, such as
      distances of surfaces: too slow for every epoch. `score_maps` has them all.
    """
    rows = []
    places = batched(indices, shardings.batch_size)
    for row, batch in zip(places, device_batches(cohort, places, shardings), strict=True):
        values = sum_values(predictor(batch)[1])
        rows += [{name: float(value[place]) for name, value in values.items()} for place in np.flatnonzero(row >= 0)]
    return rows


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns each metric's mean over the patients for whom it is defined; one that is so for nobody is left out."""
    by_metric = {metric: defined(metric, [row[metric] for row in rows]) for metric in rows[0]}
    return {metric: float(np.mean(values)) for metric, values in by_metric.items() if values}


def write_scores(
    folder: Path,
    number: int,
    maps_s: Mapping[str, Sequence[np.ndarray | None]],
    cohort: Cohort,
    indices: np.ndarray,
    store: str,
    task: Task,
    console: Console,
) -> None:
    """Scores maps, those of classical deconvolution beside them, and writes what marks a part as done.

    Args:
      folder: of the part.
      number: of its fold.
      maps_s: Tmax in seconds, `[z, y, x]` a case, by the method's name.
      cohort: in memory.
      indices: int64 `[case]`, the places of these cases.
      store: of the cohort.
      task: says whether maps are stripped.
      console: for messages.
    """
    case_ids = [cohort.case_ids[index] for index in indices]
    maps_s = {**maps_s, **tmax_estimates(store, case_ids, console)}

    delays_s = true_delays_s(store, case_ids)
    if delays_s is not None:
        write_cases(folder / TRUE_DELAY, case_rows(number, maps_s, cohort, indices, task, truth_s=delays_s))
    # Last: its presence says that the part is done.
    write_cases(folder / "cases.csv", case_rows(number, maps_s, cohort, indices, task))


def case_rows(
    number: int,
    maps_s: Mapping[str, Sequence[np.ndarray | None]],
    cohort: Cohort,
    indices: np.ndarray,
    task: Task,
    *,
    truth_s: Sequence[np.ndarray] | None = None,
) -> list[CaseRow]:
    """Scores maps, a row a method and patient; arguments as of `write_scores` and `score_maps`."""
    scores = {name: score_maps(maps, cohort, indices, task, truth_s=truth_s) for name, maps in maps_s.items()}
    return [
        CaseRow(name, number, cohort.case_ids[index], values)
        for name, of_method in scores.items()
        for index, values in zip(indices, of_method, strict=True)
    ]


def write_example(path: Path, cohort: Cohort, index: int, prediction_s: np.ndarray | None) -> None:
    """Writes a patient's predicted and true map, for the figures.

    Args:
      path: of an .npz file.
      cohort: in memory.
      index: place of the patient.
      prediction_s: Tmax in seconds, `[z, y, x]`, of `predict_maps`.
    """
    if not processes.is_writer():
        return
    np.savez_compressed(
        path,
        prediction_s=np.asarray(prediction_s),
        tmax_s=cohort.tmax_s[index],
        mask=cohort.mask[index],
        spacing_mm=cohort.spacing_mm[index],
    )
