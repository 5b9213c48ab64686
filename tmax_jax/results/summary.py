"""From one row a patient to means and spreads: every figure is recomputed from `cases.csv`, none is carried along."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tmax_jax.files import csv_text
from tmax_jax.metrics import METRICS, defined, volume_agreement
from tmax_jax.results.records import CaseRow, RecordError, Run, read_run


class Spread(NamedTuple):
    """A metric over the patients for which it is defined. A spread over a single fold or patient is NaN."""

    mean_over_folds: float  # of the fold means, as the paper averages
    sd_over_folds: float
    mean_over_patients: float
    sd_over_patients: float
    patients: int  # for which the metric is defined


@dataclasses.dataclass(frozen=True)
class Summary:
    """One row of a table: a method over all its folds."""

    method: str
    folds: int
    patients: int
    values: Mapping[str, Spread]  # by the names of `METRICS`
    volumes: Mapping[str, float]  # agreement of the volumes above 6 s, see `volume_agreement`
    without_map: int = 0  # patients of whom the method could make no map; they are in no mean
    cohort: str = ""  # a letter where a table has more than one cohort


class Comparison(NamedTuple):
    """Several runs as one table."""

    summaries: list[Summary]
    data: str
    notes: list[str]  # sentences for the caption


def summarise(rows: Sequence[CaseRow]) -> list[Summary]:
    """Summarises each method over its folds and over its patients.

    Args:
      rows: one a method and patient.

    Returns:
      One summary a method, in the order in which the methods first appear: the model, then the trivial rows.

    Example:
      >>> scores = [dict.fromkeys(METRICS, 1.0) | {"mse_all_s2": mse} for mse in (4.0, 5.0)]
      >>> [summary] = summarise([CaseRow("unet", fold, f"case-{fold}", scores[fold]) for fold in (0, 1)])
      >>> summary.values["mse_all_s2"].mean_over_folds, summary.patients
      (4.5, 2)
    """
    by_method: dict[str, list[CaseRow]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row)
    mapped = {method: [row for row in cases if _has_map(row)] for method, cases in by_method.items()}
    return [
        Summary(
            method,
            folds=len({row.fold for row in cases}),
            patients=len(cases),
            values={name: _spread(mapped[method], name) for name in METRICS},
            volumes=_volumes(mapped[method]),
            without_map=len(cases) - len(mapped[method]),
        )
        for method, cases in by_method.items()
    ]


def _has_map(row: CaseRow) -> bool:
    """Whether the method made a map of the patient; a map that holds NaN has a true volume all the same."""
    return not all(map(math.isnan, row.scores.values()))


def _spread(cases: Sequence[CaseRow], name: str) -> Spread:
    by_fold: dict[int, list[float]] = {}
    for row in cases:
        by_fold.setdefault(row.fold, []).extend(defined(name, [row.scores[name]]))
    fold_means = [statistics.fmean(values) for values in by_fold.values() if values]
    patients = [value for values in by_fold.values() for value in values]
    return Spread(*_mean_and_sd(fold_means), *_mean_and_sd(patients), len(patients))


def _volumes(cases: Sequence[CaseRow]) -> dict[str, float]:
    predicted, true = (
        np.array([row.scores[f"volume_{which}_6s_ml"] for row in cases]) for which in ("predicted", "true")
    )
    return volume_agreement(predicted, true)._asdict()


def _mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    if not values or not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def results_csv(summaries: Sequence[Summary]) -> str:
    """Formats summaries as CSV, one line a method; an empty field is not defined, as the spread of a single patient.

    Args:
      summaries: of `summarise` or `summarise_runs`.

    Returns:
      The text, with columns such as `mse_all_s2_mean_over_folds`.
    """
    names = [f"{metric}_{part}" for metric in METRICS for part in Spread._fields]
    rows = []
    for row in summaries:
        values = [_finite(value) for metric in METRICS for value in row.values[metric]]
        rows.append([row.method, row.cohort, row.folds, row.patients, row.without_map, *values])
    return csv_text(["method", "cohort", "folds", "patients", "without_map", *names], rows)


def summary_json(
    summaries: Sequence[Summary],
    holdout: Sequence[CaseRow],
    *,
    data: str,
    true_delay: Sequence[Summary] = (),
) -> dict[str, Any]:
    """Gathers a run's figures for other programs.

    Args:
      summaries: of `summarise`, the model first.
      holdout: one row a method, all of the holdout patient.
      data: "phantom", "real" or "mixed".
      true_delay: the same methods against the true delay, where it is known.

    Returns:
      A value that strict JSON can hold: what is not finite is null.
    """
    return {
        "data": data,
        "model": summaries[0].method,
        "folds": summaries[0].folds,
        "patients": summaries[0].patients,
        "methods": _by_method(summaries),
        "methods_true_delay": _by_method(true_delay),
        "without_map": {row.method: row.without_map for row in summaries},
        "volumes_6s": {row.method: {part: _finite(value) for part, value in row.volumes.items()} for row in summaries},
        "holdout": {
            "case": holdout[0].case,
            "methods": {row.method: {name: _finite(row.scores[name]) for name in METRICS} for row in holdout},
        },
    }


def _by_method(summaries: Sequence[Summary]) -> dict[str, Any]:
    return {
        row.method: {
            metric: {part: _finite(value) for part, value in row.values[metric]._asdict().items()} for metric in METRICS
        }
        for row in summaries
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def summarise_runs(folders: Sequence[Path], *, true_delay: bool = False) -> Comparison:
    """Puts several runs into one table: a row for each run's model, then the trivial rows once a cohort.

    Two runs share a cohort when their folds, their kind of data and their trivial rows are the same.

    Args:
      folders: of finished runs.
      true_delay: score against the true delay, which simulated patients alone have.

    Returns:
      The rows, those of a cohort together; none with `true_delay` where a run does not know it.

    Raises:
      RecordError: what every folder that cannot be read lacks.
    """
    runs, errors = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except RecordError as error:
            errors.append(str(error))
    if errors:
        raise RecordError("\n".join(errors))
    if true_delay and not all(run.cases_true_delay for run in runs):
        return Comparison([], runs[0].data, [])
    cohorts: list[tuple[Run, list[Summary], list[Summary]]] = []  # first run, models, trivial rows
    names = [run.folder.name for run in runs]
    for run in runs:
        model, *trivial = summarise(run.cases_true_delay if true_delay else run.cases)
        label = run.folder.name if names.count(run.folder.name) == 1 else str(run.folder)
        model = dataclasses.replace(model, method=label if label == model.method else f"{label} ({model.method})")
        for first, models, known in cohorts:
            if (run.folds_sha256, run.data) == (first.folds_sha256, first.data) and _same(trivial, known):
                models.append(model)
                break
        else:
            cohorts.append((run, [model], trivial))
    data = runs[0].data if len({run.data for run in runs}) == 1 else "mixed"
    if len(cohorts) == 1:
        [(_, models, trivial)] = cohorts
        return Comparison(models + trivial, data, [])
    summaries, described = [], []
    for index, (first, models, trivial) in enumerate(cohorts):
        letter = chr(ord("A") + index)
        summaries += [dataclasses.replace(row, cohort=letter) for row in models + trivial]
        described.append(f"{letter} ({first.data} data, folds {first.folds_sha256[:8]})")
    note = f"The runs have different cohorts or folds, so compare within a cohort only: {', '.join(described)}."
    return Comparison(summaries, data, [note])


def _same(some: Sequence[Summary], others: Sequence[Summary]) -> bool:
    """Whether trivial rows agree; a thousandth is left for the order in which devices add up."""
    if [row.method for row in some] != [row.method for row in others]:
        return False
    return all(
        math.isclose(value, other, rel_tol=1e-3, abs_tol=1e-6) or (math.isnan(value) and math.isnan(other))
        for row, its in zip(some, others, strict=True)
        for metric in METRICS
        for value, other in zip(row.values[metric][:3:2], its.values[metric][:3:2], strict=True)  # the means
    )
