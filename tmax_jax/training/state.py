"""The state of a training run: arrays only, so that a checkpoint is plain arrays too."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes, and the key that it draws from.

    Model, loss and optimiser are arguments of the step, not parts of the state.
    """

    step: jax.Array  # int32, steps taken
    params: Any
    batch_stats: Any  # running statistics of the normalisation layers, {} where there are none
    opt_state: Any
    ema: Any  # moving average of the parameters, {} where it is off
    key: jax.Array  # uint32, data of the run's random key; a step folds its number into it


def init_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    input_shape: tuple[int, ...],
    *,
    ema: bool = False,
) -> TrainState:
    """Makes the state before the first step.

    Args:
      model: takes `[case, z, y, x, time]`.
      optimizer: of the parameters.
      key: of the initialisers and of all that the steps draw.
      input_shape: `[case, z, y, x, time]`; the number of cases plays no part.
      ema: keep a moving average of the parameters.

    Returns:
      The state. Call it under `jax.jit`, which compiles the initialisers once instead of running them one by
      one, or under `jax.eval_shape`, which computes nothing.
    """
    variables = model.init(key, jnp.zeros((1, *input_shape[1:]), jnp.float32), train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        ema=params if ema else {},
        key=jax.random.key_data(jax.random.fold_in(key, 1)),
    )


def step_key(state: TrainState) -> jax.Array:
    """Returns the random key of the step that comes next: a function of seed, fold and step, so that it resumes."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)


def variables_of(state: TrainState) -> dict[str, Any]:
    """Returns the collections that `model.apply` takes to predict: the averaged parameters where there are any."""
    return {"params": state.ema or state.params, "batch_stats": state.batch_stats}
