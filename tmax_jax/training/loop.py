"""The loop of one fit: steps, validation, checkpoint, record; the same bits whether it is interrupted or not."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from tmax_jax.training.checkpoint import restore_epoch, save_epoch
from tmax_jax.training.state import TrainState

Record = dict[str, Any]


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where it stopped and what to do."""


def fit(
    state: TrainState,
    *,
    epochs: int,
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    batches: Callable[[int], Iterator[tuple[list[str], Any]]],
    validate: Callable[[TrainState], dict[str, float]],
    checkpoints: ocp.CheckpointManager,
    sharding: Sharding,
    on_step: Callable[[], None],
    on_epoch: Callable[[Record], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Trains from the last checkpoint, or from the start, to the last epoch.

    The order within an epoch is: batch, step, check of the *previous* step's loss (so that the device never
    waits for the host); after the last batch: validate, record, save.

    Args:
      state: before the first step; its values are replaced where a checkpoint exists.
      epochs: in all.
      train_step: jitted; donates its state.
      batches: of an epoch (counted from 0), on the device, each with the ids of its cases.
      validate: scores of a state, `{name: value}`, added to the epoch's record.
      checkpoints: an open manager.
      sharding: of a restored state.
      on_step: called once a step.
      on_epoch: called with the record of an epoch before its checkpoint is written: a kill in between repeats
        the epoch and its record.
      should_stop: asked before each epoch; must be a function of the records so far, those before an interruption
        included, so that a resumed run stops where it would have stopped.

    Returns:
      The state after the last epoch that was trained.

    Raises:
      TrainingError: a loss was not finite.
    """
    first = checkpoints.latest_step() or 0
    if first:
        state = restore_epoch(checkpoints, first, state, sharding)
    for epoch in range(first, epochs):
        if should_stop():
            break
        losses: list[float] = []
        pending: tuple[list[str], jax.Array] | None = None
        with jax.transfer_guard("disallow"):
            for case_ids, batch in batches(epoch):
                state, metrics = train_step(state, batch)
                if pending:
                    losses.append(_finite(pending, epoch, len(losses), checkpoints))
                pending = case_ids, metrics["loss"]
                on_step()
            if pending:
                losses.append(_finite(pending, epoch, len(losses), checkpoints))
            scores = validate(state)
        record = {"epoch": epoch + 1, "train_loss": sum(losses) / len(losses), **scores}
        on_epoch(record)
        save_epoch(checkpoints, epoch + 1, state, {k: v for k, v in record.items() if k != "epoch"})
    return state


def best_epoch(scores: Sequence[float]) -> int:
    """Returns the epoch, counted from 1, with the smallest score; the first one of equals.

    Example:
      >>> best_epoch([3.0, 1.0, 2.0, 1.0])
      2
    """
    return min(range(len(scores)), key=scores.__getitem__) + 1


def is_out_of_patience(scores: Sequence[float], patience_epochs: int) -> bool:
    """Says whether so many epochs have passed since the best one.

    Args:
      scores: of all epochs so far; smaller is better.
      patience_epochs: 0 for endless.

    Example:
      >>> [is_out_of_patience([3.0, 1.0, 2.0, 1.0], patience) for patience in (0, 1, 2, 3)]
      [False, True, True, False]

    Reference:
      Prechelt 1998, doi:10.1007/3-540-49430-8_3.
    """
    return bool(scores) and 0 < patience_epochs <= len(scores) - best_epoch(scores)


def _finite(pending: tuple[list[str], jax.Array], epoch: int, step: int, checkpoints: ocp.CheckpointManager) -> float:
    case_ids, loss = pending
    value = float(jax.device_get(loss))
    if math.isfinite(value):
        return value
    raise TrainingError(not_finite(value, epoch, step, case_ids, checkpoints))


def not_finite(loss: float, epoch: int, step: int, case_ids: Sequence[str], checkpoints: ocp.CheckpointManager) -> str:
    """Returns what a user should know of a loss that is not finite; epoch and step are counted from 0."""
    last = checkpoints.latest_step()
    where = f"epoch {last}, in {Path(checkpoints.directory)}" if last else "none yet"
    return (
        f"the loss is {loss} in epoch {epoch + 1}, step {step + 1} (cases {', '.join(case_ids)}); last good"
        f" checkpoint: {where}. Look at these cases' intensities and maps, or lower --config.optimizer.learning_rate"
        " in a new --workdir."
    )
