"""Augmentation: what moves moves together, what is off changes nothing, and a key gives the same case again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.training.augment import OFF, Augmentation, add_rician_noise, augment, rotate, shift_frames

SIZE = (3, 4, 10, 10, 6)
KEY = jax.random.key(0)


def batch_of(cases: int = 3) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    values = {
        "perfusion": rng.integers(1, 4000, (cases, *SIZE[1:])).astype(np.uint16),
        "mask": rng.random((cases, *SIZE[1:4])) > 0.3,
        "tmax_s": rng.gamma(2, 2, (cases, *SIZE[1:4])).astype(np.float32),
        "intensity_min": np.zeros(cases, np.float32),
        "intensity_max": np.full(cases, 4000, np.float32),
        "valid": np.ones(cases, bool),
    }
    return jax.device_put(values)


STRENGTHS = {
    "flip_probability": 0.5,
    "rotation_degrees": 20.0,
    "bolus_shift_frames": 2,
    "intensity_scale_percent": 20.0,
    "noise_percent": 5.0,
    "dropped_images_percent": 20.0,
}


def test_every_strength_is_off_by_default_and_then_the_batch_is_the_same_object():
    batch = batch_of()
    assert augment(KEY, batch, OFF) is batch
    assert set(STRENGTHS) == {field.name for field in dataclasses.fields(Augmentation)}


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_kind_draws_anew_for_every_case_and_step_but_the_same_for_the_same_key(name):
    batch = batch_of(8)
    batch |= {
        entry: jnp.broadcast_to(batch[entry][:1], batch[entry].shape) for entry in ("perfusion", "mask", "tmax_s")
    }
    change = jax.jit(lambda key: augment(key, batch, Augmentation(**{name: STRENGTHS[name]}))["perfusion"])
    first, again, other = (np.asarray(change(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({case.tobytes() for case in first}) > 1  # equal cases are varied differently


def test_a_case_is_varied_alike_whatever_stands_beside_it():
    batch, strong = batch_of(3), Augmentation(**STRENGTHS)
    longer = {name: jnp.concatenate([values, values[:1]]) for name, values in batch.items()}
    alone, beside = (augment(KEY, cases, strong) for cases in (batch, longer))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:3]), alone, beside)


def test_images_mask_and_target_are_flipped_together():
    batch = batch_of()
    batch["perfusion"] = jnp.broadcast_to(batch["tmax_s"][..., None], SIZE)
    flipped = augment(KEY, batch, Augmentation(flip_probability=1.0))
    np.testing.assert_array_equal(flipped["mask"], batch["mask"][..., ::-1])
    np.testing.assert_array_equal(flipped["tmax_s"], batch["tmax_s"][..., ::-1])
    np.testing.assert_array_equal(flipped["perfusion"][..., 0], flipped["tmax_s"])


def test_images_mask_and_target_are_turned_together():
    """A bright square that is also the mask and the late tissue stays where all three say that it is."""
    square = np.zeros((1, 2, 32, 32), np.float32)
    square[:, :, 4:14, 10:20] = 1
    batch = batch_of(1) | {
        "perfusion": jnp.asarray(1000 * square[..., None]),
        "mask": jnp.asarray(square > 0),
        "tmax_s": jnp.asarray(8 * square),
    }
    turned = augment(KEY, batch, Augmentation(rotation_degrees=40.0))
    mask = np.asarray(turned["mask"])
    assert mask.dtype == bool
    assert (mask != (square > 0)).any()
    np.testing.assert_array_equal(turned["tmax_s"], np.where(mask, 8, 0))  # no value between healthy and late
    inside = np.asarray(turned["perfusion"])[..., 0]
    assert inside[mask].mean() > 900
    assert inside[~mask].mean() < 10
    assert abs(mask.sum() - square.sum()) < 0.05 * square.sum()


def test_a_quarter_turn_is_exact_and_there_and_back_is_close():
    volume = jax.random.uniform(KEY, (2, 8, 8, 3))
    np.testing.assert_allclose(rotate(volume, jnp.float32(np.pi / 2)), np.rot90(volume, 1, (1, 2)), atol=1e-5)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    smooth = jnp.asarray(np.exp(-4 * (x**2 + 2 * y**2)), jnp.float32)[None, :, :, None]
    back = rotate(rotate(smooth, jnp.float32(0.2)), jnp.float32(-0.2))
    assert np.abs(back - smooth).max() < 0.02


def test_a_shift_in_time_holds_the_ends():
    curve = jnp.arange(6.0).reshape(1, 1, 1, 6)
    assert shift_frames(curve, jnp.int32(2)).ravel().tolist() == [0, 0, 0, 1, 2, 3]
    assert shift_frames(curve, jnp.int32(-2)).ravel().tolist() == [2, 3, 4, 5, 5, 5]


def test_a_shift_leaves_mask_and_target_alone():
    batch = batch_of()
    shifted = augment(KEY, batch, Augmentation(bolus_shift_frames=2))
    np.testing.assert_array_equal(shifted["tmax_s"], batch["tmax_s"])
    np.testing.assert_array_equal(shifted["mask"], batch["mask"])


def test_intensities_change_by_one_factor_a_case_within_the_limit():
    batch = batch_of()
    scaled = augment(KEY, batch, Augmentation(intensity_scale_percent=20.0))["perfusion"]
    factor = np.asarray(scaled / batch["perfusion"]).reshape(3, -1)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), rtol=1e-5)
    assert (np.abs(factor[:, 0] - 1) <= 0.2).all()
    assert len(np.unique(factor[:, 0])) == 3


def test_noise_has_the_moments_of_a_rician_distribution():
    strong, none = (jnp.full((1, 60, 60, 60), level) for level in (50.0, 1e-6))
    noisy = np.asarray(add_rician_noise(KEY, strong, jnp.float32(2.0)))
    np.testing.assert_allclose([noisy.mean(), noisy.std()], [np.sqrt(50**2 + 2**2), 2.0], rtol=5e-3)
    floor = np.asarray(add_rician_noise(KEY, none, jnp.float32(2.0)))  # Rayleigh, where there is no signal
    np.testing.assert_allclose([floor.mean(), (floor**2).mean()], [2 * np.sqrt(np.pi / 2), 2 * 2**2], rtol=5e-3)
    assert not np.asarray(add_rician_noise(KEY, jnp.zeros((1, 2, 2, 2)), jnp.float32(2.0))).any()  # inserted images


def test_lost_images_are_whole_zero_images_of_about_the_share_asked_for():
    batch = batch_of(8) | {"perfusion": jnp.full((8, 20, 2, 2, 30), 7, jnp.int16)}
    batch |= {"mask": jnp.ones((8, 20, 2, 2), bool), "tmax_s": jnp.ones((8, 20, 2, 2))}
    left = np.asarray(augment(KEY, batch, Augmentation(dropped_images_percent=20.0))["perfusion"])
    lost = (left == 0).all(axis=(2, 3))
    assert ((left == 0).any(axis=(2, 3)) == lost).all()
    assert 0.17 < lost.mean() < 0.23


def test_what_is_lost_is_marked_and_marks_move_with_their_images():
    inserted = np.zeros((3, 4, 6), bool)
    inserted[:, 1, 2] = True
    batch = batch_of() | {"inserted": jnp.asarray(inserted)}
    batch["perfusion"] = jnp.where(inserted[:, :, None, None], 0, batch["perfusion"])
    varied = augment(KEY, batch, Augmentation(bolus_shift_frames=2, dropped_images_percent=20.0))
    empty = ~np.asarray(varied["perfusion"]).any(axis=(2, 3))
    np.testing.assert_array_equal(np.asarray(varied["inserted"]), empty)
    assert empty.sum() > 3
