"""A trained run as a function of a case: its config, its objects and the state of its final fit."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.errors
import jax
import numpy as np

from tmax_jax.cohort.batches import gather, take
from tmax_jax.cohort.store import Case
from tmax_jax.defaults import Config, get_config
from tmax_jax.models.voxelwise import Estimate
from tmax_jax.parts import ExperimentError, Parts, build
from tmax_jax.results.records import RecordError, read_json
from tmax_jax.training.checkpoint import restore_saved
from tmax_jax.training.sharding import put_batch
from tmax_jax.training.state import TrainState, variables_of
from tmax_jax.training.step import make_predict_step


class Trained(NamedTuple):
    """A network that was fitted to all training patients of a run."""

    name: str  # of its config
    parts: Parts
    state: TrainState
    data: str  # it was trained on: "phantom", "real" or "mixed"


def load(run: Path) -> Trained:
    """Loads a run's final fit onto today's devices.

    Args:
      run: its folder, such as runs/unet.

    Returns:
      The network.

    Raises:
      RecordError: not a run folder, or one whose final fit is not finished.
    """
    config = read_config(run)
    folder = run / "final" / "checkpoints"
    if config.data.source == "cohort" and not (run / "final" / "cases.csv").exists():
        raise RecordError(f"{run} has no finished final fit; run its command again to go on, with --fold=final or all")
    config.batch_size = 1
    parts = build(config)
    try:
        state = restore_saved(folder, parts.shardings.replicated)
    except FileNotFoundError as error:
        raise RecordError(f"{error}; run the command of {run} again to make it") from error
    return Trained(config.name, parts, state, read_json(run / "environment.json")["data"])


def read_config(run: Path) -> Config:
    """Reads the config that a run was started with; what is newer than the run has its default.

    Raises:
      RecordError: not a run folder.
    """
    config = get_config()
    config.update(_with_tuples(read_json(run / "config.json")))
    return config


def _with_tuples(value: Any) -> Any:
    """Undoes what JSON does to tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def predict_tmax_s(trained: Trained, case: Case) -> np.ndarray:
    """Predicts one case's map.

    Args:
      trained: of `load`.
      case: with its perfusion; it needs no map.

    Returns:
      Tmax in seconds, float32 `[z, y, x]`.

    Raises:
      ExperimentError: the network was trained on scans of another number of frames, or cannot take this size.
    """
    without_target = dataclasses.replace(case, maps={"tmax": np.zeros(case.mask.shape, np.float32)})
    cohort = gather([without_target], [np.asarray(case.perfusion)])
    batch = put_batch(take(cohort, np.array([0])), trained.parts.shardings)
    step: Callable[..., Any] = make_predict_step(trained.parts.model, trained.parts.task, trained.parts.shardings)
    try:
        predicted_s, _ = step(trained.state, batch)
    except (flax.errors.ScopeParamShapeError, ValueError, TypeError) as error:
        shape = batch["perfusion"].shape[1:]
        raise ExperimentError(
            f"{trained.name} cannot take a scan of {shape} [z, y, x, time]; give it one of the size and number of"
            f" frames that it was trained on ({str(error).splitlines()[0]})"
        ) from error
    return np.asarray(jax.device_get(predicted_s))[0]


def load_estimator(run: Path) -> Callable[[jax.Array], Estimate]:
    """Loads a network that estimates delay, flow and transit time of single voxels.

    Args:
      run: its folder, such as runs/simulated.

    Returns:
      A jitted function from channels `[..., CHANNELS]`, as `Aligned.channels` gives them, to estimates `[...]`.

    Raises:
      RecordError: not a run folder, or the network gives a map alone.
    """
    trained = load(run)
    if not hasattr(trained.parts.model, "estimate"):
        raise RecordError(f"the network of {run} gives a map alone; one that estimates: --config=configs/simulated.py")
    model, variables = trained.parts.model, variables_of(trained.state)
    return jax.jit(lambda channels: model.apply(variables, channels, train=False, method="estimate"))
