"""The store: whole or absent, in a folder or elsewhere, and open to other readers."""

import dataclasses
import http.server
import json
import logging
import os
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from moto.server import ThreadedMotoServer

from tests.store_cases import make_case
from tmax_jax.cohort.store import (
    Case,
    CohortError,
    has_case,
    list_cases,
    read_attributes,
    read_case,
    write_case,
)


@pytest.fixture(scope="module")
def s3_server():
    """The address of an S3 server on this machine, with a bucket called scans."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line a request
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/scans", method="PUT")).close()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place of each kind."""
    if request.param == "folder":
        return str(tmp_path / "cohort.zarr")
    if request.param == "memory":
        return f"memory://{tmp_path}/cohort.zarr"
    place = {"driver": "s3", "bucket": "scans", "path": f"{tmp_path.name}/cohort.zarr", "aws_region": "us-east-1"}
    return json.dumps(place | {"endpoint": request.getfixturevalue("s3_server")})


def test_every_place_holds_a_cohort(store: str) -> None:
    for number in (2, 1):
        write_case(store, make_case(f"case-000{number}", seed=number))
    assert list_cases(store) == ["case-0001", "case-0002"]
    assert has_case(store, "case-0002")
    assert not has_case(store, "case-0003")
    case, again = make_case("case-0002", seed=2), read_case(store, "case-0002")
    np.testing.assert_array_equal(again.perfusion, case.perfusion)
    np.testing.assert_array_equal(again.mask, case.mask)
    np.testing.assert_array_equal(again.inserted, case.inserted)
    np.testing.assert_array_equal(again.maps["tmax"], case.maps["tmax"])
    assert read_attributes(store, "case-0001")["data"] == "phantom"


def test_what_an_older_case_had_and_a_newer_has_not_is_gone_everywhere(store: str) -> None:
    case = make_case()
    write_case(store, case)
    write_case(store, Case("case-0001", None, case.mask, case.inserted, {}, {"data": "real"}))
    again = read_case(store, "case-0001", maps=None)
    assert again.perfusion is None
    assert not again.maps


def test_a_writing_that_fails_half_way_shows_nothing_half_new(store: str) -> None:
    write_case(store, make_case(seed=0))
    newer = make_case(seed=1)
    bad = dataclasses.replace(newer, perfusion=np.full((*newer.mask.shape, 4), "x", object))
    with pytest.raises(ValueError, match="object"):
        write_case(store, bad)
    if store.startswith("/"):  # a folder still has the whole old one, and nothing else
        np.testing.assert_array_equal(read_case(store, "case-0001").mask, make_case(seed=0).mask)
        assert sorted(os.listdir(store)) == ["case-0001", "zarr.json"]
    else:
        assert list_cases(store) == []
    write_case(store, newer)
    np.testing.assert_array_equal(read_case(store, "case-0001").perfusion, newer.perfusion)


def test_who_reads_while_a_case_is_replaced_gets_one_version_or_an_error(store: str) -> None:
    versions = [dataclasses.replace(make_case(seed=seed), attributes={"version": seed}) for seed in range(12)]
    write_case(store, versions[0])
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            try:
                case = read_case(store, "case-0001")
            except CohortError:
                continue
            version = versions[case.attributes["version"]]
            same = np.array_equal(case.mask, version.mask) and np.array_equal(case.perfusion, version.perfusion)  # pyright: ignore[reportArgumentType] (it has perfusion)
            seen.append(case.attributes["version"] if same else -1)

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions[1:]:
        write_case(store, version)
        read_before, deadline = len(seen), time.monotonic() + 5
        while len(seen) == read_before and time.monotonic() < deadline:
            time.sleep(0.001)  # at least one reading a version, while the next writing starts
    done.set()
    reader.join()
    assert -1 not in seen
    assert len(set(seen)) > 6


def test_an_unchanged_case_is_known_in_no_time(tmp_path: Path) -> None:
    case = make_case()
    times = {"frame_times_s": np.arange(60.0).tolist(), "findings": ["a finding"] * 100}
    for number in range(50):
        write_case(tmp_path, dataclasses.replace(case, case_id=f"case-{number:04d}", attributes=times))
    start = time.perf_counter()
    for number in range(50):
        read_attributes(tmp_path, f"case-{number:04d}")
    assert (time.perf_counter() - start) / 50 < 0.02


def test_a_server_that_denies_is_an_error_not_an_absent_case(s3_server: str) -> None:
    class Denying(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denying) as server:
        threading.Thread(target=server.serve_forever).start()
        place = {"driver": "s3", "bucket": "scans", "path": "c.zarr/", "aws_region": "us-east-1"}
        store = json.dumps(place | {"endpoint": f"http://127.0.0.1:{server.server_port}"})
        for ask in (list_cases, lambda store: has_case(store, "a"), lambda store: read_attributes(store, "a")):
            with pytest.raises(CohortError, match="cannot be read: PERMISSION_DENIED"):
                ask(store)
        server.shutdown()


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


def test_integers_with_one_factor_are_stored_as_they_are_and_read_as_real_values(store: str) -> None:
    case = dataclasses.replace(make_case(dtype=np.uint16), scale=1.25)
    write_case(store, case)
    again = read_case(store, "case-0001")
    assert again.perfusion is not None
    assert case.perfusion is not None
    assert (again.perfusion.dtype, again.scale) == (np.float32, 1.0)
    np.testing.assert_array_equal(again.perfusion, case.perfusion * np.float32(1.25))
    if store.startswith("/"):  # xarray applies the factor too, zarr shows what is stored
        seen = xarray.open_zarr(f"{store}/case-0001", consolidated=False)["perfusion"].values
        np.testing.assert_allclose(seen, again.perfusion, rtol=1e-6)
        array = zarr.open_group(store, mode="r")["case-0001/perfusion"]
        np.testing.assert_array_equal(np.asarray(array), case.perfusion)


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
