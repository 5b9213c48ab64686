"""Images are read when they are asked for, kept while they fit, and never twice for nothing."""

import numpy as np
import pytest

from tests.test_batches import fill
from tmax_jax.cohort.images import Images, free_memory_bytes
from tmax_jax.cohort.store import CohortError, read_case

SHAPE, BYTES = (2, 4, 4, 3), 2 * 4 * 4 * 3 * 2


def open_images(store, names, *, keep: int) -> Images:
    return Images(store, names, SHAPE, np.dtype(np.uint16), keep_bytes=keep * BYTES)


def test_nothing_is_read_before_it_is_asked_for_and_what_fits_is_read_once(tmp_path):
    names = fill(tmp_path, 3)
    images = open_images(tmp_path, names, keep=3)
    assert images.read_count == 0
    for _ in range(2):
        for place, name in enumerate(names):
            np.testing.assert_array_equal(images[place], read_case(tmp_path, name).perfusion)
    assert images.read_count == 3
    assert images[-1] is images[2]


def test_what_does_not_fit_is_read_anew_each_time(tmp_path):
    images = open_images(tmp_path, fill(tmp_path, 3), keep=1)
    for _ in range(2):
        for place in range(3):
            assert images[place].shape == SHAPE
    assert images.read_count == 1 + 2 + 2
    images.read_ahead([1, 1, 2])
    assert images[1].shape == images[2].shape == SHAPE
    assert images.read_count == 7  # read ahead, and not again


def test_it_is_a_sequence_like_a_tuple_of_arrays(tmp_path):
    images = open_images(tmp_path, fill(tmp_path, 3), keep=3)
    assert len(images) == len(list(images)) == 3
    assert len(images[1:]) == 2
    with pytest.raises(IndexError):
        images[3]


def test_a_case_that_changed_its_form_meanwhile_is_refused(tmp_path):
    names = fill(tmp_path, 2)
    images = open_images(tmp_path, names, keep=2)
    fill(tmp_path, 2, odd=(1,))
    with pytest.raises(CohortError, match=r"case-0002 .* has other images than when this run started"):
        images[1]


def test_free_memory_is_some_and_less_than_a_petabyte():
    assert 0 < free_memory_bytes() < 1e15
