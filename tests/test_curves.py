"""Simulated curves: areas, delays and families as they were asked for, and scans that differ in all that may differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion.curves import FAMILIES, Bolus, Ranges, Scan, Tissue, draw_scan, tissue_curves
from tmax_jax.perfusion.parametric import ML_PER_GRAM
from tmax_jax.perfusion.residue import residue

BOLUS = Bolus(10.0, 4.5, 3.0, 300.0, 0.0, 10.0)
ONE = jnp.ones(1)


def simulate(name: str, *, mtt_s: float, delay_s: float, dispersion_s: float = 0.0, dt: float = 1.0) -> jax.Array:
    tissue = Tissue(delay_s * ONE, mtt_s * ONE, 4 * ONE, jnp.full(1, FAMILIES.index(name)), 3 * ONE, dispersion_s * ONE)
    return tissue_curves(BOLUS, tissue, dt=dt, frames=round(120 / dt))[0]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("delay_s", [0.0, 2.37])
def test_curves_are_the_convolution_at_fine_steps(name, delay_s):
    step = 0.01
    fine_s = step * np.arange(12000)
    kernel = np.asarray(residue(name, jnp.asarray(fine_s), jnp.array([5.0]), delay_s=delay_s)) / 5.0
    exact = step * np.convolve(np.asarray(BOLUS.curve(jnp.asarray(fine_s))), kernel)[:12000:100]
    expected = 4 / (100 * ML_PER_GRAM) * exact
    np.testing.assert_allclose(simulate(name, mtt_s=5.0, delay_s=delay_s), expected, atol=0.01 * expected.max())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dispersion_s", [0.0, 3.0])
def test_the_area_is_the_blood_volume_whatever_delays_and_spreads_it(name, dispersion_s):
    curve = simulate(name, mtt_s=6.0, delay_s=4.0, dispersion_s=dispersion_s)
    ratio = float(curve.sum() / BOLUS.curve(jnp.arange(120.0)).sum())
    assert 100 * ML_PER_GRAM * ratio == pytest.approx(4.0, rel=0.005)


def test_dispersion_moves_the_centre_of_the_curve_by_its_mean():
    time_s = np.arange(120.0)
    centres = [
        float((time_s * curve).sum() / curve.sum())
        for curve in (np.asarray(simulate("exponential", mtt_s=4.0, delay_s=1.0, dispersion_s=d)) for d in (0.0, 3.0))
    ]
    assert centres[1] - centres[0] == pytest.approx(3.0, abs=0.05)


def scans(count: int = 64, **ranges: object) -> Scan:
    keys = jax.random.split(jax.random.key(0), count)
    wanted = Ranges()._replace(**ranges)  # pyright: ignore[reportArgumentType] (ranges by name)
    return jax.vmap(lambda key: draw_scan(key, curves=16, frames=50, ranges=wanted))(keys)


def test_scans_spread_over_all_ranges_and_stay_within():
    drawn, ranges = scans(), Ranges()
    for name in ("delay_s", "mtt_s", "cbv"):
        values, (low, high) = np.asarray(getattr(drawn.tissue, name)), getattr(ranges, name)
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.2 * (high - low) < values.max() <= high * 1.0001
    assert set(np.unique(drawn.tissue.family)) == {0, 1, 2, 3}
    assert 0.4 < np.mean(np.asarray(drawn.tissue.dispersion_s) > 0) < 0.6
    assert np.unique(drawn.dt).size == 64
    assert all(np.isfinite(values).all() for values in jax.tree.leaves(drawn))


def test_noise_is_that_of_the_signal_to_noise_ratio():
    drawn = scans(snr=(50.0, 50.0), baseline_s=(20.0, 20.0), dt_s=(1.5, 1.5))
    before = np.asarray(drawn.signal)[..., 2:13]
    assert before.std(axis=-1).mean() == pytest.approx(1 / 50, rel=0.1)
    assert before.mean() == pytest.approx(1.0, rel=0.01)


def test_the_measured_curves_are_the_clean_ones_with_noise():
    drawn = scans(snr=(1e4, 1e4))
    error = np.abs(drawn.concentration - drawn.clean)[..., 2:].max()
    assert error < 0.03 * float(drawn.clean.max())
    np.testing.assert_allclose(drawn.aif[:, 2:], drawn.clean_aif[:, 2:], atol=0.03 * float(drawn.clean_aif.max()))


def test_it_runs_inside_a_compiled_step_and_keys_decide():
    step = jax.jit(lambda key: draw_scan(key, curves=4, frames=40).concentration)
    a, b, c = (step(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1
