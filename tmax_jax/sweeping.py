"""A sweep: variants of an experiment on the same folds, one cell after the other.

A cell is one fold of one variant, or its final fit. Each variant has an ordinary run folder, `<sweep>/<variant>/`, so
that everything that reads a run reads a variant.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from tmax_jax.cohort.batches import Cohort, read_cohort, trainable_cases
from tmax_jax.cohort.folds import Folds
from tmax_jax.cohort.store import CohortError, list_cases
from tmax_jax.defaults import Config
from tmax_jax.experiment import claim_workdir, draw_folds
from tmax_jax.fold import FINAL, part_folder, run_part
from tmax_jax.group import Fit, make_groups, run_group
from tmax_jax.models import ModelError
from tmax_jax.models.describe import measure
from tmax_jax.parts import ExperimentError, Parts, build
from tmax_jax.results.environment import describe_environment
from tmax_jax.results.records import read_failures, read_json, write_json
from tmax_jax.training.loop import TrainingError
from tmax_jax.training.sharding import make_shardings, splittable_rows
from tmax_jax.training.step import input_shape

_SHARED = ("seed", "folds", "data.store", "data.holdout")  # entries that make folds: variants differ in others only
_REASONS = (TrainingError, CohortError, ExperimentError, ModelError)  # of a variant, which stop no other
_QUIET = Console(quiet=True)


class Cell(NamedTuple):
    """One piece of work."""

    variant: str
    part: str  # number of a fold, or "final"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Everything that the cells share."""

    folder: Path
    configs: Mapping[str, Config]  # by variant
    parts: Mapping[str, Parts]  # by variant
    cohort: Cohort
    folds: Folds

    def cell_folder(self, cell: Cell) -> Path:
        """Returns where a cell's records lie."""
        return part_folder(self.folder / cell.variant, cell.part)

    def is_done(self, cell: Cell) -> bool:
        """Returns whether a cell has its scores, or its variant failed: without one fold the others say nothing."""
        return (self.cell_folder(cell) / "cases.csv").exists() or bool(read_failures(self.folder / cell.variant))


def run_sweep(
    configs: Mapping[str, Config],
    folder: Path,
    *,
    question: str,
    printed: Mapping[str, float] | None = None,
    shard: tuple[int, int] = (0, 1),
    console: Console,
) -> bool:
    """Runs all cells of a sweep that are not done, or this shard's share of them.

    Args:
      configs: one a variant, by name; the first is what the others are compared with.
      folder: of the sweep.
      question: what the sweep is about, for its page.
      printed: the MSE over all voxels in stored units that a publication printed, by variant, to stand beside.
      shard: which of how many, counted from 0. A variant's folds come before any final fit.
      console: for progress.

    Returns:
      Whether no cell of any shard is left.

    Raises:
      ExperimentError: variants that cannot be compared or built, or another config than the folder was started with.
      CohortError, FoldError: the store or its folds do not fit.
    """
    check_paired(configs)
    sweep = open_sweep(configs, folder)
    _write_plan(sweep, question, printed or {})
    folds = [Cell(variant, str(number)) for variant in configs for number in range(len(sweep.folds.validation))]
    finals = [Cell(variant, FINAL) for variant in configs]
    index, of = shard
    for cells in (folds, finals):
        run_cells(sweep, [cell for cell in cells[index::of] if not sweep.is_done(cell)], console)
        if not all(map(sweep.is_done, cells)):
            return False  # other shards are at work
    return True


def open_sweep(configs: Mapping[str, Config], folder: Path) -> Sweep:
    """Builds all variants, draws the folds once for all, and reads the cohort.

    Raises:
      ExperimentError: what cannot be built, with the names of the variants; or a folder of another config.
      CohortError, FoldError: the store or its folds do not fit.
    """
    first = next(iter(configs.values()))
    parts = _build(configs)
    cases = trainable_cases(first.data.store, list_cases(first.data.store))
    folder.mkdir(parents=True, exist_ok=True)
    folds = draw_folds(first, folder / "folds.json", cases)
    for variant, config in configs.items():
        claim_workdir(config, folder / variant)
        if draw_folds(config, folder / variant / "folds.json", cases) != folds:
            raise ExperimentError(
                f"{folder / variant} has other folds than {folder / 'folds.json'}, so its scores cannot be paired with"
                " the other variants'; delete it, or start the sweep in another --workdir"
            )
    cohort = read_cohort(first.data.store, cases)
    for variant in configs:
        if not (folder / variant / "results.csv").exists():  # a finished one keeps what it was made with
            write_json(folder / variant / "environment.json", describe_environment(cohort.data))
    return Sweep(folder, configs, parts, cohort, folds)


def run_cells(sweep: Sweep, cells: Sequence[Cell], console: Console) -> None:
    """Runs cells, together where they can be, else one after the other.

    A variant that cannot go on leaves its reason and stops no other.

    Args:
      sweep: what they share.
      cells: not done yet; afterwards each has its scores or its variant a reason.
      console: for progress.
    """
    run_groups(sweep, cells, console)
    cells = [cell for cell in cells if not sweep.is_done(cell)]
    seconds: dict[str, list[float]] = {}
    for number, cell in enumerate(cells, start=1):
        if sweep.is_done(cell):  # its variant failed meanwhile
            continue
        left = f" · about {_time(_time_left_s(cells[number - 1 :], seconds))} left" if seconds else ""
        text = f"cell {number} of {len(cells)} · {cell.variant}, {_part_name(cell)}{left}"
        console.print(text, markup=False, highlight=False)
        start = time.monotonic()
        run_cell(sweep, cell, console)
        seconds.setdefault(cell.variant, []).append(time.monotonic() - start)


def run_groups(sweep: Sweep, cells: Sequence[Cell], console: Console) -> None:
    """Runs those of the cells that can be trained together: see `group.make_groups`."""
    fits = [
        Fit(sweep.configs[cell.variant], sweep.parts[cell.variant], cell.part, sweep.folder / cell.variant)
        for cell in cells
    ]
    for places in make_groups(fits):
        start = time.monotonic()
        failures = run_group([fits[place] for place in places], sweep.cohort, sweep.folds, console)
        seconds = (time.monotonic() - start) / len(places)
        for at, place in enumerate(places):
            if at in failures:
                record_failure(sweep, cells[place], failures[at], console)
            else:
                write_json(sweep.cell_folder(cells[place]) / "cost.json", {"seconds": seconds})


def run_cell(sweep: Sweep, cell: Cell, console: Console) -> None:
    """Runs one cell to its scores, or to the record of why it has none."""
    config, parts = sweep.configs[cell.variant], sweep.parts[cell.variant]
    bars = console if console.is_terminal else _QUIET  # five lines a fit would bury the cells
    start = time.monotonic()
    try:
        rows = _splittable_rows(parts.model, _input_shape(sweep, parts))
        parts = parts._replace(shardings=make_shardings(config.batch_size, rows=rows))
        run_part(config, parts, sweep.cohort, sweep.folds, cell.part, sweep.folder / cell.variant, bars)
    except _REASONS as error:
        record_failure(sweep, cell, str(error), console)
    else:
        write_json(sweep.cell_folder(cell) / "cost.json", {"seconds": time.monotonic() - start})


def record_failure(sweep: Sweep, cell: Cell, reason: str, console: Console) -> None:
    """Writes down why a cell has no scores."""
    folder = sweep.cell_folder(cell)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "failure.json", {"reason": reason})
    console.print(f"[yellow]{cell.variant}, {_part_name(cell)} has no scores:[/] ", end="")
    console.print(f"{reason} (Delete {folder} to try it again.)", markup=False, highlight=False)


def _write_plan(sweep: Sweep, question: str, printed: Mapping[str, float]) -> None:
    """Writes what a reader of the results cannot find in the run folders: order, question, and what networks cost."""
    path = sweep.folder / "sweep.json"
    costs = read_json(path)["costs"] if path.exists() else {}
    for variant, parts in sweep.parts.items():
        if variant not in costs:
            costs[variant] = _cost(parts, _input_shape(sweep, parts))
    plan = {"question": question, "variants": list(sweep.configs), "costs": costs, "printed": dict(printed)}
    write_json(path, plan)


def _input_shape(sweep: Sweep, parts: Parts) -> tuple[int, ...]:
    """Returns the shape of what a variant's network sees, which need not be the signal."""
    return input_shape((1, *sweep.cohort.shape), parts.task)


def _cost(parts: Parts, shape: tuple[int, ...]) -> dict[str, Any]:
    try:
        found = _measured(parts.model, shape)
    except ModelError:  # the cells will say why
        return {}
    return {
        "parameters": found.params + found.statistics,
        "step_gflop": found.step_flops / 1e9,
        "activations_mb": found.activation_bytes / 1e6,
    }


# Variants often share a network.
_measured = functools.cache(measure)
_splittable_rows = functools.cache(splittable_rows)


def _build(configs: Mapping[str, Config]) -> dict[str, Parts]:
    parts, errors = {}, []
    for variant, config in configs.items():
        try:
            parts[variant] = build(config)
        except (ExperimentError, ModelError) as error:
            errors.append(f"  {variant}: {error}")
    if errors:
        raise ExperimentError("variants that cannot be built:\n" + "\n".join(errors))
    return parts


def check_paired(configs: Mapping[str, Config]) -> None:
    """Refuses variants that would not be scored on the same patients by networks of the same seed."""
    for entry in _SHARED:
        values: dict[Any, list[str]] = {}
        for variant, config in configs.items():
            value = functools.reduce(lambda part, name: part[name], entry.split("."), config)
            values.setdefault(value, []).append(variant)
        if len(values) > 1:
            lines = "\n".join(f"  {value!r}: {', '.join(variants)}" for value, variants in values.items())
            raise ExperimentError(
                f"the variants differ in config.{entry}, so that their scores could not be paired:\n{lines}\nGive all"
                f" the same with --config.{entry}=..."
            )


def _time_left_s(cells: Sequence[Cell], seconds: Mapping[str, Sequence[float]]) -> float:
    """Takes a cell to last as long as others of its variant did; one of a new variant as long as the mean."""
    overall = float(np.mean([value for values in seconds.values() for value in values]))
    return sum(float(np.mean(seconds[cell.variant])) if cell.variant in seconds else overall for cell in cells)


def _time(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _part_name(cell: Cell) -> str:
    return "final fit" if cell.part == FINAL else f"fold {cell.part}"
