"""All metrics: against independent implementations, defined or not, and the same however the patients are split."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests.goldens.maps import SPACING_MM, tmax_maps
from tmax_jax.metrics import METRICS, defined, map_values, pool, sum_values, tmax_sums
from tmax_jax.metrics.registry import MAP_METRICS, SUM_METRICS

PREDICTIONS, TARGETS, MASK = tmax_maps()
SPACING = np.tile(np.array(SPACING_MM, np.float32), (len(MASK), 1))


def score(predictions, targets, mask, spacing=SPACING) -> dict[str, np.ndarray]:
    """All metrics of each case."""
    values = sum_values(jax.jit(tmax_sums)(predictions, targets, mask, spacing_mm=spacing))
    cases = [map_values(*case) for case in zip(predictions, targets, mask, spacing.tolist(), strict=True)]
    return values | {name: np.array([case[name] for case in cases]) for name in MAP_METRICS}


SCORES = score(PREDICTIONS, TARGETS, MASK)
with np.load(Path(__file__).parent / "goldens" / "metrics.npz") as arrays:
    GOLDENS = dict(arrays)


@pytest.mark.parametrize("name", METRICS)
def test_values_are_those_of_an_independent_implementation(name):
    np.testing.assert_allclose(SCORES[name], GOLDENS[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_map_has_the_best_value_and_no_other_a_better_one(name):
    perfect = score(TARGETS, TARGETS, MASK)[name]
    best = METRICS[name].best
    if best in ("low", "zero"):
        np.testing.assert_array_equal(perfect, 0)
    elif best == "high":
        assert np.all(perfect >= SCORES[name])
        assert np.all((perfect == np.inf) | np.isclose(perfect, 1, atol=1e-6))


@pytest.mark.parametrize("name", [name for name in METRICS if name != "mse_all_s2"])
def test_what_lies_outside_the_brain_does_not_matter(name):
    prediction, target = (np.where(MASK, values, np.nan) for values in (PREDICTIONS, TARGETS))
    np.testing.assert_array_equal(score(prediction, target, MASK)[name], SCORES[name])


# In order: nothing late anywhere, nothing predicted late, nothing late in truth, everything late.
TRUTHS = np.array([2.0, 9.0, 2.0, 12.0])[:, None, None, None] * np.ones((1, 2, 4, 4))
GUESSES = np.array([3.0, 2.0, 9.0, 12.0])[:, None, None, None] * np.ones((1, 2, 4, 4))


@pytest.mark.parametrize("name", METRICS)
def test_only_a_metric_that_says_when_may_be_undefined_and_none_is_infinite_by_mistake(name):
    found = score(GUESSES, TRUTHS, np.ones(TRUTHS.shape, bool), np.ones((4, 3), np.float32))[name]
    if METRICS[name].undefined:
        assert np.isnan(found).any(), "it says that it may be undefined; these cases should show it"
        assert not np.isinf(found).any()
    else:
        assert not np.isnan(found).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dice_6s", [np.nan, 0, 0, 1]),
        ("precision_6s", [np.nan, np.nan, 0, 1]),
        ("recall_6s", [np.nan, 0, np.nan, 1]),
        ("whiteout", [0, np.nan, 1, np.nan]),
        ("hir_true", [np.nan, 0, np.nan, 1]),
        ("hir_difference", [np.nan, np.nan, np.nan, 0]),
        ("pearson_brain", [np.nan] * 4),
        ("ccc_brain", [0, 0, 0, np.nan]),
        ("hausdorff95_6s_mm", [np.nan, 6, 6, 0]),  # the diagonal of 2 x 4 x 4 mm where one has no lesion
    ],
)
def test_empty_and_full_maps_by_hand(name, expected):
    found = score(GUESSES, TRUTHS, np.ones(TRUTHS.shape, bool), np.ones((4, 3), np.float32))[name]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_map_that_is_not_finite_is_seen_in_the_means_and_an_undefined_value_is_not():
    broken = PREDICTIONS.copy()
    broken[0, 7, 16, 12] = np.nan
    values = sum_values(tmax_sums(broken, TARGETS, MASK, spacing_mm=SPACING))
    assert np.isnan(np.mean(defined("mse_brain_s2", values["mse_brain_s2"])))
    assert np.isnan(np.mean(defined("mae_brain_s", values["mae_brain_s"])))
    assert defined("dice_6s", [np.nan, 0.25]) == [0.25]


def test_the_values_of_a_pooled_cohort_are_those_of_its_voxels_as_one_volume():
    side_by_side = [np.concatenate(list(values), axis=1)[None] for values in (PREDICTIONS, TARGETS, MASK)]
    apart = sum_values(pool(tmax_sums(PREDICTIONS, TARGETS, MASK, spacing_mm=SPACING)))
    together = sum_values(tmax_sums(*side_by_side, spacing_mm=SPACING[:1]))
    for name in SUM_METRICS:
        if name != "ssim_brain":  # its windows see the neighbour
            np.testing.assert_allclose(apart[name], together[name][0], rtol=1e-4, atol=1e-6, err_msg=name)
            assert apart[name].shape == ()
