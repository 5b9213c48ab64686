"""Numbers as places: which number began a volume is known, follows from the slices' order, or is not guessed."""

import numpy as np
import pytest

from tests.dicom_files import BLANK
from tmax_jax.dicom.header import DicomError
from tmax_jax.dicom.lattice import SLICES_FASTEST, TIMES_FASTEST, read_lattices
from tmax_jax.dicom.source import Source
from tmax_jax.dicom.timing import order_in_time

SLICES, TIMES = 6, 12
Z, T = (axis.ravel() for axis in np.mgrid[:SLICES, :TIMES])
ASCENDING, DESCENDING, INTERLEAVED = np.arange(6), np.arange(6)[::-1], np.array([0, 3, 1, 4, 2, 5])


def slices_fastest(lost: list[int], begin: int, order: np.ndarray = ASCENDING) -> list[tuple[np.ndarray, int]]:
    number = begin + T * SLICES + order[Z]
    kept = np.delete(np.arange(len(Z)), lost)
    found = read_lattices(number[kept], Z[kept], SLICES, 0)
    return [(index - T[kept], count) for index, count, how in found if how == SLICES_FASTEST]


@pytest.mark.parametrize("order", [ASCENDING, DESCENDING, INTERLEAVED])
@pytest.mark.parametrize("lost", [[], [0], [71], [0, 12, 24], [30, 31]])
def test_numbers_from_one_are_places(order, lost):
    moved, count = slices_fastest(lost, 1, order)[0]
    assert not moved.any()
    assert count == TIMES


@pytest.mark.parametrize("order", [ASCENDING, DESCENDING])
@pytest.mark.parametrize("begin", [4, 1000])
@pytest.mark.parametrize("lost", [[], [0], [60], [71], [0, 12, 24]])
def test_numbers_from_anywhere_begin_where_the_slices_come_in_order(begin, order, lost):
    [(moved, count)] = slices_fastest(lost, begin, order)
    assert not moved.any()
    assert count == TIMES


def test_an_interleaved_scan_with_a_lost_end_and_unknown_beginning_is_not_guessed():
    [(moved, count)] = slices_fastest([], 1000, INTERLEAVED)
    assert not moved.any()
    assert count == TIMES
    assert not slices_fastest([0], 1000, INTERLEAVED)  # the first of the first volume, or the last of the last


def test_a_lost_first_volume_is_missing_and_not_the_beginning():
    moved, count = slices_fastest([z * TIMES for z in range(SLICES)], 1)[0]
    assert not moved.any()
    assert count == TIMES


def test_times_fastest_is_read_with_holes_at_either_end():
    kept = np.delete(np.arange(len(Z)), [0, 40, 71])
    found = read_lattices(1 + Z[kept] * TIMES + T[kept], Z[kept], SLICES, TIMES)
    [index] = [index for index, count, how in found if (how, count) == (TIMES_FASTEST, TIMES)]
    np.testing.assert_array_equal(index, T[kept])


@pytest.mark.parametrize("field", ["instance_number", "acquired_s"])
def test_even_ranks_keep_a_time_point_that_was_lost_whole(field):
    """Per slice the values are evenly spaced, but no lattice and no common time gives their places."""
    kept = T != 4
    frames = [
        BLANK._replace(source=Source(str(i)), **{field: 50.0 * t + 7 * z})
        for i, (z, t) in enumerate(zip(Z[kept], T[kept], strict=True))
    ]
    order = order_in_time(frames, Z[kept], SLICES)
    assert order.key.startswith("rank of")
    assert order.count == TIMES
    np.testing.assert_array_equal(order.index, T[kept])
    with pytest.raises(DicomError, match="no header value orders the images"):
        order_in_time(frames[1:], Z[kept][1:], SLICES)
