"""Paired comparisons against scipy and cases by hand; what is no difference is not called one."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tmax_jax.results.statistics import bootstrap_interval, compare, holm, resampled_t_p, signed_rank_p


def cases_of(values):
    return {f"case-{number:04d}": float(value) for number, value in enumerate(values)}


RNG = np.random.default_rng(0)
BASELINE = cases_of(RNG.gamma(4, 1, 30))
FOLDS = {case: number % 3 for number, case in enumerate(BASELINE)}


def test_a_clear_gain_is_better_for_errors_and_worse_for_agreement():
    lower = {case: value - 0.5 - 0.01 * number for number, (case, value) in enumerate(BASELINE.items())}
    assert compare({"a": lower}, BASELINE, FOLDS, best="low")["a"].verdict == "better"
    assert compare({"a": lower}, BASELINE, FOLDS, best="high")["a"].verdict == "worse"


def test_noise_alone_shows_no_difference():
    noisy = {case: value + noise for (case, value), noise in zip(BASELINE.items(), RNG.normal(0, 1, 30), strict=True)}
    found = compare({"a": noisy, "same": BASELINE}, BASELINE, FOLDS, best="low")
    assert found["a"].verdict == found["same"].verdict == "no difference shown"
    assert found["a"].low < 0 < found["a"].high
    assert found["same"].p_wilcoxon == found["same"].p_folds == 1


def test_where_zero_is_best_sizes_are_compared():
    signed = {case: (-1) ** number * (1 + 0.1 * number) for number, case in enumerate(BASELINE)}
    halved = {case: -value / 2 for case, value in signed.items()}
    assert compare({"a": halved}, signed, FOLDS, best="zero")["a"].verdict == "better"


def test_a_patient_without_a_value_is_left_out_and_the_rest_counted():
    some = dict(BASELINE) | {"case-0003": math.nan}
    found = compare({"a": some}, BASELINE | {"case-0005": math.nan}, FOLDS, best="low")["a"]
    assert found.patients == 28


def test_what_one_method_in_twenty_shows_by_chance_is_not_called_a_difference():
    base = cases_of(np.zeros(30))
    noisy = {f"m{k}": dict(zip(base, np.random.default_rng(k).normal(0, 1, 30), strict=True)) for k in range(40)}
    found = compare(noisy, base, FOLDS, best="low")
    assert min(row.p_wilcoxon for row in found.values()) < 0.05
    assert {row.verdict for row in found.values()} == {"no difference shown"}


def test_no_patients_at_all_show_no_difference():
    found = compare({"a": dict.fromkeys(BASELINE, math.nan)}, BASELINE, FOLDS, best="low")["a"]
    assert (found.patients, found.verdict) == (0, "no difference shown")
    assert math.isnan(found.difference)


def test_the_interval_is_that_of_the_mean():
    values = RNG.normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    assert bootstrap_interval(values) == (low, high)
    assert all(map(math.isnan, bootstrap_interval(values[:1])))


def test_signed_ranks_are_scipys_without_the_zeros():
    values = RNG.normal(0.3, 1, 25)
    expected: Any = stats.wilcoxon(values)
    assert signed_rank_p(np.append(values, [0, 0])) == expected.pvalue
    assert signed_rank_p(np.zeros(5)) == 1


def test_the_resampled_t_test_by_hand():
    # Fold means 1, 2, 3: mean 2, s^2 = 1, variance (1/3 + 1/2) 1, t = 2 / 0.9129 = 2.1909 with 2 degrees of freedom.
    differences, folds = np.array([0.5, 1.5, 2.0, 2.0, 2.5, 3.5]), np.array([0, 0, 1, 1, 2, 2])
    assert resampled_t_p(differences, folds) == pytest.approx(2 * stats.t.sf(2.19089, 2), rel=1e-5)
    plain: Any = stats.ttest_1samp([1, 2, 3], 0)
    assert resampled_t_p(differences, folds) > plain.pvalue  # the correction is there
    assert resampled_t_p(np.full(6, -1.0), folds) == 0
    assert math.isnan(resampled_t_p(differences, np.zeros(6, int)))


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, which must not fall.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == [1, 1]
