"""One experiment: folds become results. With `parts.py`, which makes a config into objects, the only reader of it.

What may be imported from where flows one way: everything below this file takes arrays and plain values.
"""

import functools
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from tmax_jax import baselines
from tmax_jax.classical import tmax_estimates, true_delays_s
from tmax_jax.cohort.batches import (
    Cohort,
    batched,
    case_order,
    draw_cases,
    read_cohort,
    trainable_cases,
    without_images,
)
from tmax_jax.cohort.folds import Folds, make_folds, read_folds, write_folds
from tmax_jax.cohort.store import list_cases
from tmax_jax.defaults import Config
from tmax_jax.further import require_maps, write_further
from tmax_jax.input import device_batches, memory_in_use
from tmax_jax.metrics import defined, sum_values
from tmax_jax.parts import ExperimentError, Parts, build
from tmax_jax.results.environment import describe_environment
from tmax_jax.results.progress import FitProgress
from tmax_jax.results.records import (
    TRUE_DELAY,
    CaseRow,
    append_record,
    keep_records,
    read_json,
    read_records,
    write_cases,
    write_json,
)
from tmax_jax.results.scalars import open_scalars
from tmax_jax.scoring import predict_maps, score_maps
from tmax_jax.training import processes
from tmax_jax.training.checkpoint import open_checkpoints, restore_epoch, start_from
from tmax_jax.training.loop import best_epoch, fit, is_out_of_patience
from tmax_jax.training.sharding import Shardings, fetch, make_shardings, splittable_rows
from tmax_jax.training.state import TrainState, init_state
from tmax_jax.training.step import Predictor, Task, input_shape, make_predict_step, make_train_step

FINAL = "final"  # the fit on all training patients, and the holdout's prediction
_compiled = functools.lru_cache(maxsize=8)  # folds, and variants of a sweep, share what is compiled
_train_step, _predict_step = _compiled(make_train_step), _compiled(make_predict_step)
SCORE = "mse_brain_s2"  # of an epoch: which one is the best


def run(config: Config, workdir: Path, *, part: str = "", mesh: str = "auto", console: Console) -> bool:
    """Runs all folds and the final fit, or one of them; goes on where an earlier run stopped.

    Args:
      config: see `defaults.py`.
      workdir: the run folder.
      part: a fold's number or "final" for that one alone, so that parts can be jobs; all when empty.
      mesh: of the devices; see `make_shardings`. No part of the experiment: a run may go on with another.
      console: for progress and messages.

    Returns:
      Whether the run is complete: every fold and the final fit have their `cases.csv`.

    Raises:
      ExperimentError: the config differs from the one that the run folder was started with, or an unknown part.
      CohortError, FoldError: the store or its folds do not fit.
      MeshError: a mesh that the devices, the batch or the network do not allow.
      TrainingError: a loss was not finite.
    """
    parts = build(config)
    claim_workdir(config, workdir)
    cases = trainable_cases(config.data.store, list_cases(config.data.store))
    folds = draw_folds(config, workdir / "folds.json", cases)
    names = [*map(str, range(len(folds.validation))), FINAL]
    if part and part not in names:
        raise ExperimentError(f"there is no fold {part!r}; choose one of: {', '.join(names)}")
    asked = [part] if part else names
    done = processes.agreed([(part_folder(workdir, name) / "cases.csv").exists() for name in asked])
    wanted = [name for name, is_done in zip(asked, done, strict=True) if not is_done]
    if wanted:
        cohort = read_cohort(config.data.store, cases)
        rows = splittable_rows(parts.model, (1, *cohort.shape))
        parts = parts._replace(shardings=make_shardings(config.batch_size, rows=rows, mesh=mesh))
        console.print(memory_in_use(cohort, parts.shardings), soft_wrap=True)
        write_json(workdir / "environment.json", describe_environment(cohort.data))
        _warn_of_unreachable_targets(parts, cohort, console)
        for name in wanted:
            try:
                run_part(config, parts, cohort, folds, name, workdir, console)
            except jax.errors.JaxRuntimeError as error:
                raise _explained(error, parts) from error
    return all(processes.agreed([(part_folder(workdir, name) / "cases.csv").exists() for name in names]))


def part_folder(workdir: Path, name: str) -> Path:
    """Returns the folder of a fold or of the final fit."""
    return workdir / (name if name == FINAL else f"fold-{name}")


def claim_workdir(config: Config, workdir: Path) -> None:
    """Writes the config into a new run folder, or checks that an old one was started with the same.

    Where the store lies may change; which patients it holds is checked with the folds.
    """
    wanted = json.loads(config.to_json())
    path = workdir / "config.json"
    if processes.is_writer() and not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
    processes.wait_for_all("config")
    before, now = _flat(read_json(path)), _flat(wanted)
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
    drawn = draw_cases(folds.training_cases, config.data.patients, seed=config.seed)
    training = tuple(case for case in training if case in drawn)
    train_indices, scored_indices = cohort.indices(training), cohort.indices(scored)
    missing = config.data.missing_percent
    learnt_from = without_images(cohort, missing, seed=config.seed) if missing else cohort
    require_maps(parts, cohort)
    folder = part_folder(workdir, name)
    folder.mkdir(parents=True, exist_ok=True)
    shardings = parts.shardings

    def batches(epoch: int) -> Iterator[tuple[list[str], Any]]:
        order = case_order(len(train_indices), seed=config.seed, fold=number, epoch=epoch)
        rows = batched(train_indices[order], shardings.batch_size)
        for row, batch in zip(rows, device_batches(learnt_from, rows, shardings), strict=True):
            yield [cohort.case_ids[i] for i in row if i >= 0], batch

    predict_step = _predict_step(parts.model, parts.task, shardings)

    def validate(state: TrainState) -> dict[str, float]:
        if name == FINAL:
            return {}
        rows = score(functools.partial(predict_step, state), cohort, scored_indices, shardings)
        return mean_scores(rows)

    key = jax.random.fold_in(jax.random.key(config.seed), number)
    steps_an_epoch = len(batched(train_indices, shardings.batch_size))
    optimizer = parts.optimizer(steps_an_epoch)
    shape = input_shape((1, *cohort.shape), parts.task)
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
                train_step=_train_step(
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
    example = "holdout.npz" if name == FINAL else "example.npz"
    write_holdout(folder / example, cohort, int(scored_indices[0]), predict, shardings)
    write_further(folder, config.name, number, state, parts, cohort, train_indices, scored_indices)
    predictors = {config.name: predict} | baselines.predictors(cohort, train_indices, parts.task, shardings)
    maps_s = {
        method: predict_maps(predictor, cohort, scored_indices, shardings) for method, predictor in predictors.items()
    }
    write_scores(folder, number, maps_s, cohort, scored_indices, config.data.store, parts.task, console)
    processes.wait_for_all(f"{name} done")


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

    def rows(truth_s: Sequence[np.ndarray] | None) -> list[CaseRow]:
        scores = {name: score_maps(maps, cohort, indices, task, truth_s=truth_s) for name, maps in maps_s.items()}
        return [
            CaseRow(name, number, case, values)
            for name, of_method in scores.items()
            for case, values in zip(case_ids, of_method, strict=True)
        ]

    delays_s = true_delays_s(store, case_ids)
    if delays_s is not None:
        write_cases(folder / TRUE_DELAY, rows(delays_s))
    write_cases(folder / "cases.csv", rows(None))  # last: its presence says that the part is done


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


def write_holdout(path: Path, cohort: Cohort, index: int, predict: Predictor, shardings: Shardings) -> None:
    """Writes a patient's predicted and true map, for the figures."""
    row = batched(np.array([index]), shardings.batch_size)[0]
    prediction_s, _ = predict(next(device_batches(cohort, row[None], shardings)))
    prediction_s = fetch(prediction_s)[0]
    if not processes.is_writer():
        return
    np.savez_compressed(
        path,
        prediction_s=prediction_s,
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


def draw_folds(config: Config, path: Path, cases: list[str]) -> Folds:
    """Draws the folds of a new run; reads and verifies those of an old one."""
    if processes.is_writer() and not path.exists():
        write_folds(path, make_folds(cases, folds=config.folds, seed=config.seed, holdout=config.data.holdout))
    processes.wait_for_all("folds")
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
