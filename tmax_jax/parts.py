"""From a config to the objects that it describes: model, optimiser, loss and what they are to each other."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import optax

from tmax_jax import losses, models
from tmax_jax.defaults import Config
from tmax_jax.models.consistency import make_penalty
from tmax_jax.models.inputs import make_channels
from tmax_jax.models.pointwise import OneLayer, TwoLayer
from tmax_jax.training.augment import OFF, Augmentation
from tmax_jax.training.optimizer import OptimizerError, adam, learning_rate_schedule
from tmax_jax.training.sharding import Shardings, make_shardings
from tmax_jax.training.step import FurtherMap, Loss, Task


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
    is_linear: bool  # in the frames, and learnt by the squared error: moments of a patient are all that it needs


def build(config: Config) -> Parts:
    """Makes the objects that a config names.

    Raises:
      ExperimentError: an unknown loss or schedule, or a value outside its choices.
      ModelError: an unknown model or field.
    """
    loss_options = config.loss.to_dict()
    voxels, unit_s, max_inserted = (loss_options.pop(name) for name in ("voxels", "unit_s", "max_inserted_percent"))
    target_weight, consistency = loss_options.pop("target_weight"), loss_options.pop("consistency")
    loss = _loss(**loss_options)
    if voxels not in ("brain", "all"):
        raise ExperimentError(f"config.loss.voxels is {voxels!r}; choose 'brain' or 'all'")
    if not 0 <= max_inserted <= 100:
        raise ExperimentError(f"config.loss.max_inserted_percent is {max_inserted}; it must be between 0 and 100")
    for field in ("epochs", "batch_size"):
        if config[field] < 1:
            raise ExperimentError(f"config.{field} is {config[field]}; it must be at least 1")
    _check_augmentation(config.augment)
    if not 0 <= config.ema_decay < 1:
        raise ExperimentError(f"config.ema_decay is {config.ema_decay}; it must be 0 (off) or below 1")
    further = _further(config.target.further.to_dict())
    outputs = {"outputs": 1 + len(further)} if further else {}
    model = models.build(**config.model.to_dict() | outputs)
    linear = isinstance(model, OneLayer | TwoLayer) and model.outputs == 1 and model.dtype == "float32"
    augmentation = Augmentation(**config.augment.to_dict())
    return Parts(
        model=model,
        optimizer=_optimizer(config),
        loss=loss,
        task=Task(
            normalise=config.data.normalise,
            target_scale_s=config.target.scale_s,
            loss_over=voxels,
            strip_prediction=config.target.strip,
            loss_unit_s=unit_s,
            fill_inserted=config.data.fill_inserted,
            max_inserted=max_inserted / 100,
            further=further,
            channels=make_channels(config.data.inputs),
            target_weight=target_weight,
            penalty=make_penalty(model, consistency) if consistency else None,
        ),
        shardings=make_shardings(config.batch_size),  # until the rows of the images are known
        augmentation=augmentation,
        ema_decay=config.ema_decay,
        is_linear=linear
        and (config.loss.name, augmentation) == ("squared_error", OFF)
        and not config.data.fill_inserted
        and max_inserted == 100
        and tuple(config.data.inputs) == ("signal",)
        and (target_weight, consistency) == (1, 0),
    )


def _further(maps: dict[str, dict[str, float]]) -> tuple[FurtherMap, ...]:
    for name, options in maps.items():
        if not {"scale"} <= set(options) <= {"scale", "weight"} or not options["scale"] > 0:
            raise ExperimentError(
                f"config.target.further.{name} is {options}; it must have a scale above 0 and may have a weight"
            )
    return tuple(FurtherMap(name, **options) for name, options in maps.items())


def _loss(name: str, **options: Any) -> Loss:
    """Returns a loss with its options bound; terms of a `weighted_sum` are `{name of a loss: {"weight": w, ...}}`."""
    if name not in losses.LOSSES:
        raise ExperimentError(f"config.loss.name is {name!r}; choose one of: {', '.join(losses.LOSSES)}")
    if name == "weighted_sum":
        terms = options.get("terms") or {}
        if not terms:
            raise ExperimentError("config.loss.terms names no loss to add up; e.g. {'squared_error': {'weight': 1.0}}")
        options["terms"] = [_term(name, **options_of_term) for name, options_of_term in terms.items()]
    return functools.partial(losses.LOSSES[name], **options)


def _term(name: str, *, weight: float = 1.0, **options: Any) -> tuple[float, Loss]:
    return weight, _loss(name, **options)


def make_adam(config: Config) -> Callable[[Any], optax.GradientTransformation]:
    """Returns what makes the config's optimiser of a learning rate: a number, an array or a schedule."""
    options = config.optimizer.to_dict()
    for name in ("learning_rate", "schedule", "warmup_epochs"):
        options.pop(name)
    return lambda rate: adam(learning_rate=rate, **options)


def _optimizer(config: Config) -> Callable[[int], optax.GradientTransformation]:
    """Returns what makes the optimiser; epochs become steps once it is known how many patients train."""
    rate, schedule = config.optimizer.learning_rate, config.optimizer.schedule
    warmup, of_rate = config.optimizer.warmup_epochs, make_adam(config)

    @functools.cache  # so that folds of one length share a compiled step
    def make(steps_an_epoch: int) -> optax.GradientTransformation:
        steps, warmup_steps = config.epochs * steps_an_epoch, warmup * steps_an_epoch
        learning_rate = learning_rate_schedule(rate, schedule=schedule, warmup_steps=warmup_steps, steps=steps)
        return of_rate(learning_rate)

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
