"""SSIM against scikit-image in the interior, by brute force at the mask's edge; scales; edges."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.goldens.maps import tmax_maps
from tmax_jax import losses
from tmax_jax.losses.structural import _pooled

GOLDENS = Path(__file__).parent / "goldens" / "losses.npz"
rng = np.random.default_rng(0)
INNER = slice(5, -5)
THREE_D = (1.5, 1.5, 1.5)


def test_the_3d_index_is_that_of_scikit_image_in_the_interior():
    predictions, targets, _ = tmax_maps()
    found = losses.ssim_map(predictions, targets, data_range=20.0, sigma=THREE_D)
    with np.load(GOLDENS) as arrays:
        np.testing.assert_allclose(found[:, INNER, INNER, INNER], arrays["ssim_map_3d"], atol=1e-5)


def test_the_2d_index_is_that_of_scikit_image_in_the_interior_of_each_slice():
    predictions, targets, _ = tmax_maps()
    found = losses.ssim_map(predictions, targets, data_range=20.0)
    with np.load(GOLDENS) as arrays:
        np.testing.assert_allclose(found[:, 7, INNER, INNER], arrays["ssim_map_2d"], atol=1e-5)


def brute_force(p, t, mask, at, sigma, data_range):
    """SSIM at one voxel, from the weighted voxels that its window may see, in float64."""
    grids = np.meshgrid(*(np.arange(n) - centre for n, centre in zip(p.shape, at, strict=True)), indexing="ij")
    weight = mask.astype(float)
    for grid, s in zip(grids, sigma, strict=True):
        weight = weight * (
            np.where(np.abs(grid) <= int(3.5 * s + 0.5), np.exp(-(grid**2) / (2 * s**2)), 0) if s else grid == 0
        )
    mean = functools.partial(np.average, weights=weight)
    mp, mt = mean(p), mean(t)
    vp, vt, c = mean((p - mp) ** 2), mean((t - mt) ** 2), mean((p - mp) * (t - mt))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return (2 * mp * mt + c1) * (2 * c + c2) / ((mp**2 + mt**2 + c1) * (vp + vt + c2))


@pytest.mark.parametrize("sigma", [(0, 1.5, 1.5), (0.5, 1.0, 1.5), THREE_D])
@pytest.mark.parametrize("masked", [True, False])
def test_a_window_at_the_edge_sees_the_voxels_that_count_and_no_others(sigma, masked):
    p, t = rng.gamma(2, 3, (2, 4, 9, 8)).astype(np.float32)
    mask = rng.random(t.shape) > 0.4 if masked else np.ones(t.shape, bool)
    where = mask[None] if masked else None
    found = np.asarray(losses.ssim_map(p[None], t[None], data_range=20.0, sigma=sigma, where=where))[0]
    expected = np.array(
        [brute_force(p.astype(float), t.astype(float), mask, at, sigma, 20.0) for at in np.argwhere(mask)]
    )
    np.testing.assert_allclose(found[mask], expected, atol=1e-5)
    assert not found[~mask].any()
    loss = losses.ssim(p[None], t[None], data_range=20.0, sigma=sigma, where=where)
    np.testing.assert_allclose(loss, [1 - expected.mean()], atol=1e-5)


def test_an_edge_of_the_mask_is_no_edge_of_the_map():
    flat = np.full((1, 1, 12, 12), 8.0, np.float32)
    mask = np.zeros(flat.shape, bool)
    mask[..., 3:9, 3:9] = True
    lower = np.where(mask, flat - 1, 0)
    inside, whole = (losses.ssim(lower, np.where(mask, flat, 0), data_range=20.0, where=w)[0] for w in (mask, None))
    luminance = 1 - 1 / (8**2 + 7**2 + 0.04)
    np.testing.assert_allclose(inside, 1 - luminance, rtol=1e-3)
    assert abs(whole - inside) > 0.1 * inside  # unmasked, the frame is seen


def test_slices_are_apart_unless_the_window_reaches_across_them():
    p, t = rng.gamma(2, 3, (2, 1, 3, 16, 16)).astype(np.float32)
    apart = [losses.ssim(p[:, [z]], t[:, [z]], data_range=20.0)[0] for z in range(3)]
    np.testing.assert_allclose(losses.ssim(p, t, data_range=20.0), [np.mean(apart)], rtol=1e-5)
    assert losses.ssim(p, t, data_range=20.0, sigma=THREE_D)[0] != pytest.approx(np.mean(apart), rel=1e-3)


def test_equal_flat_maps_far_from_zero_are_exactly_alike_in_float32():
    flat = jnp.full((1, 1, 16, 16), 17199.0)
    assert losses.ssim(flat, flat, data_range=20000.0)[0] == 0


def test_one_scale_is_ssim():
    p, t = tmax_maps()[:2]
    np.testing.assert_allclose(
        losses.multiscale_ssim(p, t, data_range=20.0, weights=(1.0,)), losses.ssim(p, t, data_range=20.0), rtol=1e-5
    )


def test_few_slices_are_not_pooled_unless_asked_for():
    p, t = rng.gamma(2, 3, (2, 1, 3, 32, 32)).astype(np.float32)
    assert np.isfinite(jax.jit(functools.partial(losses.multiscale_ssim, data_range=20.0))(p, t)[0])
    with pytest.raises(ValueError, match=r"z has 3 voxels, too few for 5 scales.*pool z by 1"):
        losses.multiscale_ssim(p, t, data_range=20.0, pool=(2, 2, 2))


def test_a_pooled_voxel_is_the_mean_of_those_that_count():
    p = np.array([[[[1.0, 3.0, 9.0], [5.0, 7.0, 2.0]]]], np.float32)
    mask = np.array([[[[True, False, True], [True, False, False]]]])

    (pooled, _), where = _pooled((jnp.where(mask, p, 0), jnp.where(mask, p, 0)), mask, (1, 2, 2))
    assert pooled.tolist() == [[[[3.0, 9.0]]]]
    assert where.all()


def test_a_map_of_the_opposite_pattern_is_worst_and_its_gradient_finite():

    t = np.sin(np.arange(32 * 32, dtype=np.float32)).reshape(1, 1, 32, 32) * 10
    value, gradient = jax.jit(jax.value_and_grad(lambda p: losses.multiscale_ssim(p, t, data_range=20.0)[0]))(-t)
    assert value == 1
    assert np.isfinite(gradient).all()


def test_slopes_by_hand_are_per_mm_and_stay_inside_the_mask():
    p, t = rng.normal(size=(2, 1, 3, 4, 5)).astype(np.float32)
    error, mask = (p - t)[0], rng.random(t.shape)[0] > 0.3
    slopes = [
        (np.abs(np.diff(error, axis=axis)) / spacing)[np.diff(mask.astype(int), axis=axis) == 0]
        for axis, spacing in enumerate((5.0, 1.8, 2.0))
    ]
    both = [
        (mask.take(range(1, n), axis) & mask.take(range(n - 1), axis))[np.diff(mask.astype(int), axis=axis) == 0]
        for axis, n in enumerate(mask.shape)
    ]
    kept = np.concatenate([values[counts] for values, counts in zip(slopes, both, strict=True)])
    found = losses.gradient_difference(p, t, spacing_mm=(5.0, 1.8, 2.0), where=mask[None])
    np.testing.assert_allclose(found, [kept.mean()], rtol=1e-5)


def test_a_constant_offset_has_no_slope_and_an_edge_turned_around_has_twice_its_own():
    t = np.zeros((1, 1, 4, 6), np.float32)
    t[..., 3:] = 5
    assert losses.gradient_difference(t + 2, t)[0] == 0
    flat, turned = (losses.gradient_difference(p, t)[0] for p in (0 * t, 5 - t))
    np.testing.assert_allclose(turned, 2 * flat)
