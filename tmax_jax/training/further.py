"""Prediction of the maps that are learnt beside Tmax."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.training.sharding import Shardings
from tmax_jax.training.state import TrainState, variables_of
from tmax_jax.training.step import Batch, Task, network_input, outputs_of


def make_further_step(
    model: nn.Module, task: Task, shardings: Shardings
) -> Callable[[TrainState, Batch], dict[str, jax.Array]]:
    """Builds the step that predicts the maps beside Tmax.

    Args:
      model: `[case, z, y, x, time]` -> `[case, z, y, x, output]`.
      task: names the maps.
      shardings: where state and batch live.

    Returns:
      A jitted function of (state, batch) that gives each map by its name, `[case, z, y, x]` in its unit, 0 outside
      the brain where the task strips.
    """

    def further_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        output: Any = model.apply(variables_of(state), network_input(batch, task), train=False)
        where = batch["mask"] if task.strip_prediction else jnp.ones_like(batch["mask"])
        return {
            target.name: jnp.where(where, values * target.scale, 0)
            for values, target in zip(outputs_of(output, task)[1:], task.further, strict=True)
        }

    return jax.jit(further_step, in_shardings=(shardings.replicated, None), out_shardings=shardings.per_row)
