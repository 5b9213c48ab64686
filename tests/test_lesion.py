"""The tissue above thresholds by hand: volumes in mL, white-out, mismatch."""

import numpy as np
import pytest

from tmax_jax.metrics import mismatch, sum_values, tmax_sums


def values(prediction, truth, spacing_mm=(5.0, 2.0, 2.0)) -> dict[str, float]:
    predicted, true = (np.array(voxels, np.float32).reshape(1, 1, 1, -1) for voxels in (prediction, truth))
    sums = tmax_sums(predicted, true, np.ones(true.shape, bool), spacing_mm=np.array([spacing_mm], np.float32))
    return {name: float(value[0]) for name, value in sum_values(sums).items()}


def test_volumes_are_in_ml_and_a_voxel_at_the_threshold_is_not_above_it():
    found = values(prediction=[6.0, 6.1, 9.0, 11.0], truth=[7.0, 5.0, 9.0, 12.0])
    voxel_ml = 0.02
    assert found["volume_true_6s_ml"] == pytest.approx(3 * voxel_ml)
    assert found["volume_predicted_6s_ml"] == pytest.approx(3 * voxel_ml)
    assert found["volume_difference_6s_ml"] == pytest.approx(0, abs=1e-7)
    assert found["volume_predicted_4s_ml"] == pytest.approx(4 * voxel_ml)
    assert found["dice_6s"] == pytest.approx(2 / 3)
    assert found["hir_true"] == pytest.approx(1 / 3)


def test_a_white_map_is_told_from_one_that_errs_at_the_rim():
    truth = [1.0] * 8 + [5.0] * 4 + [9.0] * 4
    rim = values([1.0] * 8 + [7.0] * 4 + [9.0] * 4, truth)
    white = values([7.0] * 4 + [1.0] * 4 + [5.0] * 4 + [9.0] * 4, truth)
    assert rim["precision_6s"] == white["precision_6s"] == 0.5
    assert rim["whiteout"] == 0
    assert white["whiteout"] == 0.5


def test_mismatch_follows_the_trial_and_a_patient_without_core_is_all_mismatch():
    found = mismatch(np.array([30.0, 14.0, 100.0, 200.0, 100.0]), np.array([0.0, 0.0, 60.0, 75.0, 50.0]))
    np.testing.assert_array_equal(found.volume_ml, [30, 14, 40, 125, 50])
    assert found.treatable.tolist() == [True, False, False, False, True]
    assert np.isnan(found.ratio[0])
    assert found.ratio[4] == 2
