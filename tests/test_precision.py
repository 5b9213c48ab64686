"""Losses against too much hypoperfusion: counts by hand, and who is punished."""

import numpy as np
import pytest

from tmax_jax import losses

FAR = np.float32(100)


def volume(*voxels: float) -> np.ndarray:
    return np.array(voxels, np.float32).reshape(1, 1, 1, -1)


TRUTH = volume(20, 20, 20, 0, 0, 0, 0, 0)
PREDICTION = volume(20, 20, 0, 20, 0, 0, 0, 0)  # two hits, a miss, a false alarm


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda p, t: losses.soft_precision(p, t, smooth=0.0), 1 - 2 / 3),
        (lambda p, t: losses.tversky(p, t, smooth=0.0), 1 - 2 / (2 + 0.7 + 0.3)),
        (lambda p, t: losses.tversky(p, t, alpha=1.0, beta=3.0, smooth=0.0), 1 - 2 / 6),
        (lambda p, t: losses.tversky(p, t, smooth=1.0), 1 - 3 / 4),
        (lambda p, t: losses.focal_tversky(p, t, gamma=2.0, smooth=0.0), (1 / 3) ** 0.5),
        (lambda p, t: losses.precision_weighted(p, t, weight=4.0), (400 + 4 * 400) / 8),
    ],
)
def test_counts_by_hand(loss, expected):
    np.testing.assert_allclose(loss(PREDICTION, TRUTH), [expected], rtol=1e-4)


@pytest.mark.parametrize("name", ["soft_precision", "tversky", "focal_tversky", "precision_weighted"])
def test_a_false_alarm_costs_more_than_a_miss_of_the_same_size(name):
    loss = losses.LOSSES[name]
    miss, false_alarm = TRUTH.copy(), TRUTH.copy()
    miss[..., 0], false_alarm[..., -1] = 0, 20
    assert loss(false_alarm, TRUTH)[0] > 1.2 * loss(miss, TRUTH)[0]


@pytest.mark.parametrize("name", ["soft_precision", "tversky", "focal_tversky", "dice", "generalized_dice", "ordinal"])
def test_equal_maps_near_the_threshold_cost_nothing_so_that_no_map_overshoots(name):
    truth = volume(5.5, 6.0, 6.2, 7.0)
    assert losses.LOSSES[name](truth, truth)[0] == 0
    assert losses.LOSSES[name](truth + 3, truth)[0] > 0.05


def test_a_low_temperature_is_a_hard_threshold():
    rng = np.random.default_rng(0)
    p, t = rng.uniform(0, 12, (2, 1, 4, 8, 8)).astype(np.float32)
    hit, false_alarm = np.sum((p > 6) & (t > 6)), np.sum((p > 6) & (t <= 6))
    soft = losses.soft_precision(p, t, temperature_s=1e-4, smooth=0.0)
    np.testing.assert_allclose(soft, [false_alarm / (hit + false_alarm)], rtol=1e-3)


def test_a_map_without_hypoperfusion_has_no_false_alarm():
    assert losses.soft_precision(volume(0, 0, 0), volume(0, 20, 20))[0] < 1e-4


def test_gamma_of_one_is_the_tversky_loss():
    np.testing.assert_allclose(
        losses.focal_tversky(PREDICTION, TRUTH, gamma=1.0), losses.tversky(PREDICTION, TRUTH), rtol=1e-6
    )
