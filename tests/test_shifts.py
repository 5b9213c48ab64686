"""Motion: how far an image moved, not how bright it became."""

import numpy as np
import pytest
from scipy import ndimage

from tests.perfused_head import SPACING_MM, head
from tmax_jax.cohort.shifts import estimate_shifts_mm, phase_shifts


@pytest.mark.parametrize("moved", [(0, 0), (3, -2), (0.5, 0.25), (-1.4, 2.7)])
def test_the_shift_of_an_image_is_found_below_a_voxel(moved):
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((64, 48)), 2)
    image -= image.min()
    there = ndimage.shift(image, moved, order=3, mode="nearest")
    np.testing.assert_allclose(phase_shifts(there[None], image)[0], moved, atol=0.15)


def test_brightness_is_no_motion():
    case = head()
    assert case.perfusion is not None
    before = np.arange(case.perfusion.shape[-1]) < 9
    shifts = estimate_shifts_mm(case.perfusion, case.inserted, before, np.array(SPACING_MM))
    assert np.abs(shifts).max() < 0.5  # though the signal falls by a quarter


def test_a_head_that_moves_is_followed_in_all_directions():
    case = head()
    assert case.perfusion is not None
    moved = case.perfusion.astype(float)
    for t in range(30, 60):
        moved[..., t] = ndimage.shift(moved[..., t], (1.0, -0.75, 0.5), order=1)
    before = np.arange(60) < 9
    shifts = estimate_shifts_mm(moved, case.inserted, before, np.array(SPACING_MM))
    z_mm, y_mm, x_mm = shifts[40:].mean(axis=0)
    assert (y_mm, x_mm) == pytest.approx((-3.0, 2.0), abs=0.3)
    assert 3.5 < z_mm < 6.5  # of 6: it reads low along few slices
    assert np.abs(shifts[:30]).max() < 0.5


def test_missing_images_are_no_motion_and_a_missing_frame_has_none():
    case = head()
    assert case.perfusion is not None
    inserted, values = case.inserted.copy(), case.perfusion.copy()
    inserted[2:4, 40] = inserted[:, 50] = True
    np.moveaxis(values, -1, 1)[inserted] = 0
    shifts = estimate_shifts_mm(values, inserted, np.arange(60) < 9, np.array(SPACING_MM))
    assert np.isnan(shifts[50]).all()
    assert np.abs(np.delete(shifts, 50, axis=0)).max() < 0.5


def test_an_axis_too_short_for_an_estimate_has_no_motion():
    images = np.random.default_rng(0).random((3, 4, 32))
    assert not phase_shifts(images, images[0])[:, 0].any()
