"""One experiment: folds become results. With `parts.py`, which makes a config into objects, the only reader of it.

What may be imported from where flows one way: everything below this file takes arrays and plain values.
"""

import functools
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from tmax_jax import baselines
from tmax_jax.classical import tmax_estimates, true_delays_s
from tmax_jax.cohort.batches import Cohort, batched, case_order, read_cohort, take, trainable_cases
from tmax_jax.cohort.folds import Folds, make_folds, read_folds, write_folds
from tmax_jax.cohort.store import list_cases
from tmax_jax.defaults import Config
from tmax_jax.metrics import defined, sum_values
from tmax_jax.parts import ExperimentError, Parts, build
from tmax_jax.results.environment import describe_environment
from tmax_jax.results.progress import FitProgress
from tmax_jax.results.records import (
    TRUE_DELAY,
    CaseRow,
    append_record,
    keep_records,
    read_records,
    write_cases,
    write_json,
)
from tmax_jax.results.scalars import open_scalars
from tmax_jax.scoring import predict_maps, score_maps
from tmax_jax.training.checkpoint import open_checkpoints, restore_epoch, start_from
from tmax_jax.training.loop import best_epoch, fit, is_out_of_patience
from tmax_jax.training.sharding import Shardings, put_batch
from tmax_jax.training.state import TrainState, init_state
from tmax_jax.training.step import Predictor, input_shape, make_predict_step, make_train_step

FINAL = "final"  # the fit on all training patients, and the holdout's prediction
SCORE = "mse_brain_s2"  # of an epoch: which one is the best


def run(config: Config, workdir: Path, *, part: str = "", console: Console) -> bool:
    """Runs all folds and the final fit, or one of them; goes on where an earlier run stopped.

    Args:
      config: see `defaults.py`.
      workdir: the run folder.
      part: a fold's number or "final" for that one alone, so that parts can be jobs; all when empty.
      console: for progress and messages.

    Returns:
      Whether the run is complete: every fold and the final fit have their `cases.csv`.

    Raises:
      ExperimentError: the config differs from the one that the run folder was started with, or an unknown part.
      CohortError, FoldError: the store or its folds do not fit.
      TrainingError: a loss was not finite.
    """
    parts = build(config)
    claim_workdir(config, workdir)
    cases = trainable_cases(config.data.store, list_cases(config.data.store))
    folds = _folds(config, workdir / "folds.json", cases)
    names = [*map(str, range(len(folds.validation))), FINAL]
    if part and part not in names:
        raise ExperimentError(f"there is no fold {part!r}; choose one of: {', '.join(names)}")
    wanted = [name for name in ([part] if part else names) if not (part_folder(workdir, name) / "cases.csv").exists()]
    if wanted:
        cohort = read_cohort(config.data.store, cases)
        write_json(workdir / "environment.json", describe_environment(cohort.data))
        _warn_of_unreachable_targets(parts, cohort, console)
        for name in wanted:
            try:
                run_part(config, parts, cohort, folds, name, workdir, console)
            except jax.errors.JaxRuntimeError as error:
                raise _out_of_memory(error, parts) from error
    return all((part_folder(workdir, name) / "cases.csv").exists() for name in names)


def part_folder(workdir: Path, name: str) -> Path:
    """Returns the folder of a fold or of the final fit."""
    return workdir / (name if name == FINAL else f"fold-{name}")


def claim_workdir(config: Config, workdir: Path) -> None:
    """Writes the config into a new run folder, or checks that an old one was started with the same.

    Where the store lies may change; which patients it holds is checked with the folds.
    """
    wanted = json.loads(config.to_json())
    path = workdir / "config.json"
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    before, now = _flat(json.loads(path.read_text())), _flat(wanted)
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key) and key != "data.store"]
    if changed:
        lines = "\n".join(f"  config.{key}: {before.get(key)!r} before, {now.get(key)!r} now" for key in changed)
        raise ExperimentError(
            f"{workdir} was started with another config:\n{lines}\nGive the new one its own folder with --workdir,"
            " or repeat the command that started this one."
        )


def run_part(
    config: Config, parts: Parts, cohort: Cohort, folds: Folds, name: str, workdir: Path, console: Console
) -> None:
    """Trains one fold or the final fit, scores its patients and writes its records."""
    number = len(folds.validation) if name == FINAL else int(name)
    training, scored = (folds.training_cases, (folds.holdout,)) if name == FINAL else folds.split(number)
    train_indices, scored_indices = cohort.indices(training), cohort.indices(scored)
    folder = part_folder(workdir, name)
    folder.mkdir(parents=True, exist_ok=True)
    shardings = parts.shardings

    def batches(epoch: int) -> Iterator[tuple[list[str], Any]]:
        order = case_order(len(train_indices), seed=config.seed, fold=number, epoch=epoch)
        for row in batched(train_indices[order], shardings.batch_size):
            yield [cohort.case_ids[i] for i in row if i >= 0], put_batch(take(cohort, row), shardings)

    predict_step = make_predict_step(parts.model, parts.task, shardings)

    def validate(state: TrainState) -> dict[str, float]:
        if name == FINAL:
            return {}
        rows = score(functools.partial(predict_step, state), cohort, scored_indices, shardings)
        by_metric = {metric: defined(metric, [row[metric] for row in rows]) for metric in rows[0]}
        return {metric: float(np.mean(values)) for metric, values in by_metric.items() if values}

    key = jax.random.fold_in(jax.random.key(config.seed), number)
    steps_an_epoch = len(batched(train_indices, shardings.batch_size))
    optimizer = parts.optimizer(steps_an_epoch)
    shape = input_shape((1, *cohort.perfusion[0].shape), parts.task)
    make_state = functools.partial(init_state, parts.model, optimizer, input_shape=shape, ema=parts.ema_decay > 0)
    state = jax.jit(make_state, out_shardings=shardings.replicated)(key)
    if config.start_from:
        state = start_from(Path(config.start_from) / FINAL / "checkpoints", state, shardings.replicated)
    epochs, patience_epochs = config.epochs, config.patience_epochs
    if name == FINAL and patience_epochs:
        epochs, patience_epochs = _mean_best_epoch(workdir, len(folds.validation)), 0
    with open_checkpoints(folder / "checkpoints", score="train_loss" if name == FINAL else SCORE) as checkpoints:
        first = checkpoints.latest_step() or 0
        keep_records(folder / "metrics.jsonl", first)
        scores = _scores(folder)
        write_scalars = open_scalars(folder / "tensorboard", first_epoch=first + 1) if config.tensorboard else _ignore
        with FitProgress(console, name, first, epochs, steps_an_epoch) as progress:

            def on_epoch(record: dict[str, Any]) -> None:
                append_record(folder / "metrics.jsonl", record | {"time": time.time()})
                if SCORE in record:
                    scores.append(record[SCORE])
                write_scalars(record)
                progress.epoch(record)

            state = fit(
                state,
                epochs=epochs,
                train_step=make_train_step(
                    parts.model,
                    optimizer,
                    parts.loss,
                    parts.task,
                    shardings,
                    augmentation=parts.augmentation,
                    ema_decay=parts.ema_decay,
                ),
                batches=batches,
                validate=validate,
                checkpoints=checkpoints,
                sharding=shardings.replicated,
                on_step=progress.step,
                on_epoch=on_epoch,
                should_stop=lambda: is_out_of_patience(scores, patience_epochs),
            )
        if patience_epochs:
            state = restore_epoch(checkpoints, checkpoints.best_step() or 0, state, shardings.replicated)
            console.print(f"fold {name}: {len(scores)} epochs of at most {epochs}, best was {best_epoch(scores)}")
    predict = functools.partial(predict_step, state)
    if name == FINAL:
        _write_holdout(folder / "holdout.npz", cohort, int(scored_indices[0]), predict, shardings)
    predictors = {config.name: predict} | baselines.predictors(cohort, train_indices, parts.task, shardings)
    maps_s = {
        method: predict_maps(predictor, cohort, scored_indices, shardings) for method, predictor in predictors.items()
    }
    maps_s |= tmax_estimates(config.data.store, scored, console)
    delays_s = true_delays_s(config.data.store, scored)
    for path, truth_s in ((folder / TRUE_DELAY, delays_s), (folder / "cases.csv", None)):
        if path.name == TRUE_DELAY and truth_s is None:
            continue
        rows = [
            CaseRow(method, number, case, values)
            for method, predicted_s in maps_s.items()
            for case, values in zip(
                scored, score_maps(predicted_s, cohort, scored_indices, parts.task, truth_s=truth_s), strict=True
            )
        ]
        write_cases(path, rows)  # cases.csv last: its presence says that the part is done


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
    for row in batched(indices, shardings.batch_size):
        _, sums = predictor(put_batch(take(cohort, row), shardings))
        values = sum_values(sums)
        rows += [{name: float(value[place]) for name, value in values.items()} for place in np.flatnonzero(row >= 0)]
    return rows


def _write_holdout(path: Path, cohort: Cohort, index: int, predict: Predictor, shardings: Shardings) -> None:
    row = batched(np.array([index]), shardings.batch_size)[0]
    prediction_s, _ = predict(put_batch(take(cohort, row), shardings))
    np.savez_compressed(
        path,
        prediction_s=np.asarray(prediction_s)[0],
        tmax_s=cohort.tmax_s[index],
        mask=cohort.mask[index],
        spacing_mm=cohort.spacing_mm[index],
    )


def _scores(folder: Path) -> list[float]:
    """Returns the validation score of each epoch so far; the final fit has none."""
    return [record[SCORE] for record in read_records(folder / "metrics.jsonl") if SCORE in record]


def _mean_best_epoch(workdir: Path, folds: int) -> int:
    """Returns how long the final fit trains under early stopping, since it has no patients to tell it.

    Raises:
      ExperimentError: a fold has not finished.
    """
    folders = [part_folder(workdir, str(number)) for number in range(folds)]
    missing = [folder.name for folder in folders if not (folder / "cases.csv").exists()]
    if missing:
        raise ExperimentError(
            "with config.patience_epochs the final fit trains as long as the folds' best epochs on average, and"
            f" {', '.join(missing)} has not finished; run the folds first"
        )
    return round(statistics.fmean(best_epoch(_scores(folder)) for folder in folders))


def _folds(config: Config, path: Path, cases: list[str]) -> Folds:
    """Draws the folds of a new run; reads and verifies those of an old one."""
    if not path.exists():
        write_folds(path, make_folds(cases, folds=config.folds, seed=config.seed, holdout=config.data.holdout))
    return read_folds(path, cases)


def _ignore(_: dict[str, Any]) -> None:
    """Takes a record and does nothing with it."""


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _warn_of_unreachable_targets(parts: Parts, cohort: Cohort, console: Console) -> None:
    top_s = max(float(tmax_s.max()) for tmax_s in cohort.tmax_s)
    if getattr(parts.model, "head_activation", None) == "sigmoid" and top_s > parts.task.target_scale_s:
        console.print(
            f"[yellow]The sigmoid head ends at {parts.task.target_scale_s:g} s and the cohort's Tmax at {top_s:.1f} s:"
            " voxels above cannot be learnt. Set --config.target.scale_s, unless this is the point of the run.[/]"
        )


def _out_of_memory(error: Exception, parts: Parts) -> Exception:
    """Returns the error that a user should see: the remedy where memory ran out, else the error itself."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        return error
    return ExperimentError(
        f"the device ran out of memory with {parts.shardings.batch_size} patients a step on"
        f" {parts.shardings.per_case.mesh.size} device(s): lower --config.batch_size, narrow the model, or use a"
        " device with more memory. Finished epochs are kept; the same command goes on."
    )
