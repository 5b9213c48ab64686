"""Many fits of one linear network in one program: they differ in learning rate, patients and seed.

A fit is one fold of one run. The fits' states are stacked along a leading axis, over which the ordinary step is mapped,
and a device mesh splits that axis. They learn from condensed patients (`cohort/sigma_points.py`), which lie on the
device as a whole; each fit takes its own patients in its own order, so nothing of a fit depends on the others.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from tmax_jax.metrics import TmaxSums
from tmax_jax.training.sharding import Shardings
from tmax_jax.training.state import TrainState, init_state, variables_of
from tmax_jax.training.step import Batch, Loss, Task, given_input, network_input, strip_and_score, train_step

Optimizer = Callable[[Any], optax.GradientTransformation]  # of a learning rate


def stack(states: Sequence[TrainState]) -> TrainState:
    """Stacks the states of fits, on the host: every array gains a leading axis `[fit]`."""
    return jax.tree.map(lambda *leaves: np.stack(jax.device_get(leaves)), *states)


def unstack(states: TrainState, fit: int) -> TrainState:
    """Returns the state of one fit, out of stacked ones on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[fit]), states)


def make_group_init(
    model: nn.Module, optimizer: Optimizer, input_shape: tuple[int, ...], *, ema: bool, shardings: Shardings
) -> Callable[[jax.Array], TrainState]:
    """Builds what makes the states before the first step; arguments as of `init_state`.

    Returns:
      A jitted function of the keys' data, uint32 `[fit, word]`, that gives stacked states, each the one
      that its key alone would give.
    """

    def init(key: jax.Array) -> TrainState:
        return init_state(
            model, optimizer(1.0), jax.random.wrap_key_data(key), input_shape, ema=ema
        )  # no rate is part of the state

    return jax.jit(jax.vmap(init), out_shardings=shardings.per_case)


def make_group_epoch(
    model: nn.Module, optimizer: Optimizer, loss: Loss, task: Task, *, ema_decay: float, shardings: Shardings
) -> Callable[[TrainState, jax.Array, Batch, jax.Array], tuple[TrainState, jax.Array]]:
    """Builds the epoch of a group.

    Args:
      model: linear in the frames.
      optimizer: of a learning rate.
      loss: the squared error.
      task: meaning of input and output.
      ema_decay: of the moving average of the parameters, where the states keep one.
      shardings: where things live; `per_case` splits the fits over the devices.

    Returns:
      A jitted function of states `[fit, ...]`, learning rates `[fit]`, condensed patients `[case, ...]` and rows int
      `[fit, step, case]`, the patients of each fit's steps. It gives new states and the losses `[fit, step]`. Where a
      row is negative there is no patient; a step without any leaves its fit as it was, so that fits of unequal length
      go together. The old states are donated.
    """

    def step(state: TrainState, rate: jax.Array, patients: Batch, row: jax.Array) -> tuple[TrainState, jax.Array]:
        batch = jax.tree.map(lambda values: values[jnp.maximum(row, 0)], patients) | {"valid": row >= 0}
        learn = train_step(model, optimizer(rate), loss, task, ema_decay=ema_decay, network_input=given_input)
        after, metrics = learn(state, batch)
        learns = jnp.any(batch["valid"])
        return jax.tree.map(lambda new, old: jnp.where(learns, new, old), after, state), metrics["loss"]

    def epoch(states: TrainState, rates: jax.Array, patients: Batch, rows: jax.Array) -> tuple[TrainState, jax.Array]:
        def all_fits(states: TrainState, rows: jax.Array) -> tuple[TrainState, jax.Array]:
            return jax.vmap(step, (0, 0, None, 0))(states, rates, patients, rows)

        states, losses = lax.scan(all_fits, states, jnp.swapaxes(rows, 0, 1))
        return states, jnp.swapaxes(losses, 0, 1)

    fits, whole = shardings.per_case, shardings.replicated
    return jax.jit(epoch, in_shardings=(fits, fits, whole, fits), out_shardings=(fits, fits), donate_argnums=0)


def make_group_predict(
    model: nn.Module, task: Task, shardings: Shardings
) -> Callable[[TrainState, jax.Array, Batch], tuple[jax.Array, TmaxSums]]:
    """Builds what predicts one patient by several fits, whose images are then read once.

    Args:
      model: linear in the frames.
      task: meaning of input and output.
      shardings: `per_case` splits the fits over the devices.

    Returns:
      A jitted function of states `[fit, ...]`, the chosen fits (int `[place]`) and a batch of one patient. It gives
      Tmax in seconds, `[place, z, y, x]`, and the sums of its errors, each as `make_predict_step` gives them.
    """

    def predict(states: TrainState, fits: jax.Array, batch: Batch) -> tuple[jax.Array, TmaxSums]:
        chosen = variables_of(jax.tree.map(lambda leaf: leaf[fits], states))
        frames = batch["perfusion"].shape[-1]
        weights, offsets = jax.vmap(lambda variables: affine_map(model, variables, frames))(chosen)
        output = jnp.einsum("zyxt,ft->fzyx", network_input(batch, task)[0], weights) + offsets[:, None, None, None]
        truth = {name: batch[name] for name in ("tmax_s", "mask", "spacing_mm", "valid")}
        repeated = jax.tree.map(lambda values: jnp.broadcast_to(values, (len(fits), *values.shape[1:])), truth)
        return strip_and_score(output * task.target_scale_s, repeated, task)

    fits, whole = shardings.per_case, shardings.replicated
    return jax.jit(predict, in_shardings=(fits, fits, whole), out_shardings=(fits, fits))


def affine_map(model: nn.Module, variables: dict[str, Any], frames: int) -> tuple[jax.Array, jax.Array]:
    """Folds a linear network, batch normalisation and all, into one weight a frame and an offset.

    Args:
      model: linear in the frames.
      variables: of the network.
      frames: of a curve.

    Returns:
      Weights `[time]` and the offset.
    """

    def output(curve: jax.Array) -> jax.Array:
        return model.apply(variables, curve.reshape(1, 1, 1, 1, -1), train=False).reshape(())  # pyright: ignore

    offset, weights = jax.value_and_grad(output)(jnp.zeros(frames))
    return weights, offset
