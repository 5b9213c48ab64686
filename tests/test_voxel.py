"""Sums of errors: by hand, and merging."""

import jax
import numpy as np

from tmax_jax.metrics import VoxelSums, voxel_sums, voxel_values

rng = np.random.default_rng(0)
PREDICTION, TRUTH = rng.gamma(2, 2, (2, 3, 2, 8, 8)).astype(np.float32)
MASK = rng.random(TRUTH.shape) > 0.4


def test_values_by_hand():
    values = voxel_values(jax.device_get(voxel_sums(PREDICTION, TRUTH, MASK)))
    for case in range(len(TRUTH)):
        error = PREDICTION[case] - TRUTH[case]
        inside = error[MASK[case]]
        np.testing.assert_allclose(values["mse_all_s2"][case], np.mean(error**2), rtol=1e-5)
        np.testing.assert_allclose(values["mse_brain_s2"][case], np.mean(inside**2), rtol=1e-5)
        np.testing.assert_allclose(values["mae_brain_s"][case], np.mean(np.abs(inside)), rtol=1e-5)
        np.testing.assert_allclose(values["bias_brain_s"][case], np.mean(inside), rtol=1e-4, atol=1e-6)


def test_sums_of_two_halves_add_up_to_the_whole():
    halves = [voxel_sums(*(x[:, part] for x in (PREDICTION, TRUTH, MASK))) for part in (slice(0, 1), slice(1, 2))]
    merged = VoxelSums(*(a + b for a, b in zip(*halves, strict=True)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), merged, voxel_sums(PREDICTION, TRUTH, MASK))


def test_a_case_without_brain_scores_zero_not_nan():
    values = voxel_values(jax.device_get(voxel_sums(PREDICTION, TRUTH, np.zeros_like(MASK))))
    assert not np.any(values["mse_brain_s2"])
    assert np.all(values["mse_all_s2"] > 0)
