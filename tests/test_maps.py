"""Maps in the units that clinicians read, from curves whose answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion import maps

DT_S = 2.0


def peak_at(place: float, *, length: int = 40) -> jnp.ndarray:
    """A parabola through its peak, so that interpolation must find it exactly."""
    return 5.0 - (jnp.arange(float(length)) - place) ** 2


@pytest.mark.parametrize("place", [3.0, 3.3, 7.5, 12.8])
def test_tmax_finds_a_peak_between_frames(place):
    assert float(maps.tmax_s(peak_at(place), dt=DT_S)) == pytest.approx(place * DT_S, abs=1e-3)


def test_the_second_half_holds_negative_times():
    assert float(maps.tmax_s(peak_at(38.0), dt=DT_S)) == pytest.approx(-2 * DT_S)


def test_a_peak_in_the_first_frame_looks_at_the_last_as_its_neighbour():
    around_zero = jnp.zeros(40).at[jnp.array([39, 0, 1])].set(jnp.array([2.0, 3.0, 2.0]))
    assert float(maps.tmax_s(around_zero, dt=DT_S)) == pytest.approx(0)


def test_a_flat_curve_has_a_finite_tmax():
    assert float(maps.tmax_s(jnp.zeros((3, 40)), dt=DT_S).sum()) == 0


def test_flow_is_the_peak_in_clinical_units():
    flow_per_s = jnp.array([0.002, 0.01, 0.004])
    assert float(maps.cbf_ml_100g_min(flow_per_s)) == pytest.approx(0.01 * 6000 * 0.73 / 1.04, rel=1e-5)


def test_volume_over_flow_is_the_mean_transit_time_that_was_put_in():
    dt, mtt_s, flow_per_s = 0.05, 4.0, 0.01
    time_s = dt * np.arange(2400)
    aif = np.exp(-0.5 * ((time_s - 20) / 3) ** 2)
    residue = flow_per_s * np.exp(-time_s / mtt_s)
    tissue = dt * np.convolve(aif, residue)[: len(time_s)]
    cbv = maps.cbv_ml_100g(jnp.asarray(tissue), jnp.asarray(aif))
    cbf = maps.cbf_ml_100g_min(jnp.asarray(residue))
    assert float(cbv) == pytest.approx(100 * maps.ML_PER_GRAM * flow_per_s * mtt_s, rel=0.02)
    assert float(maps.mtt_s(cbv, cbf)) == pytest.approx(mtt_s, rel=0.02)


def test_no_flow_has_no_transit_time():
    np.testing.assert_array_equal(maps.mtt_s(jnp.array([2.0, 2.0]), jnp.array([0.0, 30.0])), [0.0, 4.0])
