"""The arterial curve: the published bolus, and a tail that stays in the blood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion.aif import arterial_input, gamma_variate

TIME_S = jnp.arange(0.0, 90.0, 0.05)
BOLUS = {"arrival_s": 15.0, "rise_s": 4.5, "shape": 3.0, "recirculation_delay_s": 11.0}


def test_the_canonical_bolus_of_simulations_is_one_of_these():
    since_s = np.maximum(np.asarray(TIME_S) - 20, 0)
    canonical = since_s**3 * np.exp(-since_s / 1.5)
    curve = gamma_variate(TIME_S, arrival_s=20.0, rise_s=4.5, shape=3.0)
    np.testing.assert_allclose(curve, canonical / (4.5**3 * np.exp(-3)), atol=1e-4)


def test_the_bolus_peaks_at_one_after_its_rise():
    curve = gamma_variate(TIME_S, arrival_s=15.0, rise_s=4.5, shape=2.5)
    assert float(curve.max()) == pytest.approx(1, abs=1e-5)
    assert float(TIME_S[curve.argmax()]) == pytest.approx(19.5, abs=0.051)
    assert not curve[TIME_S <= 15].any()


@pytest.mark.parametrize("shape", [2.5, 3.5])
def test_its_width_is_that_of_measured_boluses(shape):
    curve = gamma_variate(TIME_S, arrival_s=15.0, rise_s=4.5, shape=shape)
    assert 4 < 0.05 * int((curve >= 0.5).sum()) < 10  # full width at half maximum, in s


def test_recirculated_blood_settles_at_its_fraction_of_the_peak():
    curve = arterial_input(TIME_S, recirculation=0.2, **BOLUS)
    assert float(curve[-1]) == pytest.approx(0.2, rel=0.02)
    before = TIME_S < 15 + 11
    first = gamma_variate(TIME_S, arrival_s=15.0, rise_s=4.5, shape=3.0)
    np.testing.assert_allclose(curve[before], first[before], atol=1e-6)


def test_gradients_are_finite_on_both_sides_of_the_arrival():
    gradient = jax.grad(lambda arrival_s: gamma_variate(TIME_S, arrival_s=arrival_s, rise_s=4.5).sum())(15.0)
    assert np.isfinite(gradient)
