"""One fold of an experiment, or its final fit: trained, scored, recorded."""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding
from rich.console import Console

from tmax_jax import baselines
from tmax_jax.cohort.batches import Cohort, batched, case_order, draw_cases, without_images
from tmax_jax.cohort.folds import Folds
from tmax_jax.defaults import Config
from tmax_jax.further import require_maps, write_further
from tmax_jax.input import device_batches
from tmax_jax.parts import ExperimentError, Parts
from tmax_jax.results.progress import FitProgress
from tmax_jax.results.records import append_record, keep_records, read_records
from tmax_jax.results.scalars import open_scalars
from tmax_jax.scoring import mean_scores, predict_all, score, write_example, write_scores
from tmax_jax.training import processes
from tmax_jax.training.checkpoint import open_checkpoints, restore_epoch, start_from
from tmax_jax.training.loop import best_epoch, fit, is_out_of_patience
from tmax_jax.training.state import TrainState, init_state
from tmax_jax.training.step import input_shape, make_predict_step, make_train_step

FINAL = "final"  # the fit on all training patients, and the holdout's prediction
SCORE = "mse_brain_s2"  # of an epoch: which one is the best
_compiled = functools.lru_cache(maxsize=8)  # folds, and variants of a sweep, share what is compiled
_train_step, _predict_step = _compiled(make_train_step), _compiled(make_predict_step)


class Split(NamedTuple):
    """Which patients a fit learns from and is scored on."""

    number: int  # of the fold; the final fit comes after the last one
    training: np.ndarray  # int64 [case], places in the cohort
    scored: np.ndarray


def split_cases(config: Config, cohort: Cohort, folds: Folds, name: str) -> Split:
    """Returns the patients of a fold (its number as text) or of the final fit."""
    if name == FINAL:
        number, training, scored = len(folds.validation), folds.training_cases, (folds.holdout,)
    else:
        number = int(name)
        training, scored = folds.split(number)
    drawn = draw_cases(folds.training_cases, config.data.patients, seed=config.seed)
    return Split(number, cohort.indices([case for case in training if case in drawn]), cohort.indices(scored))


def part_folder(workdir: Path, name: str) -> Path:
    """Returns the folder of a fold or of the final fit."""
    return workdir / (name if name == FINAL else f"fold-{name}")


def run_part(
    config: Config, parts: Parts, cohort: Cohort, folds: Folds, name: str, workdir: Path, console: Console
) -> None:
    """Trains one fold or the final fit, scores its patients and writes its records.

    Raises:
      ExperimentError: the cohort lacks a map to learn, or the device ran out of memory.
      TrainingError: a loss was not finite.
    """
    try:
        _run_part(config, parts, cohort, folds, name, workdir, console)
    except jax.errors.JaxRuntimeError as error:
        raise _explained(error, parts) from error


def _run_part(
    config: Config, parts: Parts, cohort: Cohort, folds: Folds, name: str, workdir: Path, console: Console
) -> None:
    require_maps(parts, cohort)
    split = split_cases(config, cohort, folds, name)
    folder = part_folder(workdir, name)
    folder.mkdir(parents=True, exist_ok=True)
    epochs, patience_epochs = config.epochs, config.patience_epochs
    if name == FINAL and patience_epochs:
        epochs, patience_epochs = _mean_best_epoch(workdir, len(folds.validation)), 0
    state = _train(config, parts, cohort, split, name, folder, epochs, patience_epochs, console)
    predict = functools.partial(_predict_step(parts.model, parts.task, parts.shardings), state)
    trivial = baselines.predictors(cohort, split.training, parts.task, parts.shardings)
    maps_s = predict_all({config.name: predict} | trivial, cohort, split.scored, parts.shardings)
    example = "holdout.npz" if name == FINAL else "example.npz"
    write_example(folder / example, cohort, int(split.scored[0]), maps_s[config.name][0])
    write_further(folder, config.name, split.number, state, parts, cohort, split.training, split.scored)
    write_scores(folder, split.number, maps_s, cohort, split.scored, config.data.store, parts.task, console)
    processes.wait_for_all(f"{name} done")


def _train(
    config: Config,
    parts: Parts,
    cohort: Cohort,
    split: Split,
    name: str,
    folder: Path,
    epochs: int,
    patience_epochs: int,
    console: Console,
) -> TrainState:
    """Trains from the last checkpoint, or the start, to the end; returns the state that is to be scored."""
    shardings, missing = parts.shardings, config.data.missing_percent
    learnt_from = without_images(cohort, missing, seed=config.seed) if missing else cohort

    def batches(epoch: int) -> Iterator[tuple[list[str], Any]]:
        order = case_order(len(split.training), seed=config.seed, fold=split.number, epoch=epoch)
        rows = batched(split.training[order], shardings.batch_size)
        for row, batch in zip(rows, device_batches(learnt_from, rows, shardings), strict=True):
            yield [cohort.case_ids[i] for i in row if i >= 0], batch

    def validate(state: TrainState) -> dict[str, float]:
        if name == FINAL:
            return {}
        predict = functools.partial(_predict_step(parts.model, parts.task, shardings), state)
        return mean_scores(score(predict, cohort, split.scored, shardings))

    steps_an_epoch = len(batched(split.training, shardings.batch_size))
    optimizer = parts.optimizer(steps_an_epoch)
    shape = input_shape((1, *cohort.shape), parts.task)
    make_state = functools.partial(init_state, parts.model, optimizer, input_shape=shape, ema=parts.ema_decay > 0)
    key = jax.random.fold_in(jax.random.key(config.seed), split.number)
    state = jax.jit(make_state, out_shardings=shardings.replicated)(key)
    if config.start_from:
        state = start_from(Path(config.start_from) / FINAL / "checkpoints", state, shardings.replicated)
    train_step = _train_step(
        parts.model,
        optimizer,
        parts.loss,
        parts.task,
        shardings,
        augmentation=parts.augmentation,
        ema_decay=parts.ema_decay,
    )
    return recorded_fit(
        state,
        folder,
        name,
        epochs=epochs,
        steps_an_epoch=steps_an_epoch,
        train_step=train_step,
        batches=batches,
        validate=validate,
        sharding=shardings.replicated,
        console=console,
        score="train_loss" if name == FINAL else SCORE,
        patience_epochs=patience_epochs,
        tensorboard=config.tensorboard,
    )


def recorded_fit(
    state: TrainState,
    folder: Path,
    name: str,
    *,
    epochs: int,
    steps_an_epoch: int,
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    batches: Callable[[int], Iterator[tuple[list[str], Any]]],
    validate: Callable[[TrainState], dict[str, float]],
    sharding: Sharding,
    console: Console,
    score: str = "train_loss",
    patience_epochs: int = 0,
    tensorboard: bool = False,
) -> TrainState:
    """Fits with checkpoints, records and progress, from where an earlier run stopped.

    Args:
      state: before the first step.
      folder: for checkpoints and `metrics.jsonl`.
      name: for the progress bar.
      epochs: in all.
      steps_an_epoch: for the progress bar.
      train_step: as of `training.loop.fit`.
      batches: as there.
      validate: as there.
      sharding: of a restored state.
      console: for progress and messages.
      score: of an epoch's record: the smallest one is kept beside the latest.
      patience_epochs: stop so long after the best `SCORE` and return that epoch's state; 0 for never.
      tensorboard: write scalars for TensorBoard too.

    Returns:
      The state that is to be scored.

    Raises:
      TrainingError: a loss was not finite.
    """
    with open_checkpoints(folder / "checkpoints", score=score) as checkpoints:
        first = checkpoints.latest_step() or 0
        keep_records(folder / "metrics.jsonl", first)
        scores = _scores(folder)
        write_scalars = open_scalars(folder / "tensorboard", first_epoch=first + 1) if tensorboard else _ignore
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
                train_step=train_step,
                batches=batches,
                validate=validate,
                checkpoints=checkpoints,
                sharding=sharding,
                on_step=progress.step,
                on_epoch=on_epoch,
                should_stop=lambda: is_out_of_patience(scores, patience_epochs),
            )
        if patience_epochs:
            state = restore_epoch(checkpoints, checkpoints.best_step() or 0, state, sharding)
            console.print(f"fold {name}: {len(scores)} epochs of at most {epochs}, best was {best_epoch(scores)}")
    return state


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


def _ignore(_: dict[str, Any]) -> None:
    """Takes a record and does nothing with it."""


def _explained(error: Exception, parts: Parts) -> Exception:
    """Returns the error that a user should see: what to do about it where that is known, else the error itself."""
    if "RESOURCE_EXHAUSTED" in str(error):
        return ExperimentError(
            f"the device ran out of memory with {parts.shardings.batch_size} patients a step on"
            f" {parts.shardings.mesh.size} device(s): lower --config.batch_size, narrow the model, or use a device with"
            " more memory. Finished epochs are kept; the same command goes on."
        )
    if jax.process_count() > 1:
        return processes.ProcessError(
            f"process {jax.process_index()} lost the others, of which one has probably died ({str(error)[:200]})."
            " Finished epochs are kept; the same command goes on, with as many processes as you like."
        )
    return error
