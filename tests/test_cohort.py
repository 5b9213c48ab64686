"""Agreement of volumes over a cohort: Bland and Altman's own arithmetic."""

import numpy as np
import pytest

from tmax_jax.metrics import volume_agreement


def test_limits_hold_95_percent_of_the_differences():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 150, 4000)
    found = volume_agreement(true + rng.normal(5, 10, true.size), true)
    assert found.bias_ml == pytest.approx(5, abs=0.5)
    assert (found.upper_ml - found.lower_ml) / 2 == pytest.approx(19.6, abs=0.5)


def test_concordance_is_lins_formula():
    rng = np.random.default_rng(1)
    true = rng.uniform(0, 150, 30)
    predicted = 0.8 * true + rng.normal(10, 15, true.size)
    r = np.corrcoef(predicted, true)[0, 1]
    p, t = predicted.std(), true.std()
    expected = 2 * r * p * t / (p**2 + t**2 + (predicted.mean() - true.mean()) ** 2)
    assert volume_agreement(predicted, true).ccc == pytest.approx(expected)


def test_one_patient_has_a_difference_and_no_limits():
    found = volume_agreement(np.array([12.0]), np.array([10.0]))
    assert found.bias_ml == 2
    assert np.isnan([found.lower_ml, found.upper_ml, found.ccc]).all()
    assert volume_agreement(np.array([]), np.array([])).patients == 0
