"""Dice losses: counts by hand, and classes that weigh alike."""

import functools

import numpy as np

from tmax_jax import losses


def volume(*voxels: float) -> np.ndarray:
    return np.array(voxels, np.float32).reshape(1, 1, 1, -1)


def test_dice_by_hand():
    truth, prediction = volume(20, 20, 20, 0, 0, 0), volume(20, 20, 0, 20, 0, 0)
    np.testing.assert_allclose(losses.dice(prediction, truth, smooth=0.0), [1 - 4 / 6], rtol=1e-4)
    np.testing.assert_allclose(losses.dice(prediction, truth, smooth=1.0), [1 - 6 / 8], rtol=1e-4)


def test_dice_is_tversky_with_equal_weights():
    rng = np.random.default_rng(0)
    p, t = rng.uniform(0, 12, (2, 2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(losses.dice(p, t), losses.tversky(p, t, alpha=0.5, beta=0.5), rtol=1e-6)


def test_a_case_without_hypoperfusion_that_is_predicted_so_costs_nothing():
    assert losses.dice(volume(0, 1, 2, 1), volume(1, 0, 2, 2))[0] < 1e-3


def test_generalized_dice_gives_a_small_band_the_weight_of_a_large_one():
    truth = volume(*[0] * 96, *[20] * 4)
    small, large = truth.copy(), truth.copy()
    small[..., -2:] = 0  # half of the small band lost
    large[..., :2] = 20  # as many voxels of the large one
    loss = functools.partial(losses.generalized_dice, thresholds_s=(6.0,))
    assert loss(small, truth)[0] > 0.2
    assert loss(truth * 0, truth)[0] > 0.4  # Dice of the large band alone would be 0.04
    hits, wrong = 94 / 96**2 + 4 / 4**2, 2 / 96**2 + 2 / 4**2
    np.testing.assert_allclose(loss(large, truth), [wrong / (2 * hits + wrong)], rtol=1e-3)


def test_generalized_dice_tells_bands_apart_that_dice_does_not():
    truth, prediction = volume(0, 0, 7, 12), volume(0, 0, 12, 7)
    assert losses.dice(prediction, truth)[0] < 0.1
    assert losses.generalized_dice(prediction, truth)[0] > 0.5
