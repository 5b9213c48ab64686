"""Derived maps lie in the store and are never taken for measured ones."""

import numpy as np
import pytest
import zarr

from tests.perfused_head import head
from tmax_jax.cohort.batches import trainable_cases
from tmax_jax.cohort.derived import read_derived, write_derived
from tmax_jax.cohort.store import CohortError, list_cases, read_attributes, read_case, write_case


def derived(store):
    """The derived map, which must be there, and its description."""
    found = read_derived(store, "case-0001", "tmax_osvd")
    assert found is not None
    return found


VALUES = np.random.default_rng(0).uniform(0, 10, head().mask.shape).astype(np.float32)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path) -> str:
    place = str(tmp_path / "cohort.zarr") if request.param == "folder" else f"memory://{tmp_path.name}/cohort.zarr"
    write_case(place, head())
    return place


def test_a_derived_map_comes_back_with_what_it_was_made_of(store):
    assert read_derived(store, "case-0001", "tmax_osvd") is None
    write_derived(store, "case-0001", "tmax_osvd", VALUES, {"unit": "s", "source": "abc"})
    values, described = derived(store)
    np.testing.assert_array_equal(values, VALUES)
    assert described == {"unit": "s", "source": "abc"}


def test_whoever_reads_the_case_does_not_see_it(store):
    before = read_attributes(store, "case-0001")
    write_derived(store, "case-0001", "tmax_osvd", VALUES, {})
    assert read_attributes(store, "case-0001") == before
    assert list_cases(store) == ["case-0001"]
    assert set(read_case(store, "case-0001", maps=None).maps) == {"tmax"}
    assert trainable_cases(store, ["case-0001"]) == ["case-0001"]


def test_a_measured_map_cannot_be_replaced_by_a_derived_one(store):
    with pytest.raises(CohortError, match="has a measured map 'tmax'"):
        write_derived(store, "case-0001", "tmax", VALUES, {})


def test_a_case_that_is_converted_anew_has_none(store):
    write_derived(store, "case-0001", "tmax_osvd", VALUES, {})
    write_case(store, head())
    assert read_derived(store, "case-0001", "tmax_osvd") is None


def test_the_last_of_several_writers_stays_and_half_a_map_is_none(tmp_path):
    store = tmp_path / "cohort.zarr"
    write_case(store, head())
    for factor in (1, 2):
        write_derived(store, "case-0001", "tmax_osvd", factor * VALUES, {"factor": factor})
    values, described = derived(store)
    np.testing.assert_array_equal(values, 2 * VALUES)
    assert described == {"factor": 2}
    (store / "case-0001" / "maps" / "tmax_osvd" / "zarr.json").unlink()  # as before the last write
    assert read_derived(store, "case-0001", "tmax_osvd") is None


def test_other_software_reads_it(tmp_path):
    store = tmp_path / "cohort.zarr"
    write_case(store, head())
    write_derived(store, "case-0001", "tmax_osvd", VALUES, {"unit": "s"})
    array = zarr.open_array(store / "case-0001" / "maps" / "tmax_osvd", mode="r")
    np.testing.assert_array_equal(array[:], VALUES)
    assert array.metadata.to_dict()["dimension_names"] == ("z", "y", "x")
    assert array.attrs["unit"] == "s"


def test_a_place_that_cannot_be_written_to_is_an_error_that_names_map_and_case(tmp_path):
    store = tmp_path / "cohort.zarr"
    write_case(store, head())
    (store / "case-0001" / "maps" / "tmax_osvd").write_text("in the way")
    with pytest.raises(CohortError, match="the map tmax_osvd cannot be added to case-0001"):
        write_derived(store, "case-0001", "tmax_osvd", VALUES, {})
