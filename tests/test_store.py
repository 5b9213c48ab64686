"""The store: whole or absent, and open to other readers."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from tmax_jax.cohort.store import Case, CohortError, list_cases, read_attributes, read_case, write_case


def make_case(case_id: str = "case-0001", *, dtype: type = np.int16, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    shape = (3, 6, 5)
    perfusion = rng.integers(0, 900, (*shape, 4)).astype(dtype)
    maps = {"tmax": rng.uniform(0, 17, shape).astype(np.float32)}
    attributes = {"data": "phantom", "maps": {"tmax": {"unit": "s"}}, "frame_times_s": [0.0, 1.5, 3.0, 4.5]}
    return Case(case_id, perfusion, rng.random(shape) > 0.5, rng.random((3, 4)) > 0.9, maps, attributes)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_reads_back_what_was_written_in_its_own_type(tmp_path: Path, dtype: type) -> None:
    case = make_case(dtype=dtype)
    write_case(tmp_path, case)
    again = read_case(tmp_path, "case-0001")
    assert again.perfusion is not None
    assert again.perfusion.dtype == dtype
    np.testing.assert_array_equal(again.perfusion, case.perfusion)
    np.testing.assert_array_equal(again.mask, case.mask)
    np.testing.assert_array_equal(again.inserted, case.inserted)
    np.testing.assert_array_equal(again.maps["tmax"], case.maps["tmax"])
    assert again.attributes["frame_times_s"] == case.attributes["frame_times_s"]


def test_zarr_python_and_xarray_open_it_with_dimension_names(tmp_path: Path) -> None:
    case = make_case()
    write_case(tmp_path, case)
    array = zarr.open_group(tmp_path, mode="r")["case-0001/perfusion"]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(np.asarray(array), case.perfusion)
    assert array.chunks == (1, 6, 5, 4)
    dataset = xarray.open_zarr(tmp_path / "case-0001", consolidated=False)
    assert dataset["perfusion"].dims == ("z", "y", "x", "time")
    assert dataset["inserted"].dims == ("z", "time")
    np.testing.assert_array_equal(dataset["mask"].values, case.mask)
    maps = xarray.open_zarr(tmp_path / "case-0001" / "maps", consolidated=False)
    np.testing.assert_array_equal(maps["tmax"].values, case.maps["tmax"])


def test_a_case_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_case(tmp_path, make_case(seed=0))
    newer = make_case(seed=1)
    write_case(tmp_path, newer)
    np.testing.assert_array_equal(read_case(tmp_path, "case-0001").perfusion, newer.perfusion)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case-0001", "zarr.json"]


def test_a_half_written_case_is_not_listed(tmp_path: Path) -> None:
    write_case(tmp_path, make_case("case-0002"))
    (tmp_path / "case-0002").rename(tmp_path / ".case-0002.4242")
    write_case(tmp_path, make_case("case-0001"))
    assert list_cases(tmp_path) == ["case-0001"]


def test_truth_needs_no_perfusion(tmp_path: Path) -> None:
    case = make_case()
    write_case(tmp_path, Case("case-0001", None, case.mask, case.inserted, case.maps, {}))
    assert read_case(tmp_path, "case-0001", maps=None).perfusion is None


def test_errors_name_what_is_missing_and_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no cohort at .*tmax_jax\.convert"):
        list_cases(tmp_path / "nowhere")
    write_case(tmp_path, make_case())
    with pytest.raises(CohortError, match="no case 'case-0009'; it has: case-0001"):
        read_attributes(tmp_path, "case-0009")
    with pytest.raises(CohortError, match="no map cbv; it has: tmax"):
        read_case(tmp_path, "case-0001", maps=("cbv",))


def test_arrays_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    case = make_case()
    wrong = Case("case-0001", case.perfusion, case.mask[1:], case.inserted, case.maps, {})
    with pytest.raises(CohortError, match=r"mask .* is \(2, 6, 5\), but map tmax \(3, 6, 5\)"):
        write_case(tmp_path / "new", wrong)
    assert not (tmp_path / "new").exists()


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, make_case())
    path = tmp_path / "case-0001" / "zarr.json"
    group = json.loads(path.read_text())
    group["attributes"]["schema_version"] = 99
    path.write_text(json.dumps(group))
    with pytest.raises(CohortError, match="schema version 99"):
        read_attributes(tmp_path, "case-0001")
