"""Voxel-wise metrics by hand: which way they point."""

import numpy as np
import pytest

from tmax_jax.metrics import sum_values, tmax_sums

rng = np.random.default_rng(0)
TRUTH = rng.gamma(2, 2, (1, 3, 8, 8)).astype(np.float32)
MASK = rng.random(TRUTH.shape) > 0.4


def values(prediction: np.ndarray) -> dict[str, float]:
    found = sum_values(tmax_sums(prediction, TRUTH, MASK, spacing_mm=np.ones((1, 3), np.float32)))
    return {name: float(value[0]) for name, value in found.items()}


def test_a_map_2_s_too_high_is_biased_not_uncorrelated():
    found = values(TRUTH + 2)
    assert found["bias_brain_s"] == pytest.approx(2, rel=1e-5)
    assert found["over_share_brain"] == 1
    assert found["pearson_brain"] == pytest.approx(1, abs=1e-5)
    variance = TRUTH[MASK].var()
    assert found["ccc_brain"] == pytest.approx(2 * variance / (2 * variance + 4), rel=1e-4)
    assert found["psnr_brain_db"] == pytest.approx(20, abs=1e-4)  # 10 log10(400 / 4)


def test_predicting_the_mean_explains_nothing_and_has_no_correlation():
    found = values(np.full_like(TRUTH, TRUTH[MASK].mean()))
    assert found["r2_brain"] == pytest.approx(0, abs=1e-5)
    assert found["ccc_brain"] == pytest.approx(0, abs=1e-5)
    assert np.isnan(found["pearson_brain"])


def test_halving_the_scale_keeps_the_correlation_and_lowers_the_concordance():
    found = values(TRUTH / 2)
    assert found["pearson_brain"] == pytest.approx(1, abs=1e-5)
    assert found["ccc_brain"] < 0.8
    assert found["over_share_brain"] == 0


def test_all_voxels_count_the_background_and_the_brain_does_not():
    prediction = np.where(MASK, TRUTH, TRUTH + 3)
    found = values(prediction)
    assert found["mse_brain_s2"] == 0
    assert found["mse_all_s2"] == pytest.approx(9 * np.mean(~MASK), rel=1e-5)


def test_a_case_without_brain_has_no_score_rather_than_a_perfect_one():
    empty = sum_values(tmax_sums(TRUTH + 1, TRUTH, np.zeros_like(MASK), spacing_mm=np.ones((1, 3), np.float32)))
    assert np.isnan(empty["mse_brain_s2"][0])
    assert empty["mse_all_s2"][0] == pytest.approx(1, rel=1e-5)
