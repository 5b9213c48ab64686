"""The optimiser: Adam, what may be done to its gradients and to its learning rate, and the average of its results."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


class OptimizerError(ValueError):
    """An optimiser that cannot be built as it was asked for."""


def learning_rate_schedule(
    learning_rate: float, *, schedule: str = "constant", warmup_steps: int = 0, steps: int = 0
) -> optax.Schedule | float:
    """Returns the learning rate, or a function of the step where it changes.

    Args:
      learning_rate: the highest.
      schedule: "constant", or "cosine", which falls to 0 at the last step.
      warmup_steps: over which it first rises in a line from 0.
      steps: of the whole training, the warm-up included.

    Raises:
      OptimizerError: an unknown schedule, or a warm-up that leaves no step after it.

    Example:
      >>> rate = learning_rate_schedule(0.1, schedule="cosine", warmup_steps=2, steps=6)
      >>> [round(float(rate(step)), 3) for step in range(7)]
      [0.0, 0.05, 0.1, 0.085, 0.05, 0.015, 0.0]

    Reference:
      Loshchilov and Hutter 2017, arXiv:1608.03983 (cosine); Goyal et al. 2017, arXiv:1706.02677 (warm-up).
    """
    if schedule not in ("constant", "cosine"):
        raise OptimizerError(f"config.optimizer.schedule is {schedule!r}; choose 'constant' or 'cosine'")
    if schedule == "constant" and not warmup_steps:
        return learning_rate
    if warmup_steps >= steps:
        raise OptimizerError(
            f"the warm-up of {warmup_steps} steps leaves none of the {steps} steps of training; shorten it"
        )
    if schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup_steps else learning_rate, learning_rate, warmup_steps, steps
        )
    return optax.linear_schedule(0.0, learning_rate, warmup_steps)


def adam(
    *,
    learning_rate: optax.Schedule | float,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """Adam, with decoupled weight decay and with clipped gradients where they are asked for.

    Args:
      learning_rate: step size, or a function of the step.
      b1: decay of the mean of the gradients.
      b2: decay of the mean of their squares.
      eps: added to the root of the second moment after bias correction. Keras adds its own before the correction,
        which amounts to `eps / sqrt(1 - b2**step)` here: 3.2e-6 in the first step for its 1e-7, falling to 1e-7
        within some thousand steps. The updates differ where gradients are that small.
      weight_decay: share of the weights that a step of learning rate 1 would take off; kernels alone, since biases and
        the scales of normalisation do not make a network more complex. 0: none.
      clip_norm: greatest norm of all gradients together; larger ones are scaled down to it. 0: no limit.

    Returns:
      The gradient transformation.

    Reference:
      Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101 (weight decay).
    """
    if weight_decay:
        adaptive = optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=_kernels)
    else:
        adaptive = optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
    return optax.chain(optax.clip_by_global_norm(clip_norm), adaptive) if clip_norm else adaptive


def moving_average(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Returns the exponential moving average of the parameters after a step.

    Args:
      average: before the step.
      params: after the step.
      step: how many were taken before this one.
      decay: share of the average that stays, in the long run. It grows to that from a tenth, so that the random
        initial parameters are forgotten at once: (1 + step) / (10 + step) at most.

    Reference:
      Polyak and Juditsky 1992, doi:10.1137/0330046.
    """
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(params, average, 1 - kept)


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda param: param.ndim > 1, params)
