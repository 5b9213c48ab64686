"""A voxel's network: what it must not depend on, and the meaning of its outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.models.blocks import ModelError
from tmax_jax.models.voxelwise import Voxelwise
from tmax_jax.perfusion.alignment import CHANNELS, align
from tmax_jax.perfusion.curves import draw_scan
from tmax_jax.perfusion.parametric import ML_PER_GRAM

MODEL = Voxelwise(features=(8,))
FAST: Any = {"xla_backend_optimization_level": 0}


def channels() -> jax.Array:
    scan = draw_scan(jax.random.key(0), curves=3, frames=40)
    return align(scan.concentration, scan.aif, dt=scan.dt).channels().reshape(1, 1, 1, 3, CHANNELS)


def variables(x: jax.Array) -> Any:
    return jax.jit(lambda key, x: MODEL.init(key, x, train=False), compiler_options=FAST)(jax.random.key(1), x)


def test_delay_and_transit_time_do_not_depend_on_the_height_of_the_artery_and_flow_is_inverse_to_it():
    scan = draw_scan(jax.random.key(0), curves=3, frames=40)
    x, halved = (align(scan.concentration, k * scan.aif, dt=scan.dt).channels() for k in (1.0, 0.5))
    params = variables(x.reshape(1, 1, 1, 3, CHANNELS))
    estimates: Any = [MODEL.apply(params, c, train=False, method="estimate") for c in (x, halved)]
    found, other = estimates
    np.testing.assert_allclose(found.delay_s, other.delay_s, atol=1e-3)
    np.testing.assert_allclose(found.log_mtt, other.log_mtt, atol=1e-4)
    np.testing.assert_allclose(other.log_cbf - found.log_cbf, np.log(2.0), atol=0.01)


@pytest.mark.parametrize("reads", ["delay", "classical"])
def test_a_call_returns_the_quantity_that_it_reads(reads):
    x = channels()
    params = variables(x)
    estimate: Any = MODEL.apply(params, x, train=False, method="estimate")
    found = MODEL.clone(reads=reads).apply(params, x, train=False)
    np.testing.assert_array_equal(found, getattr(estimate, f"{reads}_s"))


def test_outputs_of_zero_mean_the_middle_of_what_is_simulated():
    x = channels()
    zeros = jax.tree.map(jnp.zeros_like, variables(x))
    estimate: Any = MODEL.apply(zeros, x, train=False, method="estimate")
    assert not estimate.delay_s.any()
    np.testing.assert_allclose(np.exp(estimate.log_mtt), 8.0, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(estimate.scales)[0, 0, 0, 0], [10.0, 10.0, 1.0, 1.0])
    assert 0.1 < ML_PER_GRAM < 1 < float(np.exp(estimate.log_cbf).max()) < 500


def test_other_channels_name_the_input_to_set():
    with pytest.raises(ModelError, match=r"takes the 132 channels .* got 60; set config.data.inputs"):
        MODEL.init(jax.random.key(0), jnp.zeros((1, 1, 1, 1, 60)), train=False)


def test_an_unknown_quantity_lists_the_known_ones():
    with pytest.raises(ModelError, match="unknown quantity to read 'ttp'; choose one of: classical, delay"):
        MODEL.clone(reads="ttp").init(jax.random.key(0), channels(), train=False)
