"""Maps in the units that clinicians read, from curves whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion import parametric as maps
from tmax_jax.perfusion.curves import Ranges, draw_scan

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


def test_flow_is_the_peak_between_frames_in_clinical_units():
    top = 0.01 - 0.001 * (jnp.arange(40.0) - 7.3) ** 2
    assert float(maps.cbf_ml_100g_min(top)) == pytest.approx(0.01 * 6000 * 0.73 / 1.04, rel=1e-4)


def test_volume_over_flow_is_the_mean_transit_time_that_was_put_in():
    dt, mtt_s, flow_per_s = 0.05, 4.0, 0.01
    time_s = dt * np.arange(2400)
    aif = np.exp(-0.5 * ((time_s - 20) / 3) ** 2)
    residue = flow_per_s * np.exp(-time_s / mtt_s)
    tissue = dt * np.convolve(aif, residue)[: len(time_s)]
    cbv = maps.cbv_ml_100g(jnp.asarray(tissue), jnp.asarray(aif))
    cbf = maps.cbf_ml_100g_min(jnp.asarray(np.concatenate([residue, residue[::-1]])))  # level at time 0
    assert float(cbv) == pytest.approx(100 * maps.ML_PER_GRAM * flow_per_s * mtt_s, rel=0.02)
    assert float(maps.mtt_s(cbv, cbf)) == pytest.approx(mtt_s, rel=0.02)


def test_no_flow_has_no_transit_time():
    np.testing.assert_array_equal(maps.mtt_s(jnp.array([2.0, 2.0]), jnp.array([0.0, 30.0])), [0.0, 4.0])


def test_the_peak_of_a_tissue_curve_is_found_between_frames_and_never_beyond_the_ends():
    assert float(maps.peak_s(peak_at(7.3), dt=DT_S)) == pytest.approx(7.3 * DT_S, abs=1e-3)
    assert float(maps.peak_s(-jnp.arange(10.0), dt=DT_S)) == 0
    assert float(maps.peak_s(jnp.arange(10.0), dt=DT_S)) == 9 * DT_S


@pytest.mark.parametrize("method", ["csvd", "osvd"])
@pytest.mark.parametrize("own_artery", [False, True])
def test_maps_in_blocks_are_those_of_all_voxels_at_once(method, own_artery, monkeypatch):
    scan = draw_scan(jax.random.key(0), curves=23, frames=40, ranges=Ranges(snr=(40.0, 40.0)))
    aif = jnp.tile(scan.aif.reshape(1, -1), (23, 1)) if own_artery else scan.aif
    whole = maps.maps(scan.concentration, aif, dt=scan.dt, method=method)
    monkeypatch.setattr(maps, "_BLOCK", 5)
    for a, b in zip(maps.maps(scan.concentration, aif, dt=scan.dt, method=method), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_time_to_peak_counts_from_the_arrival_and_tmax_is_never_negative():
    scan = draw_scan(jax.random.key(1), curves=30, frames=40)
    late, early = (maps.maps(scan.concentration, scan.aif, dt=scan.dt, arrival_s=at) for at in (0.0, 5.0))
    np.testing.assert_allclose(late.ttp_s - early.ttp_s, 5.0, rtol=1e-5)
    assert float(late.tmax_s.min()) >= 0
