"""The voxel-wise losses: values by hand, masks that hold, gradients that agree with differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax import losses

CASES = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 6))
PREDICTIONS, TARGETS = CASES[0], CASES[1]
MASK = jax.random.bernoulli(jax.random.key(1), 0.5, TARGETS.shape)
all_losses = pytest.mark.parametrize("loss", losses.LOSSES.values(), ids=losses.LOSSES)


@all_losses
def test_masked_voxels_leak_neither_value_nor_gradient(loss):
    broken = jnp.where(MASK, TARGETS, jnp.nan)

    def total(predictions, targets):
        return jnp.sum(loss(predictions, targets, where=MASK))

    np.testing.assert_array_equal(total(PREDICTIONS, broken), total(PREDICTIONS, TARGETS))
    for targets in (broken, TARGETS):
        gradient = jax.grad(total)(jnp.where(MASK, PREDICTIONS, jnp.nan), targets)
        assert np.all(np.isfinite(gradient))
        assert np.all(np.asarray(gradient)[~np.asarray(MASK)] == 0)


@all_losses
def test_an_empty_mask_gives_zero_and_a_zero_gradient(loss):
    nothing = jnp.zeros(TARGETS.shape, bool)
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(loss(p, TARGETS, where=nothing)))(PREDICTIONS)
    assert value == 0
    assert not np.any(gradient)


@all_losses
def test_the_mean_is_over_the_kept_voxels_of_each_case(loss):
    whole = loss(PREDICTIONS, TARGETS, where=MASK)
    for case in range(len(TARGETS)):
        kept = np.asarray(MASK[case])
        shape = (1, 1, 1, kept.sum())
        alone = loss(jnp.reshape(PREDICTIONS[case][kept], shape), jnp.reshape(TARGETS[case][kept], shape))
        np.testing.assert_allclose(whole[case], alone[0], rtol=1e-5)


@all_losses
def test_gradients_agree_with_finite_differences(loss):
    with jax.enable_x64(True):
        predictions, targets = (jnp.asarray(np.asarray(x), jnp.float64) for x in (PREDICTIONS, TARGETS))
        direction = jnp.asarray(np.random.default_rng(0).normal(size=TARGETS.shape))
        total = lambda p: jnp.sum(loss(p, targets))  # noqa: E731
        slope = jnp.vdot(jax.grad(total)(predictions), direction)
        step = 1e-6
        difference = (total(predictions + step * direction) - total(predictions - step * direction)) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


@all_losses
def test_bfloat16_stays_bfloat16_under_strict_promotion(loss):
    with jax.numpy_dtype_promotion("strict"):
        value = jax.jit(loss)(PREDICTIONS.astype(jnp.bfloat16), TARGETS.astype(jnp.bfloat16), where=MASK)
    assert value.dtype == jnp.bfloat16


@all_losses
def test_shapes_that_differ_are_named(loss):
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 6\).*\(3, 4, 5\)"):
        loss(PREDICTIONS, TARGETS[..., 0])
    with pytest.raises(ValueError, match="where has shape"):
        loss(PREDICTIONS, TARGETS, where=MASK[0])


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
