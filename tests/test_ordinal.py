"""The ordinal loss: divergences by hand, and errors that cross no threshold."""

import numpy as np

from tmax_jax import losses


def volume(*voxels: float) -> np.ndarray:
    return np.array(voxels, np.float32).reshape(1, 1, 1, -1)


def test_it_is_the_divergence_of_soft_answers():
    p, t = 5.0, 7.5
    a, b = (1 / (1 + np.exp(-(x - 6.0) / 0.5)) for x in (t, p))
    expected = a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))
    np.testing.assert_allclose(losses.ordinal(volume(p), volume(t), thresholds_s=[6.0]), [expected], rtol=1e-5)


def test_errors_that_cross_no_threshold_are_nearly_free():
    same_side = losses.ordinal(volume(1.0, 14.0), volume(0.0, 18.0))[0]
    across = losses.ordinal(volume(5.5), volume(6.5))[0]
    assert same_side < 0.01
    assert across > 0.5


def test_each_further_threshold_costs_more():
    costs = [losses.ordinal(volume(tmax), volume(3.0))[0] for tmax in (3.0, 5.0, 7.0, 9.0, 11.0)]
    assert np.all(np.diff(costs) > 1)


def test_enormous_values_stay_finite():
    assert np.isfinite(losses.ordinal(volume(1e6), volume(-1e6))[0])
