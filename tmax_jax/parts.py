"""From a config to the objects that it describes: model, optimiser, loss and what they are to each other."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import optax

from tmax_jax import losses, models
from tmax_jax.defaults import Config
from tmax_jax.models.consistency import make_penalty
from tmax_jax.models.inputs import make_channels
from tmax_jax.training.augment import Augmentation
from tmax_jax.training.optimizer import OptimizerError, adam, learning_rate_schedule
from tmax_jax.training.sharding import Shardings, make_shardings
from tmax_jax.training.step import Loss, Task


class ExperimentError(ValueError):
    """An experiment that cannot be run as it was asked for."""


class Parts(NamedTuple):
    """What a config describes, as objects."""

    model: nn.Module
    optimizer: Callable[[int], optax.GradientTransformation]  # of the number of steps an epoch
    loss: Loss
    task: Task
    shardings: Shardings
    augmentation: Augmentation
    ema_decay: float


def build(config: Config) -> Parts:
    """Makes the objects that a config names.

    Raises:
      ExperimentError: an unknown loss or schedule, or a value outside its choices.
      ModelError: an unknown model or field.
    """
    loss_options = config.loss.to_dict()
    over, unit_s = loss_options.pop("over"), loss_options.pop("unit_s")
    target_weight, consistency = loss_options.pop("target_weight"), loss_options.pop("consistency")
    name = loss_options.pop("name")
    if name not in losses.LOSSES:
        raise ExperimentError(f"config.loss.name is {name!r}; choose one of: {', '.join(losses.LOSSES)}")
    if over not in ("brain", "all"):
        raise ExperimentError(f"config.loss.over is {over!r}; choose 'brain' or 'all'")
    for field in ("epochs", "batch_size"):
        if config[field] < 1:
            raise ExperimentError(f"config.{field} is {config[field]}; it must be at least 1")
    _check_augmentation(config.augment)
    if not 0 <= config.ema_decay < 1:
        raise ExperimentError(f"config.ema_decay is {config.ema_decay}; it must be 0 (off) or below 1")
    model = models.build(**config.model.to_dict())
    return Parts(
        model=model,
        optimizer=_optimizer(config),
        loss=functools.partial(losses.LOSSES[name], **loss_options),
        task=Task(
            config.data.normalise,
            config.target.scale_s,
            over,
            config.target.strip,
            unit_s,
            channels=make_channels(config.data.inputs),
            target_weight=target_weight,
            penalty=make_penalty(model, consistency) if consistency else None,
        ),
        shardings=make_shardings(config.batch_size),  # until the rows of the images are known
        augmentation=Augmentation(**config.augment.to_dict()),
        ema_decay=config.ema_decay,
    )


def _optimizer(config: Config) -> Callable[[int], optax.GradientTransformation]:
    """Returns what makes the optimiser; epochs become steps once it is known how many patients train."""
    options = config.optimizer.to_dict()
    rate, schedule, warmup = (options.pop(name) for name in ("learning_rate", "schedule", "warmup_epochs"))

    def make(steps_an_epoch: int) -> optax.GradientTransformation:
        steps, warmup_steps = config.epochs * steps_an_epoch, warmup * steps_an_epoch
        learning_rate = learning_rate_schedule(rate, schedule=schedule, warmup_steps=warmup_steps, steps=steps)
        return adam(learning_rate=learning_rate, **options)

    if not 0 <= warmup < config.epochs:
        raise ExperimentError(
            f"config.optimizer.warmup_epochs is {warmup}; it must be at least 0 and below the {config.epochs} epochs"
        )
    try:
        make(1)
    except OptimizerError as error:
        raise ExperimentError(str(error)) from None
    return make


def _check_augmentation(strengths: Config) -> None:
    for name, value in strengths.items():
        top = {"percent": 100, "probability": 1}.get(name.rsplit("_", 1)[-1], math.inf)
        if not 0 <= value <= top:
            wanted = "at least 0" if top == math.inf else f"between 0 and {top}"
            raise ExperimentError(f"config.augment.{name} is {value}; it must be {wanted}")
