"""Slices lie on a grid: missing ones leave room, uneven ones are refused, oblique ones keep their direction."""

import numpy as np
import pytest

from tests.dicom_files import BLANK
from tmax_jax.dicom.geometry import affine_ras, slice_grid, slice_normal
from tmax_jax.dicom.header import DicomError, Frame

TILTED = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)  # rows to the left and back, columns to the feet


def stack(places_mm: list[float], orientation: tuple[float, ...] = BLANK.orientation) -> list[Frame]:
    frame = BLANK._replace(orientation=orientation, pixel_spacing_mm=(2.0, 1.5))
    normal = slice_normal(frame)
    return [frame._replace(position_mm=tuple(place * normal + (5, -6, 7))) for place in places_mm]


def test_a_gap_of_twice_the_spacing_is_a_missing_slice_in_any_order():
    for places in ([0, 3, 9, 12], [12, 3, 0, 9]):
        frames = stack([float(place) for place in places])
        grid = slice_grid(frames)
        assert (grid.count, grid.gap_mm) == (5, pytest.approx(3))
        np.testing.assert_allclose(grid.index(frames), np.array(places) / 3, atol=1e-9)


def test_positions_that_differ_by_rounding_are_one_slice():
    grid = slice_grid(stack([0.0, 0.02, 4.0, 4.03, 8.0]))
    assert (grid.count, grid.gap_mm) == (3, pytest.approx(4, abs=0.02))


@pytest.mark.parametrize(
    ("places", "message"), [([0.0, 3.0, 7.5, 10.5], "not evenly spaced"), ([0.0, 3.0, 90.0], "3 of 31 slices")]
)
def test_slices_that_no_grid_holds_are_refused(places, message):
    with pytest.raises(DicomError, match=message):
        slice_grid(stack(places))


def test_one_slice_takes_its_spacing_from_the_header():
    [frame] = stack([4.0])
    assert slice_grid([frame]).gap_mm == 1
    assert slice_grid([frame._replace(slice_thickness_mm=5.0)]).gap_mm == 5
    assert slice_grid([frame._replace(slice_thickness_mm=5.0, slice_spacing_mm=6.0)]).gap_mm == 6


@pytest.mark.parametrize("orientation", [BLANK.orientation, TILTED])
def test_the_affine_leads_every_index_to_its_place_in_ras(orientation):
    frames = stack([8.0, 0.0, 4.0], orientation)
    affine = affine_ras(frames[0], slice_grid(frames))
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lps = np.array(frames[0].position_mm) + 3 * 1.5 * row + 1 * 2.0 * column  # the last slice, row 1, column 3
    np.testing.assert_allclose(affine @ (2, 1, 3, 1), [-lps[0], -lps[1], lps[2], 1], atol=1e-9)
    assert np.linalg.det(affine[:3, [2, 1, 0]] * [[-1], [-1], [1]]) > 0  # z ascends along row x column
