"""A trained run as a function of a case: its config, its objects and the state of its final fit."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.cohort.batches import gather, take
from tmax_jax.cohort.store import Case
from tmax_jax.defaults import Config, get_config
from tmax_jax.models.voxelwise import QUANTITIES, Estimate
from tmax_jax.parts import ExperimentError, Parts, build
from tmax_jax.perfusion.alignment import align
from tmax_jax.results.records import RecordError, read_json
from tmax_jax.training.checkpoint import restore_saved
from tmax_jax.training.further import make_further_step
from tmax_jax.training.sharding import put_batch
from tmax_jax.training.state import TrainState, variables_of
from tmax_jax.training.step import make_predict_step

_BLOCK = 1 << 14  # voxels


class Trained(NamedTuple):
    """A network that was fitted to all training patients of a run."""

    name: str  # of its config
    parts: Parts
    state: TrainState
    data: str  # it was trained on: "phantom", "real" or "mixed"
    voxelwise: bool  # fitted to simulated curves: it estimates flow and transit time from any scan's curves and artery


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
    data = read_json(run / "environment.json")["data"]
    return Trained(config.name, parts, state, data, config.data.source == "simulated")


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


def predict_maps(trained: Trained, case: Case) -> dict[str, np.ndarray]:
    """Predicts one case's maps from its signal.

    Args:
      trained: of `load`.
      case: with its perfusion; it needs no map.

    Returns:
      Tmax in seconds, and the maps that were learnt beside it in their units; by name, float32 `[z, y, x]`.

    Raises:
      ExperimentError: the network was trained on scans of another number of frames, or cannot take this size.
    """
    without_target = dataclasses.replace(case, maps={"tmax": np.zeros(case.mask.shape, np.float32)})
    cohort = gather([without_target], [np.asarray(case.perfusion)])
    batch = put_batch(take(cohort, np.array([0])), trained.parts.shardings)
    parts = trained.parts.model, trained.parts.task, trained.parts.shardings
    step: Callable[..., Any] = make_predict_step(*parts)
    try:
        predicted_s, _ = step(trained.state, batch)
        further = make_further_step(*parts)(trained.state, batch) if trained.parts.task.further else {}
    except (flax.errors.ScopeParamShapeError, ValueError, TypeError) as error:
        shape = batch["perfusion"].shape[1:]
        raise ExperimentError(
            f"{trained.name} cannot take a scan of {shape} [z, y, x, time]; give it one of the size and number of"
            f" frames that it was trained on ({str(error).splitlines()[0]})"
        ) from error
    return {name: np.asarray(jax.device_get(values))[0] for name, values in {"tmax": predicted_s, **further}.items()}


def estimate_maps(
    trained: Trained, concentration: jax.Array, artery: np.ndarray, tissue: np.ndarray, *, dt: float
) -> dict[str, np.ndarray]:
    """Estimates the maps of a scan's curves, some thousand voxels at a time.

    Args:
      trained: of `load`, `voxelwise`.
      concentration: `[z, y, x, time]`, dR2* in 1/s.
      artery: `[time]`, in the same unit.
      tissue: bool `[z, y, x]`, the voxels to estimate.
      dt: seconds between frames.

    Returns:
      By name, float32 `[z, y, x]`, 0 outside the tissue: `cbf` (ml/100 g/min), `cbv` (ml/100 g), `mtt` (s), `tmax` (s)
      as a classical deconvolution would read it without noise, `tmax_uncertainty` (s), to either side, within which the
      network expects nine truths of ten, and `delay` (s) of the arterial blood, negative where tissue is fed before the
      artery.
    """
    model, variables = trained.parts.model, variables_of(trained.state)

    @jax.jit
    def estimate(variables: Any, curves: jax.Array, artery: jax.Array, dt: jax.Array) -> dict[str, jax.Array]:
        channels = align(curves, artery, dt=dt).channels()
        found: Any = model.apply(variables, channels, train=False, method="estimate")
        return {
            "cbf": found.cbf,
            "cbv": found.cbv,
            "mtt": found.mtt_s,
            "tmax": found.classical_s,
            "tmax_uncertainty": jnp.log(10.0) * found.scales[..., QUANTITIES.index("classical")],
            "delay": found.delay_s,
        }

    curves = np.asarray(concentration)[tissue]
    blocks = []
    for start in range(0, len(curves), _BLOCK):
        block = curves[start : start + _BLOCK]
        padded = np.pad(block, ((0, _BLOCK - len(block)), (0, 0)))  # one shape, compiled once
        found = jax.device_get(estimate(variables, padded, artery, jnp.float32(dt)))
        blocks.append({name: values[: len(block)] for name, values in found.items()})
    maps = {}
    for name in blocks[0]:
        maps[name] = np.zeros(tissue.shape, np.float32)
        maps[name][tissue] = np.concatenate([block[name] for block in blocks])
    return maps


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
