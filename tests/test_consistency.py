"""The curve that estimates predict: exact where they are, smooth in the delay, and a loss that finds them again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tmax_jax.models.blocks import ModelError
from tmax_jax.models.consistency import curve_misfit, make_penalty, predicted_curve
from tmax_jax.models.pointwise import OneLayer
from tmax_jax.models.voxelwise import Estimate, Voxelwise
from tmax_jax.perfusion.alignment import CHANNELS, Aligned, align
from tmax_jax.perfusion.curves import Bolus, Tissue, tissue_curves

DELAY_S, MTT_S, CBV = jnp.array([0.0, 2.3, 7.6]), jnp.array([4.0, 6.0, 12.0]), jnp.array([4.0, 3.0, 4.0])


def measured(dt: float = 1.0) -> Aligned:
    bolus = Bolus(15.0, 4.5, 3.0, 300.0, 0.2, 11.0)
    none = jnp.zeros(3)
    tissue = Tissue(DELAY_S, MTT_S, CBV, none, none + 1, none)
    frames = round(90 / dt)
    return align(tissue_curves(bolus, tissue, dt=dt, frames=frames), bolus.curve(dt * jnp.arange(frames)), dt=dt)


def estimate(*, delay_s: jax.Array = DELAY_S, mtt_s: jax.Array = MTT_S) -> Estimate:
    return Estimate(delay_s, delay_s, jnp.log(60.0 * CBV / mtt_s), jnp.log(mtt_s), jnp.ones((3, 4)))


@pytest.mark.parametrize("dt", [1.0, 1.5])
def test_the_truth_predicts_the_measured_curve(dt):
    found = measured(dt)
    error = np.abs(np.asarray(predicted_curve(estimate(), found) - found.curve))
    assert error.max() < 0.05 * float(found.curve.max())
    assert float(curve_misfit(estimate(), found).max()) < 0.1


def test_a_wrong_delay_or_transit_time_does_not():
    right = curve_misfit(estimate(), measured())
    assert bool((curve_misfit(estimate(delay_s=DELAY_S + 1.0), measured()) > 3 * right + 0.1).all())
    assert bool((curve_misfit(estimate(mtt_s=1.5 * MTT_S), measured()) > 3 * right + 0.1).all())


def test_descending_the_misfit_finds_delay_and_transit_time_without_a_target():
    found = measured()

    def loss(values: dict[str, jax.Array]) -> jax.Array:
        return jnp.sum(jnp.log1p(curve_misfit(Estimate(scales=jnp.ones((3, 4)), **values), found)))

    start = estimate(delay_s=DELAY_S + 2.0, mtt_s=1.5 * MTT_S)
    values: Any = {name: value for name, value in start._asdict().items() if name != "scales"}
    optimizer = optax.adam(0.05)
    state = optimizer.init(values)
    gradient = jax.jit(jax.grad(loss))
    for _ in range(300):
        updates, state = optimizer.update(gradient(values), state)
        values = optax.apply_updates(values, updates)
    found_values: Any = values
    np.testing.assert_allclose(found_values["delay_s"], DELAY_S, atol=0.3)
    np.testing.assert_allclose(jnp.exp(found_values["log_mtt"]), MTT_S, rtol=0.15)


def test_the_penalty_is_a_mean_over_the_mask_that_masked_noise_does_not_change():
    channels = jnp.broadcast_to(measured().channels(), (2, 1, 1, 3, CHANNELS))
    mask = jnp.array([True, True, False]).reshape(1, 1, 1, 3) & jnp.ones((2, 1, 1, 3), bool)
    model = Voxelwise(features=(4,))
    variables: Any = model.init(jax.random.key(0), channels, train=False)
    penalty = make_penalty(model, 0.5)
    found = penalty(variables, channels, mask)
    assert found.shape == (2,)
    np.testing.assert_allclose(penalty(variables, channels.at[..., 2, :].set(0.0), mask), found, rtol=1e-5)
    np.testing.assert_allclose(make_penalty(model, 1.0)(variables, channels, mask), 2 * found, rtol=1e-5)


def test_a_network_without_estimates_is_refused():
    with pytest.raises(ModelError, match="OneLayer gives a map alone"):
        make_penalty(OneLayer(), 1.0)
