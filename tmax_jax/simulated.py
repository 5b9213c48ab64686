"""Training on curves that are simulated inside the jitted step, never the same twice; no patient and no file.

Reads the config's `simulation`, as `experiment.py` reads the rest: what is drawn, and how much of it a step.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from rich.console import Console

from tmax_jax import parts
from tmax_jax.defaults import Config
from tmax_jax.fold import FINAL, recorded_fit
from tmax_jax.models.consistency import curve_misfit
from tmax_jax.models.voxelwise import Estimate
from tmax_jax.perfusion.alignment import CHANNELS, Aligned, align
from tmax_jax.perfusion.curves import Ranges, draw_scan
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.parametric import tmax_s
from tmax_jax.results.environment import describe_environment
from tmax_jax.results.records import write_json
from tmax_jax.training.checkpoint import start_from
from tmax_jax.training.state import TrainState, init_state, step_key, variables_of

_VALIDATION_KEY = 2**31 - 1  # no step's


class Curves(NamedTuple):
    """Simulated curves as a network sees them, and their truth; the leading axis is the curve."""

    channels: jax.Array  # [curve, CHANNELS]
    truth: jax.Array  # [curve, 4]: delay (s), classical Tmax (s), log CBF, log MTT


def draw_curves(key: jax.Array, ranges: Ranges, *, scans: int, curves: int, frames: int) -> Curves:
    """Draws scans and aligns their curves.

    Args:
      key: of `jax.random`.
      ranges: between which values to draw.
      scans: how many, each with its own artery, frame interval and noise.
      curves: of a scan.
      frames: of a scan.

    Returns:
      `scans * curves` curves.
    """

    def one(key: jax.Array) -> Curves:
        scan = draw_scan(key, curves=curves, frames=frames, ranges=ranges)
        residue = deconvolve(scan.clean, scan.clean_aif, dt=scan.dt, method="csvd")
        classical_s = tmax_s(residue, dt=scan.dt)
        tissue = scan.tissue
        truth = (tissue.delay_s, classical_s, jnp.log(tissue.cbf), jnp.log(tissue.mtt_s))
        return Curves(align(scan.concentration, scan.aif, dt=scan.dt).channels(), jnp.stack(truth, axis=-1))

    found = jax.vmap(one)(jax.random.split(key, scans))
    return jax.tree.map(lambda values: values.reshape(-1, values.shape[-1]), found)


def negative_log_likelihood(estimate: Estimate, truth: jax.Array) -> jax.Array:
    """Returns how unlikely the truth is under the Laplace distributions that a network gives, without constants.

    Args:
      estimate: fields `[curve]`.
      truth: `[curve, 4]`, as in `Curves`.

    Returns:
      `[curve]`, the mean of the four quantities.
    """
    median = jnp.stack(estimate[:4], axis=-1)
    return jnp.mean(jnp.abs(median - truth) / estimate.scales + jnp.log(estimate.scales), axis=-1)


def make_simulated_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    draw: Callable[[jax.Array], Curves],
    *,
    target_weight: float = 1.0,
    consistency: float = 0.0,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds the step that draws its own curves and learns from them.

    Args:
      model: with a method `estimate`.
      optimizer: of the parameters.
      draw: curves from a key.
      target_weight: of the likelihood of the truth; 0 learns without it.
      consistency: weight of log(1 + misfit) between measured curves and those that the estimates predict.

    Returns:
      A jitted function of (state, anything) as `training.loop.fit` takes it; the old state is donated.
    """

    def train_step(state: TrainState, _: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        curves = draw(step_key(state))

        def objective(params: Any) -> jax.Array:
            estimate: Any = model.apply({"params": params}, curves.channels, train=True, method="estimate")
            value = target_weight * jnp.mean(negative_log_likelihood(estimate, curves.truth))
            if consistency:
                misfit = curve_misfit(estimate, Aligned.from_channels(curves.channels))
                value = value + consistency * jnp.mean(jnp.log1p(misfit))
            return value

        value, grads = jax.value_and_grad(objective)(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        after = dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state)
        return after, {"loss": value, "grad_norm": optax.tree.norm(grads)}

    return jax.jit(train_step, donate_argnums=0)


def make_validation(model: nn.Module, curves: Curves) -> Callable[[TrainState], dict[str, float]]:
    """Returns what scores a state on curves that no step has drawn.

    Args:
      model: with a method `estimate`.
      curves: to score on.

    Returns:
      A function from a state to mean absolute errors in seconds, and the share of delays within their 90 % interval.
    """

    @jax.jit
    def scores(state: TrainState, curves: Curves) -> dict[str, jax.Array]:
        estimate: Any = model.apply(variables_of(state), curves.channels, train=False, method="estimate")
        error_s = jnp.abs(estimate.delay_s - curves.truth[:, 0])
        return {
            "delay_mae_s": jnp.mean(error_s),
            "classical_mae_s": jnp.mean(jnp.abs(estimate.classical_s - curves.truth[:, 1])),
            "delay_coverage_90": jnp.mean(error_s < jnp.log(10.0) * estimate.scales[:, 0]),
        }

    return lambda state: {name: float(value) for name, value in jax.device_get(scores(state, curves)).items()}


def run(config: Config, workdir: Path, *, console: Console) -> None:
    """Trains on simulated curves; goes on where an earlier run stopped.

    Args:
      config: see `defaults.py`; `config.simulation` says what is drawn.
      workdir: the run folder, claimed already.
      console: for progress and messages.

    Raises:
      ExperimentError: the network does not estimate what is simulated, or an unknown range.
      TrainingError: the loss was not finite.
    """
    built = parts.build(config)
    draw = draw_function(config)
    if not hasattr(built.model, "estimate"):
        raise parts.ExperimentError(
            f"config.model.name is {config.model.name!r}, which gives a map alone; simulated curves train networks that"
            " estimate delay, flow and transit time: 'voxelwise'"
        )
    folder = workdir / FINAL
    folder.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "environment.json", describe_environment("phantom"))
    steps = config.simulation.steps_an_epoch
    optimizer = built.optimizer(steps)
    make_state = functools.partial(init_state, built.model, optimizer, input_shape=(1, 1, 1, 1, CHANNELS))
    key = jax.random.key(config.seed)
    state = jax.jit(make_state, out_shardings=built.shardings.replicated)(key)
    if config.start_from:
        start = Path(config.start_from) / FINAL / "checkpoints"
        state = start_from(start, state, built.shardings.replicated)
    validation = jax.jit(draw)(jax.random.fold_in(key, _VALIDATION_KEY))

    def batches(_: int) -> Iterator[tuple[list[str], Any]]:
        for _step in range(steps):
            yield ["simulated"], {}

    validate = make_validation(built.model, validation)
    state = recorded_fit(
        state,
        folder,
        FINAL,
        epochs=config.epochs,
        steps_an_epoch=steps,
        train_step=make_simulated_step(
            built.model,
            optimizer,
            draw,
            target_weight=config.loss.target_weight,
            consistency=config.loss.consistency,
        ),
        batches=batches,
        validate=validate,
        sharding=built.shardings.replicated,
        console=console,
    )
    scores = validate(state)
    console.print(f"{workdir}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))


def ranges_of(config: Config) -> Ranges:
    """Returns between which values the config draws.

    Raises:
      ExperimentError: an unknown range.
    """
    bounds: dict[str, Any] = config.simulation.ranges.to_dict()
    if unknown := sorted(set(bounds) - set(Ranges._fields)):
        raise parts.ExperimentError(
            f"config.simulation.ranges has no {unknown[0]!r}; it has: {', '.join(Ranges._fields)}"
        )
    fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in bounds.items()}
    return Ranges(**fields)


def draw_function(config: Config) -> Callable[[jax.Array], Curves]:
    """Returns what draws a step's curves: `scans` scans, shared among the numbers of frames.

    Raises:
      ExperimentError: an unknown range, or fewer scans than numbers of frames.
    """
    ranges, simulation = ranges_of(config), config.simulation.to_dict()
    frames = tuple(simulation["frames"])
    scans = simulation["scans"] // len(frames)
    if not scans:
        raise parts.ExperimentError(
            f"config.simulation.scans is {simulation['scans']}; with {len(frames)} numbers of frames it must be at"
            f" least {len(frames)}"
        )

    def draw(key: jax.Array) -> Curves:
        groups = [
            draw_curves(key, ranges, scans=scans, curves=simulation["curves"], frames=count)
            for key, count in zip(jax.random.split(key, len(frames)), frames, strict=True)
        ]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *groups)

    return draw
