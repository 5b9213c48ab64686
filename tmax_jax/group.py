"""Folds of one or many runs trained together: those that share a linear network, and data.

The records are those of runs that were made one by one: each run folder gets its checkpoints, `metrics.jsonl` and
`cases.csv`, and either way of running goes on where the other stopped.
"""

import collections
import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from rich.console import Console

from tmax_jax import baselines
from tmax_jax.classical import true_delays_s
from tmax_jax.cohort.batches import PADDING, Cohort, batched, case_order, take, without_images
from tmax_jax.cohort.folds import Folds
from tmax_jax.cohort.sigma_points import condense
from tmax_jax.defaults import Config
from tmax_jax.fold import FINAL, SCORE, Split, part_folder, split_cases
from tmax_jax.metrics import sum_values
from tmax_jax.parts import Parts, make_adam
from tmax_jax.results.records import TRUE_DELAY, append_record, keep_records, read_cases, write_cases
from tmax_jax.scoring import case_rows, mean_scores, predict_all, predict_maps, write_example, write_scores
from tmax_jax.training.checkpoint import open_checkpoints, restore_epoch, save_epoch
from tmax_jax.training.group import make_group_epoch, make_group_init, make_group_predict, stack, unstack
from tmax_jax.training.loop import not_finite
from tmax_jax.training.sharding import Shardings, make_shardings
from tmax_jax.training.state import TrainState
from tmax_jax.training.step import make_predict_step

_LINES = 5  # of progress

Scores = list[dict[str, float]]  # of the patients of a fit


class Fit(NamedTuple):
    """One fold of a run, or its final fit."""

    config: Config
    parts: Parts
    part: str  # number of a fold, or "final"
    workdir: Path  # of the run


def make_groups(fits: Sequence[Fit]) -> list[list[int]]:
    """Sorts out the fits that can be trained together.

    Args:
      fits: of runs on one store.

    Returns:
      Places of the fits of each group: they differ in learning rate, patients and seed alone. Fits that cannot be
      grouped are in none: networks that are not linear, other losses than the squared error, augmentation, early
      stopping, rates that change, weights of another run, TensorBoard; and any, where several processes run.
    """
    if jax.process_count() > 1:
        return []
    able = [place for place, fit in enumerate(fits) if fit.parts.is_linear and _is_plain(fit.config)]

    def program(place: int) -> str:
        return _program(fits[place].config)

    return [list(group) for _, group in itertools.groupby(sorted(able, key=program), key=program)]


def _is_plain(config: Config) -> bool:
    optimizer = config.optimizer
    steady = optimizer.schedule == "constant" and not optimizer.warmup_epochs
    return steady and not (config.patience_epochs or config.start_from or config.tensorboard)


def _program(config: Config) -> str:
    """Returns what the fits of a group have in common, as text: the config without what may differ."""
    common = config.copy_and_resolve_references()
    if common.data.missing_percent:
        return common.to_json(sort_keys=True)  # the seed draws the images
    common.name, common.seed, common.folds, common.data.holdout, common.data.patients = "", 0, 0, "", 0
    common.optimizer.learning_rate = 0.0
    return common.to_json(sort_keys=True)


def run_group(fits: Sequence[Fit], cohort: Cohort, folds: Folds, console: Console) -> dict[int, str]:
    """Trains a group, scores its patients and writes the records of each fit.

    Args:
      fits: of one group of `make_groups`.
      cohort: in memory.
      folds: of all the runs.
      console: for progress.

    Returns:
      Why fits have no scores, by their places: a loss was not finite. The others go on without them.
    """
    shardings = make_shardings(len(fits))
    splits = [split_cases(fit.config, cohort, folds, fit.part) for fit in fits]
    with contextlib.ExitStack() as files:
        checkpoints = [
            files.enter_context(
                open_checkpoints(_folder(fit) / "checkpoints", score="train_loss" if fit.part == FINAL else SCORE)
            )
            for fit in fits
        ]
        states, failures = _train(fits, splits, cohort, checkpoints, shardings, console)
    _write_results(fits, splits, cohort, states, set(range(len(fits))) - set(failures), console)
    return failures


def _train(
    fits: Sequence[Fit],
    splits: Sequence[Split],
    cohort: Cohort,
    checkpoints: Sequence[ocp.CheckpointManager],
    shardings: Shardings,
    console: Console,
) -> tuple[TrainState, dict[int, str]]:
    """Trains every fit from its own last checkpoint; returns the stacked states and why fits stopped."""
    config, parts = fits[0].config, fits[0].parts
    missing = config.data.missing_percent
    learnt_from = without_images(cohort, missing, seed=config.seed) if missing else cohort
    condensed = condense(learnt_from, normalise=parts.task.normalise, over=parts.task.loss_over)
    patients = take(condensed, np.arange(len(cohort.case_ids)))
    patients = jax.device_put({name: patients[name] for name in ("perfusion", "mask", "tmax_s")}, shardings.replicated)
    firsts = [manager.latest_step() or 0 for manager in checkpoints]
    for fit, first in zip(fits, firsts, strict=True):
        keep_records(_folder(fit) / "metrics.jsonl", first)
    optimizer = make_adam(config)
    states = _first_states(fits, splits, optimizer, checkpoints, condensed.perfusion[0].shape, shardings)
    rates = _put(np.array([fit.config.optimizer.learning_rate for fit in fits], np.float32), shardings)
    train_epoch = make_group_epoch(
        parts.model, optimizer, parts.loss, parts.task, ema_decay=parts.ema_decay, shardings=shardings
    )
    score_fits = _scorer(fits, splits, cohort, shardings)
    failures: dict[int, str] = {}
    for epoch in range(min(firsts), config.epochs):
        due = [i for i, first in enumerate(firsts) if first <= epoch and i not in failures]
        rows = _rows(fits, splits, epoch, due)
        states, losses = train_epoch(states, rates, patients, _put(rows, shardings))
        losses, on_host = jax.device_get((losses, states))
        scores = score_fits(states, [i for i in due if fits[i].part != FINAL])
        for i in due:
            of_steps = losses[i][(rows[i] != PADDING).any(axis=-1)].tolist()
            if not all(map(math.isfinite, of_steps)):
                step = next(step for step, loss in enumerate(of_steps) if not math.isfinite(loss))
                case_ids = [cohort.case_ids[case] for case in rows[i, step] if case != PADDING]
                failures[i] = not_finite(of_steps[step], epoch, step, case_ids, checkpoints[i])
                continue
            record: dict[str, Any] = {"epoch": epoch + 1, "train_loss": sum(of_steps) / len(of_steps)}
            record |= mean_scores(scores[i]) if i in scores else {}
            append_record(_folder(fits[i]) / "metrics.jsonl", record | {"time": time.time()})
            save_epoch(
                checkpoints[i], epoch + 1, unstack(on_host, i), {k: v for k, v in record.items() if k != "epoch"}
            )
        if (epoch + 1) % max(1, config.epochs // _LINES) == 0:
            console.print(f"{len(fits)} fits of {config.model.name} together · epoch {epoch + 1}/{config.epochs}")
    return states, failures


def _first_states(
    fits: Sequence[Fit],
    splits: Sequence[Split],
    optimizer: Callable[[Any], optax.GradientTransformation],
    checkpoints: Sequence[ocp.CheckpointManager],
    shape: tuple[int, ...],
    shardings: Shardings,
) -> TrainState:
    """Returns the states that the fits' keys give, or their last checkpoints where there are some; on the devices."""
    parts = fits[0].parts
    make = make_group_init(parts.model, optimizer, (1, *shape), ema=parts.ema_decay > 0, shardings=shardings)
    seeds = [(fit.config.seed, split.number) for fit, split in zip(fits, splits, strict=True)]
    keys = [jax.random.key_data(jax.random.fold_in(jax.random.key(seed), number)) for seed, number in seeds]
    fresh = jax.device_get(make(_put(np.stack(jax.device_get(keys)), shardings)))
    states = [unstack(fresh, i) for i in range(len(fits))]
    for i, manager in enumerate(checkpoints):
        if epoch := manager.latest_step():
            states[i] = restore_epoch(manager, epoch, states[i], shardings.replicated)
    return jax.tree.map(functools.partial(_put, shardings=shardings), stack(states))


def _rows(fits: Sequence[Fit], splits: Sequence[Split], epoch: int, due: Sequence[int]) -> np.ndarray:
    """Returns the patients of each step, int `[fit, step, case]`: the order that each fit alone would have."""
    size = fits[0].config.batch_size
    steps = max(len(batched(split.training, size)) for split in splits)
    rows = np.full((len(fits), steps, size), PADDING)
    for i in due:
        training = splits[i].training
        order = case_order(len(training), seed=fits[i].config.seed, fold=splits[i].number, epoch=epoch)
        row = batched(training[order], size)
        rows[i, : len(row)] = row
    return rows


def _scorer(
    fits: Sequence[Fit], splits: Sequence[Split], cohort: Cohort, shardings: Shardings
) -> Callable[..., Mapping[int, Scores]]:
    """Returns what scores fits on their patients, all fits of a patient at once."""
    predict = make_group_predict(fits[0].parts.model, fits[0].parts.task, shardings)
    most = max(collections.Counter(case for split in splits for case in split.scored.tolist()).values())

    def score_fits(states: TrainState, chosen: Sequence[int]) -> Mapping[int, Scores]:
        found: dict[int, dict[int, dict[str, float]]] = {i: {} for i in chosen}
        for case in sorted({case for i in chosen for case in splits[i].scored.tolist()}):
            of_case = [i for i in chosen if case in splits[i].scored]
            places = np.array([*of_case, *[of_case[0]] * (most - len(of_case))])
            batch = jax.device_put(take(cohort, np.array([case])), shardings.replicated)
            _, sums = predict(states, _put(places, shardings), batch)
            values = sum_values(sums)
            for place, i in enumerate(of_case):
                found[i][case] = {name: float(value[place]) for name, value in values.items()}
        return {i: [found[i][case] for case in splits[i].scored.tolist()] for i in chosen}

    return score_fits


def _write_results(
    fits: Sequence[Fit], splits: Sequence[Split], cohort: Cohort, states: TrainState, done: set[int], console: Console
) -> None:
    """Writes `holdout.npz` and the scores of the fits that are done."""
    parts, on_host = fits[0].parts, jax.device_get(states)
    predict_step = make_predict_step(parts.model, parts.task, parts.shardings)
    scored: dict[tuple[int, ...], int] = {}  # a fit by its training patients: others of them share all rows but one
    for i in sorted(done):
        fit, split = fits[i], splits[i]
        predict = functools.partial(predict_step, unstack(on_host, i))
        example = "holdout.npz" if fit.part == FINAL else "example.npz"
        maps_s = predict_maps(predict, cohort, split.scored, parts.shardings)
        write_example(_folder(fit) / example, cohort, int(split.scored[0]), maps_s[0])
        first = scored.setdefault((*split.training.tolist(),), i)
        if first != i:
            _write_beside(fit, split, maps_s, fits[first], cohort)
            continue
        trivial = baselines.predictors(cohort, split.training, parts.task, parts.shardings)
        of_all = {fit.config.name: maps_s} | predict_all(trivial, cohort, split.scored, parts.shardings)
        write_scores(
            _folder(fit), split.number, of_all, cohort, split.scored, fit.config.data.store, parts.task, console
        )


def _write_beside(fit: Fit, split: Split, maps_s: Sequence[np.ndarray | None], other: Fit, cohort: Cohort) -> None:
    """Writes a fit's scores with the rows of the methods that need no training, out of another fit's files."""
    case_ids = [cohort.case_ids[index] for index in split.scored]
    for name, truth_s in ((TRUE_DELAY, true_delays_s(fit.config.data.store, case_ids)), ("cases.csv", None)):
        if not (_folder(other) / name).exists():
            continue
        of_fit = {fit.config.name: maps_s}
        own = case_rows(split.number, of_fit, cohort, split.scored, fit.parts.task, truth_s=truth_s)
        rest = [row for row in read_cases(_folder(other) / name) if row.method != other.config.name]
        write_cases(_folder(fit) / name, own + rest)


def _folder(fit: Fit) -> Path:
    return part_folder(fit.workdir, fit.part)


def _put(values: Any, shardings: Shardings) -> jax.Array:
    """Sends values `[fit, ...]` to the devices, filled up with the first ones to a multiple of the devices."""
    short = -len(values) % shardings.per_case.mesh.size
    filled = np.concatenate([values, np.repeat(values[:1], short, axis=0)]) if short else values
    return jax.device_put(filled, shardings.per_case)
