"""Scores of maps by hand, against either truth, and of maps that could not be made."""

import math

import numpy as np

from tests.test_baselines import TASK, cohort  # noqa: F401 (a fixture)
from tmax_jax.metrics import METRICS
from tmax_jax.scoring import predict_maps, score_maps
from tmax_jax.training.sharding import make_shardings
from tmax_jax.training.step import strip_and_score


def test_a_map_is_scored_inside_the_mask_and_stripped_outside(cohort):  # noqa: F811
    guess_s = cohort.tmax_s[1] + 2.0
    [scores] = score_maps([guess_s], cohort, np.array([1]), TASK)
    assert set(scores) == set(METRICS)
    assert scores["mse_brain_s2"] == 4.0 or abs(scores["mse_brain_s2"] - 4.0) < 1e-4
    outside = cohort.tmax_s[1][~cohort.mask[1]]
    inside = cohort.mask[1].sum()
    wanted = (4.0 * inside + (outside**2).sum()) / cohort.mask[1].size
    np.testing.assert_allclose(scores["mse_all_s2"], wanted, rtol=1e-5)


def test_another_truth_takes_the_place_of_the_target(cohort):  # noqa: F811
    truth_s = [np.full(cohort.mask[0].shape, 3.0, np.float32)]
    [scores] = score_maps([truth_s[0] - 1.0], cohort, np.array([0]), TASK, truth_s=truth_s)
    np.testing.assert_allclose(scores["mse_brain_s2"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(scores["bias_brain_s"], -1.0, rtol=1e-6)


def test_no_map_has_no_score(cohort):  # noqa: F811
    scores = score_maps([None, cohort.tmax_s[1]], cohort, np.array([0, 1]), TASK)
    assert all(math.isnan(value) for value in scores[0].values())
    assert scores[1]["mse_brain_s2"] == 0


def test_maps_come_back_in_the_order_of_the_cases_without_padding(cohort):  # noqa: F811
    def echo(batch):
        return strip_and_score(batch["tmax_s"], batch, TASK)

    maps_s = predict_maps(echo, cohort, np.array([1, 0, 1]), make_shardings(2))
    assert len(maps_s) == 3
    for found, case in zip(maps_s, (1, 0, 1), strict=True):
        np.testing.assert_array_equal(found, np.where(cohort.mask[case], cohort.tmax_s[case], 0))
