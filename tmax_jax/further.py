"""The maps beside Tmax: predicted, scored by error, bias and agreement, and written beside the other records."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tmax_jax.cohort.batches import Cohort, batched
from tmax_jax.input import device_batches
from tmax_jax.parts import ExperimentError, Parts
from tmax_jax.results.further import MapRow, write_map_rows
from tmax_jax.scoring import score_maps
from tmax_jax.training import processes
from tmax_jax.training.further import make_further_step
from tmax_jax.training.sharding import fetch
from tmax_jax.training.state import TrainState

MEAN = "predict training mean"


def require_maps(parts: Parts, cohort: Cohort) -> None:
    """Refuses to learn maps that the cohort has not.

    Raises:
      ExperimentError: with the maps that all its patients have.
    """
    lacking = [target.name for target in parts.task.further if target.name not in cohort.maps]
    if lacking:
        raise ExperimentError(
            f"config.target.further names {', '.join(lacking)}, and not all patients of the store have such a map; all"
            f" have: {', '.join(['tmax', *cohort.maps])}. Convert them with these map series beside them."
        )


def write_further(
    folder: Path,
    name: str,
    number: int,
    state: TrainState,
    parts: Parts,
    cohort: Cohort,
    training: np.ndarray,
    scored: np.ndarray,
) -> None:
    """Predicts and scores the maps beside Tmax; does nothing where there are none.

    Writes `maps.csv`, a row a method, patient and map, and the first patient's maps to `maps.npz`, for a figure.

    Args:
      folder: of the fold or the final fit.
      name: of the network.
      number: of the fold.
      state: after training.
      parts: of the config.
      cohort: in memory.
      training: int64 `[case]`, the places of those learnt from; their mean is a row too.
      scored: int64 `[case]`, the places of those to predict.
    """
    if not parts.task.further:
        return
    step = make_further_step(parts.model, parts.task, parts.shardings)
    predicted = _predict(functools.partial(step, state), cohort, scored, parts)
    if not processes.is_writer():
        return
    rows = []
    for target in parts.task.further:
        true, unit = cohort.maps[target.name], cohort.map_units[target.name]
        mean = float(np.mean([true[case][cohort.mask[case]].mean() for case in training]))
        constant = [np.full_like(true[case], mean) for case in scored]
        for method, maps in ((name, predicted[target.name]), (MEAN, constant)):
            scores = score_maps(maps, cohort, scored, parts.task, truth_s=[true[case] for case in scored])
            for case, values in zip(scored, scores, strict=True):
                found = (values["mae_brain_s"], values["bias_brain_s"], values["ccc_brain"])  # in the map's unit
                rows.append(MapRow(method, number, cohort.case_ids[case], target.name, unit, *found))
    first = int(scored[0])
    arrays: dict[str, Any] = {f"predicted_{key}": values[0] for key, values in predicted.items()}
    arrays |= {f"true_{key}": cohort.maps[key][first] for key in predicted}
    np.savez_compressed(folder / "maps.npz", mask=cohort.mask[first], spacing_mm=cohort.spacing_mm[first], **arrays)
    write_map_rows(folder / "maps.csv", rows)


def _predict(
    predict: Callable[[Any], dict[str, Any]], cohort: Cohort, indices: np.ndarray, parts: Parts
) -> dict[str, list[np.ndarray]]:
    """Returns each map of each case, `[z, y, x]` in its unit."""
    maps: dict[str, list[np.ndarray]] = {target.name: [] for target in parts.task.further}
    rows = batched(indices, parts.shardings.batch_size)
    for row, batch in zip(rows, device_batches(cohort, rows, parts.shardings), strict=True):
        for name, values in predict(batch).items():
            on_host = fetch(values)
            maps[name] += [on_host[place] for place in np.flatnonzero(row >= 0)]
    return maps
