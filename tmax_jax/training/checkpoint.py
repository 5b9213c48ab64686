"""Checkpoints: the latest, to go on from, and the best; written whole or not at all."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep
from orbax.checkpoint.checkpoint_managers import save_decision_policy as save

from tmax_jax.training.state import TrainState


class CheckpointError(ValueError):
    """Checkpoints that are not there, or not of this network."""


def open_checkpoints(folder: Path, *, score: str) -> ocp.CheckpointManager:
    """Opens a folder of checkpoints, one an epoch.

    Args:
      folder: made if absent.
      score: the metric whose smallest value marks the best epoch.

    Returns:
      A manager that keeps the latest and the best epoch. (Keeping only the best would delete the newest, and a
      resumed run would silently start again from the best one.)
    """
    policy = keep.AnyPreservationPolicy(
        [
            keep.LatestN(1),
            keep.BestN(get_metric_fn=lambda metrics: metrics[score], reverse=True, n=1),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=lambda metrics: metrics[score],  # without it no score is written, and a resumed run forgets the best
        best_mode="min",
        save_decision_policy=save.FixedIntervalPolicy(1),
        enable_async_checkpointing=False,  # the state is small and the next epoch donates its buffers
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


def save_epoch(manager: ocp.CheckpointManager, epoch: int, state: TrainState, metrics: dict[str, float]) -> None:
    """Writes the state after an epoch; a kill at any moment leaves this checkpoint whole or absent."""
    manager.save(epoch, args=ocp.args.StandardSave(state), metrics=metrics)


def restore_epoch(manager: ocp.CheckpointManager, epoch: int, template: TrainState, sharding: Sharding) -> TrainState:
    """Reads the state after an epoch onto today's devices.

    Args:
      manager: of the folder.
      epoch: one of `manager.all_steps()`.
      template: a state, or shapes of one.
      sharding: where the arrays go; the run that wrote them may have had other devices.

    Returns:
      The state.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), template)
    state: Any = manager.restore(epoch, args=ocp.args.StandardRestore(shapes))
    return state


def restore_saved(folder: Path, sharding: Sharding) -> TrainState:
    """Reads the latest state as it was saved, without a template: for a network that is used, not trained on.

    Args:
      folder: of `open_checkpoints`.
      sharding: where the arrays go.

    Returns:
      The state; its optimiser's part is plain dictionaries.

    Raises:
      FileNotFoundError: there is no checkpoint in the folder.
    """
    with ocp.CheckpointManager(folder.absolute(), item_handlers=ocp.StandardCheckpointHandler()) as manager:
        epoch = manager.latest_step()
        if epoch is None:
            raise FileNotFoundError(f"{folder} holds no checkpoint")
        saved: Any = manager.item_metadata(epoch)
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), saved.tree)
        state: Any = manager.restore(epoch, args=ocp.args.StandardRestore(shapes))
    return TrainState(**state)


def start_from(folder: Path, state: TrainState, sharding: Sharding) -> TrainState:
    """Gives a new state the parameters that another run ended with, to be trained on.

    Args:
      folder: of that run's checkpoints.
      state: before the first step.
      sharding: of the parameters.

    Returns:
      The state with these parameters, as its moving average too where it keeps one; all else is as it was.

    Raises:
      CheckpointError: the folder holds no checkpoint, or one of another network; the first difference is named.
    """
    try:
        saved = restore_saved(folder, sharding)
    except FileNotFoundError as error:
        raise CheckpointError(f"config.start_from: {error}; train that run first") from error
    params = saved.ema or saved.params
    there, here = _shapes(params), _shapes(state.params)
    different = [name for name in sorted(there | here) if there.get(name) != here.get(name)]
    if different:
        name = different[0]
        raise CheckpointError(
            f"config.start_from: the network of {folder} is another one: {name} is {there.get(name, 'absent')} there"
            f" and {here.get(name, 'absent')} here ({len(different)} such). Give this config that run's config.model"
            " and config.data.inputs."
        )
    return dataclasses.replace(state, params=params, ema=jax.tree.map(jnp.copy, params) if state.ema else state.ema)


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}
