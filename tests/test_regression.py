"""The voxel-wise losses by hand: where their minimum lies, and what joins one to another."""

import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax import losses

rng = np.random.default_rng(0)
PREDICTIONS, TARGETS = rng.normal(0, 2, (2, 3, 4, 5, 6)).astype(np.float32)


def test_huber_joins_both_its_neighbours():
    np.testing.assert_allclose(
        losses.huber(PREDICTIONS, TARGETS, delta=1e3),
        losses.squared_error(PREDICTIONS, TARGETS) / 2,
        rtol=1e-5,
    )
    small = 1e-3
    np.testing.assert_allclose(
        losses.huber(PREDICTIONS, TARGETS, delta=small) / small,
        losses.absolute_error(PREDICTIONS, TARGETS),
        rtol=1e-2,
    )


def test_log_cosh_is_half_the_square_of_small_errors_and_linear_in_large_ones():
    np.testing.assert_allclose(
        losses.log_cosh(0.01 * PREDICTIONS, 0.01 * TARGETS),
        losses.squared_error(0.01 * PREDICTIONS, 0.01 * TARGETS) / 2,
        rtol=1e-2,
    )
    np.testing.assert_allclose(
        losses.log_cosh(1e4 * PREDICTIONS, 1e4 * TARGETS),
        losses.absolute_error(1e4 * PREDICTIONS, 1e4 * TARGETS),
        rtol=1e-3,
    )


@pytest.mark.parametrize(
    ("loss", "options", "minimum"),
    [
        (losses.squared_error, {}, np.mean),
        (losses.absolute_error, {}, np.median),
        (losses.quantile, {"level": 0.2}, lambda x: np.quantile(x, 0.2)),
    ],
)
def test_the_best_constant_is_the_statistic_that_the_docstring_names(loss, options, minimum):
    targets = TARGETS[:1]
    constants = np.linspace(-3, 3, 601, dtype=np.float32)
    values = [loss(jnp.full(targets.shape, c), targets, **options)[0] for c in constants[::10]]
    best = constants[::10][np.argmin(values)]
    assert abs(best - minimum(targets)) < 0.15


def test_an_asymmetric_loss_pulls_the_best_constant_below_the_mean():
    targets = TARGETS[:1]
    constants = np.linspace(-3, 3, 61, dtype=np.float32)
    best = {
        over: constants[
            np.argmin(
                [losses.asymmetric_squared_error(jnp.full(targets.shape, c), targets, over=over)[0] for c in constants]
            )
        ]
        for over in (1.0, 4.0)
    }
    assert abs(best[1.0] - targets.mean()) < 0.1
    assert best[4.0] < best[1.0] - 0.3


def test_equal_weights_are_the_squared_error():
    np.testing.assert_allclose(
        losses.asymmetric_squared_error(PREDICTIONS, TARGETS, over=1.0),
        losses.squared_error(PREDICTIONS, TARGETS),
        rtol=1e-6,
    )


def test_a_target_of_zero_has_the_floor_for_its_size():
    np.testing.assert_allclose(
        losses.relative_error(PREDICTIONS, jnp.zeros_like(TARGETS), floor=2.0),
        np.abs(PREDICTIONS).mean((1, 2, 3)) / 2,
        rtol=1e-5,
    )


def test_a_mean_of_bfloat16_counts_more_voxels_than_bfloat16_can():
    ones = jnp.ones((1, 20, 20, 20), jnp.bfloat16)  # 8000 has no neighbour at a distance of 1
    mask = jnp.ones(ones.shape, bool).at[0, 0, 0, 0].set(False)
    assert losses.absolute_error(ones, 0 * ones, where=mask)[0] == 1
