"""The jitted steps: one that learns, one that predicts and scores. Both are pure functions of state and batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tmax_jax.metrics import TmaxSums, tmax_sums
from tmax_jax.training.augment import OFF, Augmentation, augment
from tmax_jax.training.inserted import fill_inserted, slices_that_count
from tmax_jax.training.optimizer import moving_average
from tmax_jax.training.sharding import Shardings
from tmax_jax.training.state import TrainState, step_key, variables_of

Batch = dict[str, jax.Array]
Penalty = Callable[[Any, jax.Array, jax.Array], jax.Array]  # of (variables, input, mask): one value a case
Loss = Callable[..., jax.Array]
Predictor = Callable[[Batch], tuple[jax.Array, TmaxSums]]  # Tmax in seconds, and the sums of its errors
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class FurtherMap:
    """A map that is learnt beside Tmax, by an output of its own."""

    name: str  # in the store, such as "cbf"
    scale: float  # what an output of 1 stands for, in the map's unit
    weight: float = 1.0  # of its loss; that of Tmax has 1


@dataclasses.dataclass(frozen=True)
class Task:
    """What the network sees and what its output means."""

    normalise: bool  # input scaled to 0..1 per series and stripped of its background; else raw intensities
    target_scale_s: float  # seconds of Tmax that an output of 1 stands for
    loss_over: str  # "brain" or "all" voxels
    strip_prediction: bool  # Tmax is 0 outside the brain by definition
    loss_unit_s: float = 1.0  # seconds of Tmax that the loss counts as 1
    fill_inserted: bool = False  # images that were missing are interpolated in time; else zeros
    max_inserted: float = 1.0  # a slice of which a larger share of images was missing is not learnt from
    further: tuple[FurtherMap, ...] = ()  # the network's outputs after the first, which is Tmax
    channels: Callable[[Batch], jax.Array] | None = None  # what the network sees instead of the signal
    target_weight: float = 1.0  # of the loss against the target; 0: no target is used
    penalty: Penalty | None = None


NetworkInput = Callable[[Batch, Task], jax.Array]  # float32 [case, z, y, x, time]


def network_input(batch: Batch, task: Task) -> jax.Array:
    """Turns stored intensities into what the network sees.

    Args:
      batch: `perfusion [case, z, y, x, time]` in any stored type, `mask`, `intensity_min`, `intensity_max`; `inserted`
        where missing images are to be filled.
      task: says whether to normalise, and to fill.

    Returns:
      float32 `[case, z, y, x, time]`, or the channels of `task.channels`; 0 outside the mask. One mask for all frames:
      a mask a frame would flicker while the bolus passes, since the signal drops.
    """
    if task.channels:
        return task.channels(batch)
    perfusion = batch["perfusion"].astype(jnp.float32)
    if task.fill_inserted:
        perfusion = fill_inserted(perfusion, batch["inserted"])
    if task.normalise:
        low, high = (batch[name][:, None, None, None, None] for name in ("intensity_min", "intensity_max"))
        perfusion = (perfusion - low) / jnp.maximum(high - low, jnp.finfo(jnp.float32).tiny)
    return jnp.where(batch["mask"][..., None], perfusion, 0)


def outputs_of(prediction: jax.Array, task: Task) -> list[jax.Array]:
    """Splits what a network predicts into its maps, `[case, z, y, x]` each: Tmax, then the further ones."""
    if not task.further:
        return [prediction]
    return [prediction[..., channel] for channel in range(1 + len(task.further))]


def given_input(batch: Batch, task: Task) -> jax.Array:
    """Takes the images for what the network sees: those of condensed patients, which are normalised already."""
    del task
    return batch["perfusion"]


def input_shape(shape: tuple[int, ...], task: Task) -> tuple[int, ...]:
    """Returns the shape of what the network sees.

    Args:
      shape: `(case, z, y, x, time)` of the perfusion.
      task: says what that is.

    Example:
      >>> input_shape((1, 24, 128, 128, 60), Task(True, 20.0, "brain", True))
      (1, 24, 128, 128, 60)
    """
    case = jax.ShapeDtypeStruct(shape[:1], jnp.float32)
    batch = {
        "perfusion": jax.ShapeDtypeStruct(shape, jnp.float32),
        "mask": jax.ShapeDtypeStruct(shape[:-1], jnp.bool_),
        "inserted": jax.ShapeDtypeStruct((*shape[:2], shape[-1]), jnp.bool_),
    } | dict.fromkeys(("intensity_min", "intensity_max", "frame_interval_s"), case)
    return jax.eval_shape(lambda batch: network_input(batch, task), batch).shape


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    task: Task,
    shardings: Shardings,
    *,
    augmentation: Augmentation = OFF,
    ema_decay: float = 0.0,
    network_input: NetworkInput = network_input,
) -> TrainStep:
    """Builds the step that learns.

    Args:
      model: `[case, z, y, x, time]` -> `[case, z, y, x]`.
      optimizer: of the parameters.
      loss: one value a case.
      task: meaning of input and output.
      shardings: where state and batch live.
      augmentation: variation of the cases.
      ema_decay: of the moving average of the parameters, where the state keeps one.
      network_input: of a batch.

    Returns:
      A jitted function of (state, batch) that gives the new state and `{"loss", "grad_norm"}`. The old state is
      donated. Cases with `valid` False change nothing.
    """
    return jax.jit(
        train_step(
            model,
            optimizer,
            loss,
            task,
            augmentation=augmentation,
            ema_decay=ema_decay,
            network_input=network_input,
        ),
        in_shardings=(shardings.replicated, None),  # a batch lies where it was put
        out_shardings=(shardings.replicated, shardings.replicated),
        donate_argnums=0,
    )


def train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    task: Task,
    *,
    augmentation: Augmentation = OFF,
    ema_decay: float = 0.0,
    network_input: NetworkInput = network_input,
) -> TrainStep:
    """Returns what `make_train_step` compiles; arguments as there."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        dropout_key, augment_key = jax.random.split(step_key(state))
        batch = augment(augment_key, batch, augmentation)

        def objective(params: Any) -> tuple[jax.Array, Any]:
            variables = variables_of(state) | {"params": params}
            seen = network_input(batch, task)
            prediction, updated = model.apply(
                variables,
                seen,
                train=True,
                valid=batch["valid"],
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            where = batch["mask"] if task.loss_over == "brain" else None
            if task.max_inserted < 1:
                counts = slices_that_count(batch["inserted"], task.max_inserted)[..., None, None]
                where = jnp.broadcast_to(counts, batch["mask"].shape) if where is None else where & counts
            factor = task.target_scale_s / task.loss_unit_s
            tmax, *others = outputs_of(prediction, task)
            per_case = loss(tmax * factor, batch["tmax_s"] / task.loss_unit_s, where=where)
            for output, target in zip(others, task.further, strict=True):
                # Counted as if it were a Tmax of the same size on its scale, so that one loss serves all maps.
                true = batch[f"map_{target.name}"] * (factor / target.scale)
                per_case += target.weight * loss(output * factor, true, where=where)
            if task.penalty:
                per_case = task.target_weight * per_case + task.penalty(variables, seen, batch["mask"])
            mean = jnp.sum(jnp.where(batch["valid"], per_case, 0)) / jnp.maximum(jnp.sum(batch["valid"]), 1)
            return mean, updated.get("batch_stats", {})

        (value, batch_stats), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
        after = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=moving_average(state.ema, params, state.step, ema_decay) if state.ema else state.ema,
        )
        return after, metrics

    return step


def strip_and_score(prediction_s: jax.Array, batch: Batch, task: Task) -> tuple[jax.Array, TmaxSums]:
    """Strips a predicted map as the task wants it, and sums up its errors.

    Args:
      prediction_s: float32 `[case, z, y, x]`, predicted Tmax in seconds.
      batch: `tmax_s`, `mask`, `spacing_mm` and `valid` are used.
      task: says whether to strip.

    Returns:
      Tmax in seconds, `[case, z, y, x]`, and the sums of each case; cases with `valid` False count nothing.
    """
    if task.strip_prediction:
        prediction_s = jnp.where(batch["mask"], prediction_s, 0)
    sums = tmax_sums(prediction_s, batch["tmax_s"], batch["mask"], spacing_mm=batch["spacing_mm"], valid=batch["valid"])
    return prediction_s, sums


def make_predict_step(
    model: nn.Module, task: Task, shardings: Shardings
) -> Callable[[TrainState, Batch], tuple[jax.Array, TmaxSums]]:
    """Builds the step that predicts and scores.

    Args:
      model: `[case, z, y, x, time]` -> `[case, z, y, x]`.
      task: meaning of input and output.
      shardings: where state and batch live.

    Returns:
      A jitted function of (state, batch) that gives Tmax in seconds, `[case, z, y, x]`, and the sums of its
      errors a case.
    """

    def predict_step(state: TrainState, batch: Batch) -> tuple[jax.Array, TmaxSums]:
        output: Any = model.apply(variables_of(state), network_input(batch, task), train=False)
        return strip_and_score(outputs_of(output, task)[0] * task.target_scale_s, batch, task)

    return jax.jit(
        predict_step,
        in_shardings=(shardings.replicated, None),  # a batch lies where it was put
        out_shardings=(shardings.per_row, shardings.replicated),
    )
