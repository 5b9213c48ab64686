"""A learned deconvolution: Tikhonov's before the first step, and something else after it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tmax_jax.models.filtered import Filtered, LearnedFilter
from tmax_jax.perfusion.alignment import CHANNELS, Aligned, align
from tmax_jax.perfusion.curves import draw_scan
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.parametric import tmax_s

MODEL = Filtered(features=(8,))
FAST: Any = {"xla_backend_optimization_level": 0}


@functools.cache
def channels() -> jax.Array:
    scan = draw_scan(jax.random.key(0), curves=12, frames=40)
    return align(scan.concentration, scan.aif, dt=scan.dt).channels().reshape(1, 1, 3, 4, CHANNELS)


@functools.cache
def variables() -> Any:
    init = jax.jit(lambda key, x: MODEL.init(key, x, train=False), compiler_options=FAST)
    return init(jax.random.key(1), channels())


@pytest.mark.parametrize("strength", [0.1, 0.3])
def test_before_the_first_step_it_is_the_classical_map(strength):
    found = Aligned.from_channels(channels())
    residue = deconvolve(found.curve, found.artery, dt=1.0, method="tikhonov", strength=strength)
    model = MODEL.clone(strength=strength)
    estimate: Any = model.apply(variables(), channels(), train=False, method="estimate")
    np.testing.assert_allclose(estimate.classical_s, tmax_s(residue, dt=1.0), atol=1e-3)
    np.testing.assert_allclose(estimate.delay_s, estimate.classical_s, atol=1e-6)
    filtered: Any = LearnedFilter(strength=strength).apply({"params": variables()["params"]["filter"]}, found)
    np.testing.assert_allclose(filtered, residue, atol=1e-5 * float(jnp.abs(residue).max()))


def test_steps_move_the_filter_the_gate_and_the_layers():
    truth = jnp.linspace(0.0, 8.0, 12).reshape(1, 1, 3, 4)

    def loss(params: Any) -> jax.Array:
        predicted: Any = MODEL.apply({"params": params}, channels(), train=True)
        return jnp.mean((predicted - truth) ** 2)

    gradient = jax.jit(jax.value_and_grad(loss), compiler_options=FAST)
    params = before = variables()["params"]
    optimizer = optax.adam(1e-2)
    state, values = optimizer.init(params), []
    for _ in range(20):
        value, grads = gradient(params)
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
        values.append(float(value))
    assert values[-1] < 0.8 * values[0]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, params)
    assert moved["gate"]
    assert moved["filter"]["log_gain"]["kernel"]
    assert moved["layers"]["hidden_1"]["kernel"]
