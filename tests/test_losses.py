"""What every loss promises: masks that hold, exact gradients, and the properties of its entry in `loss_table`."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.goldens.maps import framed_maps, tmax_maps
from tests.loss_table import PROMISES, bound
from tmax_jax import losses

SHAPE = (3, 3, 4, 6)
rng = np.random.default_rng(0)
PREDICTIONS, TARGETS = rng.gamma(2, 3, (2, *SHAPE)).astype(np.float32)
MASK = rng.random(SHAPE) > 0.4
FRAMED = ("ssim", "multiscale_ssim", "gradient_difference")
HARD = ("dice", "tversky", "focal_tversky", "soft_precision", "generalized_dice")
every_loss = pytest.mark.parametrize("name", losses.LOSSES)


@functools.cache
def compiled(name: str):
    """The loss, jitted once for all examples of its properties."""
    return jax.jit(lambda p, t, where: bound(name)(p, t, where=where))


def having(**wanted):
    return [name for name, promise in PROMISES.items() if all(getattr(promise, k) == v for k, v in wanted.items())]


maps = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 20, width=32))
masks = hnp.arrays(bool, SHAPE)
check = settings(max_examples=25, deadline=None, derandomize=True)


@functools.cache
def goldens() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "goldens" / "losses.npz") as arrays:
        return dict(arrays)


@every_loss
def test_values_are_those_of_an_independent_implementation(name):
    predictions, targets = framed_maps() if name in FRAMED else tmax_maps()[:2]
    if name in HARD:  # the independent ones take a truth of 0 and 1
        middles = np.array([-100, 5, 7, 9, 100]) if name == "generalized_dice" else np.array([-100, 100])
        edges = [4, 6, 8, 10] if name == "generalized_dice" else [6]
        targets = middles[np.digitize(targets, edges, right=True)].astype(np.float32)
    if name == "relative_error":
        predictions, targets = predictions + 1, targets + 1
    found = jax.jit(functools.partial(losses.LOSSES[name], **PROMISES[name].golden))(predictions, targets)
    np.testing.assert_allclose(found, goldens()[name], rtol=2e-5, atol=1e-6)


@every_loss
def test_masked_voxels_leak_neither_value_nor_gradient(name):
    @jax.jit
    @jax.value_and_grad
    def total(predictions, targets):
        return jnp.sum(bound(name)(predictions, targets, where=MASK))

    whole, gradient = total(PREDICTIONS, TARGETS)
    for hidden in (np.nan, np.inf, -1e30):
        broken = (np.where(MASK, values, np.float32(hidden)) for values in (PREDICTIONS, TARGETS))
        value, its_gradient = total(*broken)
        np.testing.assert_array_equal(value, whole)
        np.testing.assert_array_equal(its_gradient, gradient)
    assert np.all(np.isfinite(gradient))
    assert not np.any(np.asarray(gradient)[~MASK])
    assert np.any(gradient)


@every_loss
def test_an_empty_mask_gives_zero_and_a_zero_gradient(name):
    nothing = jnp.zeros(SHAPE, bool)
    total = jax.jit(jax.value_and_grad(lambda p: jnp.sum(bound(name)(p, TARGETS, where=nothing))))
    value, gradient = total(PREDICTIONS)
    assert value == 0
    assert not np.any(gradient)


@every_loss
def test_a_mask_of_everything_is_no_mask(name):
    everything = np.ones(SHAPE, bool)
    np.testing.assert_allclose(
        bound(name)(PREDICTIONS, TARGETS, where=everything), bound(name)(PREDICTIONS, TARGETS), rtol=1e-5
    )


@pytest.mark.parametrize("name", having(voxelwise=True))
def test_the_mean_is_over_the_kept_voxels_of_each_case(name):
    whole = bound(name)(PREDICTIONS, TARGETS, where=MASK)
    for case in range(len(TARGETS)):
        kept = MASK[case]
        alone = bound(name)(*(values[case][kept].reshape(1, 1, 1, -1) for values in (PREDICTIONS, TARGETS)))
        np.testing.assert_allclose(whole[case], alone[0], rtol=1e-5)


@every_loss
@pytest.mark.parametrize("where", [None, MASK], ids=["whole", "masked"])
def test_gradients_agree_with_finite_differences(name, where):
    with jax.enable_x64(True):
        predictions, targets = (jnp.asarray(x, jnp.float64) for x in (PREDICTIONS, TARGETS))
        direction = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))

        @jax.jit
        def total(predictions):
            return jnp.sum(bound(name)(predictions, targets, where=where))

        slope = jnp.vdot(jax.grad(total)(predictions), direction)
        step = 1e-6
        difference = (total(predictions + step * direction) - total(predictions - step * direction)) / (2 * step)
        assert slope.dtype == jnp.float64
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


@every_loss
def test_bfloat16_stays_bfloat16_and_near_under_strict_promotion(name):
    predictions, targets = (jnp.asarray(x, jnp.bfloat16) for x in (PREDICTIONS, TARGETS))
    with jax.numpy_dtype_promotion("strict"):
        value, gradient = jax.jit(jax.value_and_grad(lambda p: jnp.sum(bound(name)(p, targets, where=MASK))))(
            predictions
        )
        single = jax.jit(lambda p, t: jnp.sum(bound(name)(p, t, where=MASK)))(
            predictions.astype(jnp.float32), targets.astype(jnp.float32)
        )
    assert value.dtype == gradient.dtype == jnp.bfloat16
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(value.astype(jnp.float32), single, rtol=0.02, atol=0.01)


@every_loss
def test_vmap_over_volumes_gives_what_a_batch_gives(name):
    one_by_one = jax.jit(jax.vmap(lambda p, t, m: bound(name)(p[None], t[None], where=m[None])[0]))
    whole = compiled(name)(PREDICTIONS, TARGETS, MASK)
    np.testing.assert_allclose(one_by_one(PREDICTIONS, TARGETS, MASK), whole, rtol=1e-5, atol=1e-6)


@every_loss
def test_shapes_that_differ_are_named(name):
    with pytest.raises(ValueError, match=r"\(3, 3, 4, 6\).*\(3, 3, 4\)"):
        bound(name)(PREDICTIONS, TARGETS[..., 0])
    with pytest.raises(ValueError, match="where has shape"):
        bound(name)(PREDICTIONS, TARGETS, where=MASK[0])


@every_loss
@check
@given(predictions=maps, targets=maps, mask=masks)
def test_values_lie_within_bounds_and_are_zero_at_the_truth(name, predictions, targets, mask):
    values = np.asarray(compiled(name)(predictions, targets, mask))
    assert np.all(values >= -1e-6)
    assert np.all(values <= PROMISES[name].upper + 1e-6)
    np.testing.assert_allclose(compiled(name)(targets, targets, mask), 0, atol=1e-6)


@every_loss
@check
@given(predictions=maps, targets=maps, mask=masks, elsewhere=maps)
def test_values_outside_the_mask_do_not_matter(name, predictions, targets, mask, elsewhere):
    changed = (np.where(mask, values, elsewhere) for values in (predictions, targets))
    np.testing.assert_array_equal(compiled(name)(*changed, mask), compiled(name)(predictions, targets, mask))


@every_loss
@check
@given(predictions=maps, targets=maps, mask=masks, order=st.permutations(range(SHAPE[0])))
def test_cases_in_another_order_keep_their_values(name, predictions, targets, mask, order):
    order = np.array(order)
    whole = np.asarray(compiled(name)(predictions, targets, mask))
    np.testing.assert_allclose(
        compiled(name)(predictions[order], targets[order], mask[order]), whole[order], rtol=1e-5, atol=1e-6
    )


@every_loss
@check
@given(predictions=maps, targets=maps, mask=masks, axis=st.integers(1, 3))
def test_a_mirrored_volume_has_the_same_value(name, predictions, targets, mask, axis):
    if name == "multiscale_ssim" and SHAPE[axis] % 2:
        return  # an odd axis is pooled from its beginning
    mirrored = compiled(name)(*(np.flip(values, axis) for values in (predictions, targets, mask)))
    np.testing.assert_allclose(mirrored, compiled(name)(predictions, targets, mask), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", having(symmetric=True))
@check
@given(predictions=maps, targets=maps, mask=masks)
def test_exchanging_prediction_and_target_changes_nothing(name, predictions, targets, mask):
    exchanged = compiled(name)(targets, predictions, mask)
    np.testing.assert_allclose(exchanged, compiled(name)(predictions, targets, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", having(symmetric=False))
def test_a_loss_that_is_not_symmetric_tells_the_two_apart(name):
    exchanged = np.asarray(bound(name)(TARGETS, PREDICTIONS))
    assert not np.allclose(exchanged, bound(name)(PREDICTIONS, TARGETS), rtol=1e-3)


@pytest.mark.parametrize("name", having(monotone=True))
@check
@given(predictions=maps, targets=maps, mask=masks, share=st.floats(0, 1, width=32))
def test_a_prediction_on_the_way_to_the_truth_is_never_worse(name, predictions, targets, mask, share):
    nearer = targets + np.float32(share) * (predictions - targets)
    far, near = (np.asarray(compiled(name)(p, targets, mask)) for p in (predictions, nearer))
    assert np.all(near <= far * (1 + 1e-5) + 1e-5)
