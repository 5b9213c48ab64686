"""The mask: the paper's threshold with filling, one for all frames."""

import numpy as np
import pytest

from tmax_jax.cohort.mask import foreground_mask


def head(frames: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc with a dark ventricle in two slices, and faint noise around it."""
    y, x = np.mgrid[:24, :24]
    radius = np.hypot(y - 12, x - 12)
    disc = radius < 9
    image = np.where(disc, 100.0, 0) * (radius > 2)
    rng = np.random.default_rng(0)
    perfusion = np.repeat(image[None, :, :, None], 2, 0) + rng.uniform(0, 5, (2, 24, 24, frames))
    return perfusion, disc


def test_holes_are_filled_and_air_is_left_out():
    perfusion, disc = head()
    mask = foreground_mask(perfusion, np.zeros((2, 5), bool))
    np.testing.assert_array_equal(mask[0], disc)


def test_a_speck_in_the_air_is_not_head():
    perfusion, disc = head()
    perfusion[:, 1, 1] = 80
    np.testing.assert_array_equal(foreground_mask(perfusion, np.zeros((2, 5), bool))[1], disc)


def test_inserted_images_do_not_darken_a_slice():
    perfusion, disc = head(frames=12)
    inserted = np.zeros((2, 12), bool)
    inserted[1, 1:] = True
    perfusion[1, :, :, 1:] = 0
    np.testing.assert_array_equal(foreground_mask(perfusion, inserted)[1], disc)


def test_one_very_bright_voxel_does_not_move_the_threshold():
    perfusion, disc = head()
    perfusion[0, 12, 5] = 1e5
    np.testing.assert_array_equal(foreground_mask(perfusion, np.zeros((2, 5), bool))[0], disc)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32])
def test_every_stored_type_gives_the_same_mask(dtype):
    perfusion, disc = head()
    np.testing.assert_array_equal(foreground_mask(perfusion.astype(dtype), np.zeros((2, 5), bool))[0], disc)


def test_an_empty_image_has_an_empty_mask():
    assert not foreground_mask(np.zeros((2, 4, 4, 3)), np.zeros((2, 3), bool)).any()
