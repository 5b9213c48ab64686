"""The state of a training run: arrays only, so that a checkpoint is plain arrays too."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Model, loss and optimiser are arguments of the step, not parts of the state.
    """

    step: jax.Array  # int32, steps taken
    params: Any
    batch_stats: Any  # running statistics of the normalisation layers, {} where there are none
    opt_state: Any


def init_state(
    model: nn.Module, optimizer: optax.GradientTransformation, key: jax.Array, input_shape: tuple[int, ...]
) -> TrainState:
    """Makes the state before the first step.

    Args:
      model: takes `[case, z, y, x, time]`.
      optimizer: of the parameters.
      key: of the initialisers.
      input_shape: `[case, z, y, x, time]`; the number of cases plays no part.

    Returns:
      The state. Call it under `jax.jit`, which compiles the initialisers once instead of running them one by
      one, or under `jax.eval_shape`, which computes nothing.
    """
    variables = model.init(key, jnp.zeros((1, *input_shape[1:]), jnp.float32), train=False)
    params = variables["params"]
    return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), optimizer.init(params))


def variables_of(state: TrainState) -> dict[str, Any]:
    """Returns the collections that `model.apply` takes."""
    return {"params": state.params, "batch_stats": state.batch_stats}
