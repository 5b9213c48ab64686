"""Batches on the devices: in order, one ahead, with nothing read that this process does not need."""

import dataclasses
import threading
from typing import Any

import jax
import numpy as np
import pytest

from tests.test_batches import fill
from tmax_jax.cohort.batches import batched, read_cohort, take
from tmax_jax.cohort.images import Images
from tmax_jax.input import device_batches, memory_in_use
from tmax_jax.training.sharding import make_shardings


@pytest.mark.parametrize("mesh", ["data=1,space=1", "data=2,space=4", "data=4,space=1"])
def test_batches_are_those_of_the_cohort_in_order_and_padded_with_cases_that_do_not_count(tmp_path, mesh):
    cohort = read_cohort(tmp_path, fill(tmp_path, 7))
    shardings = make_shardings(4, rows=4, mesh=mesh)
    rows = batched(np.arange(7)[::-1], 4)
    with jax.transfer_guard("disallow"):
        found = list(device_batches(cohort, rows, shardings))
    assert len(found) == 2
    for row, batch in zip(rows, found, strict=True):
        expected = take(cohort, row)
        for name, value in expected.items():
            np.testing.assert_array_equal(batch[name], value, err_msg=name)
    assert found[1]["valid"].tolist() == [True, True, True, False]
    assert found[0]["perfusion"].sharding == shardings.per_row


def test_only_the_cases_of_the_batches_are_read(tmp_path):
    cohort = read_cohort(tmp_path, fill(tmp_path, 7))
    assert isinstance(cohort.perfusion, Images)
    list(device_batches(cohort, batched(np.array([5, 1, 2]), 2), make_shardings(2, jax.devices()[:1])))
    assert cohort.perfusion.read_count == 3


def test_the_next_batch_is_put_on_its_devices_while_one_is_used(tmp_path):
    """Shown by the images themselves: those of the next batch are asked for while the first is still in use."""
    cohort = read_cohort(tmp_path, fill(tmp_path, 3))
    asked = [threading.Event() for _ in range(3)]

    class Watched(list):
        def __getitem__(self, place):
            asked[place].set()
            return super().__getitem__(place)

    watched = dataclasses.replace(cohort, perfusion=Watched(cohort.perfusion))
    batches: Any = device_batches(watched, batched(np.arange(3), 1), make_shardings(1, jax.devices()[:1]))
    next(batches)
    assert asked[1].wait(timeout=30)
    assert not asked[2].is_set()  # one ahead, no more: each batch takes memory on the devices
    batches.close()


def test_an_error_while_reading_reaches_the_training(tmp_path):
    cohort = read_cohort(tmp_path, fill(tmp_path, 3))
    fill(tmp_path, 3, odd=(1,))
    with pytest.raises(ValueError, match="case-0002"):
        list(device_batches(cohort, batched(np.arange(3), 1), make_shardings(1, jax.devices()[:1])))


def test_memory_is_said_for_host_and_device(tmp_path):
    cohort = read_cohort(tmp_path, fill(tmp_path, 3))
    text = memory_in_use(cohort, make_shardings(2, rows=4, mesh="data=2,space=4"))
    assert text.startswith("3 patients, ")
    assert text.endswith("on each of 8 device(s), data=2,space=4")
