"""The trivial rows score what anyone can compute by hand."""

import numpy as np
import pytest

from tmax_jax import baselines
from tmax_jax.cohort.batches import Cohort, take
from tmax_jax.metrics import sum_values
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.step import Task

TASK = Task(normalise=True, target_scale_s=20.0, loss_over="brain", strip_prediction=True)


@pytest.fixture
def cohort() -> Cohort:
    """Two cases whose bolus arrives after frame 9; half of the brain peaks 2 frames later, half 6."""
    shape, frames = (2, 4, 4), 24
    rng = np.random.default_rng(0)
    peak = np.where(np.arange(4) < 2, 11, 15)[None, None, :, None] * np.ones((*shape, 1), int)
    time = np.arange(frames)
    dip = np.where(time > 9, np.exp(-0.3 * np.abs(time - peak)), 0)
    signal = np.round(1000 * (1 - 0.6 * dip)).astype(np.uint16)
    mask = np.ones(shape, bool)
    mask[0, 0] = False
    tmax_s = [rng.uniform(0, 10, shape).astype(np.float32) for _ in range(2)]
    return Cohort(
        case_ids=("case-0001", "case-0002"),
        perfusion=(signal, signal),
        inserted=(np.zeros((len(mask), frames), bool),) * 2,
        mask=(mask, mask),
        tmax_s=tuple(tmax_s),
        intensity_min=np.zeros(2, np.float32),
        intensity_max=np.full(2, 1000, np.float32),
        frame_interval_s=np.full(2, 1.5, np.float32),
        spacing_mm=np.ones((2, 3), np.float32),
        data="phantom",
    )


def predict(cohort: Cohort, name: str, task: Task = TASK):
    shardings = make_shardings(1)
    predictor = baselines.predictors(cohort, np.array([0]), task, shardings)[name]
    prediction_s, sums = predictor(put_batch(take(cohort, np.array([1])), shardings))
    return np.asarray(prediction_s)[0], {k: float(v[0]) for k, v in sum_values(sums).items()}


def test_predicting_zero_scores_the_mean_square_of_the_target(cohort):
    _, values = predict(cohort, "predict zero")
    truth_s, mask = cohort.tmax_s[1], cohort.mask[1]
    np.testing.assert_allclose(values["mse_brain_s2"], np.mean(truth_s[mask] ** 2), rtol=1e-5)
    np.testing.assert_allclose(values["mse_all_s2"], np.mean(truth_s**2), rtol=1e-5)


def test_the_training_mean_is_that_of_the_training_cases_brain_and_0_outside(cohort):
    prediction_s, _ = predict(cohort, "predict training mean")
    mask = cohort.mask[1]
    np.testing.assert_allclose(prediction_s[mask], cohort.tmax_s[0][mask].mean(), rtol=1e-6)
    assert not prediction_s[~mask].any()


def test_where_all_voxels_count_the_training_mean_counts_the_background(cohort):
    task = Task(normalise=True, target_scale_s=0.001, loss_over="all", strip_prediction=False)
    prediction_s, _ = predict(cohort, "predict training mean", task)
    np.testing.assert_allclose(prediction_s, cohort.tmax_s[0].mean(), rtol=1e-6)


def test_time_to_peak_is_the_difference_of_the_peaks_in_seconds(cohort):
    prediction_s, _ = predict(cohort, "time to peak")
    early, late = prediction_s[1, 0, 0], prediction_s[1, 0, 3]
    assert late - early == pytest.approx(4 * 1.5)
    assert 0 < early <= 3 * 1.5
