"""Where stores lie: what is a place, and how a case takes the place of another whatever kills its writer."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.store_cases import make_case
from tmax_jax.cohort import places
from tmax_jax.cohort.places import CohortError, path_beside, put_folder, remove_abandoned
from tmax_jax.cohort.store import list_cases, read_case, write_case

KILLED = """
import os, sys
from pathlib import Path
from tests.store_cases import make_case
from tmax_jax.cohort import places
from tmax_jax.cohort.store import write_case

steps = 0

def dies_at(call):
    def step(*args, **options):
        global steps
        steps += 1
        if steps == int(sys.argv[2]):
            os._exit(9)  # before it
        result = call(*args, **options)
        steps += 1
        if steps == int(sys.argv[2]):
            os._exit(9)  # after it
        return result
    return step

exchange = places._exchange if sys.argv[3] == "exchange" else lambda one, other: False
places._exchange = dies_at(exchange)
Path.rename = dies_at(Path.rename)
places.shutil.rmtree = dies_at(places.shutil.rmtree)
write_case(sys.argv[1], make_case(seed=1))
"""


@pytest.mark.parametrize(("how", "steps"), [("exchange", 4), ("rename", 10)])
def test_a_writer_killed_at_any_step_leaves_the_old_case_or_the_new_one(tmp_path: Path, how: str, steps: int) -> None:
    if how == "exchange" and not exchanges(tmp_path):
        pytest.skip("this file system exchanges no names")
    outcomes = []
    for step in range(1, steps + 2):
        store = tmp_path / str(step)
        write_case(store, make_case(seed=0))
        done = subprocess.run([sys.executable, "-c", KILLED, store, str(step), how], check=False)
        assert done.returncode == (9 if step <= steps else 0)
        if how == "exchange":
            assert list_cases(store) == ["case-0001"]  # at every moment, whoever looks
        remove_abandoned(store)
        found = read_case(store, "case-0001").mask
        outcomes.append([np.array_equal(found, make_case(seed=seed).mask) for seed in (0, 1)])
        write_case(store, make_case(seed=1))
        np.testing.assert_array_equal(read_case(store, "case-0001").perfusion, make_case(seed=1).perfusion)
    assert all(sum(which) == 1 for which in outcomes)
    assert outcomes[0] == [True, False]
    assert outcomes[-1] == [False, True]


def exchanges(folder: Path) -> bool:
    for name in ("a", "b"):
        (folder / name).mkdir()
    return places._exchange(folder / "a", folder / "b")


def test_folders_change_names_and_a_failure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("new", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put_folder(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "new").exists()
    assert (tmp_path / "new" / "final").exists()
    monkeypatch.setattr(places, "_exchange", lambda one, other: False)
    put_folder(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "final").exists()
    with pytest.raises(FileNotFoundError):
        put_folder(tmp_path / "gone", tmp_path / "final")
    assert (tmp_path / "final" / "final").exists()
    assert sorted(os.listdir(tmp_path)) == ["final", "new"]


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    write_case(tmp_path, make_case())
    old, young = tmp_path / ".case-0002.0123abcd", tmp_path / ".case-0003.4567cdef"
    for folder in (old, young):
        folder.mkdir()
        (folder / "part").write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert remove_abandoned(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [young.name, "case-0001", "zarr.json"]
    assert remove_abandoned("memory://nothing") == 0


def test_a_place_that_is_none_is_named_with_what_would_be_one() -> None:
    for place in ("ftp://host/cohort.zarr", "{not json", '{"driver": "no such"}'):
        with pytest.raises(CohortError, match="is no place for a store"):
            list_cases(place)


def test_what_belongs_beside_a_store_stays_on_this_machine(tmp_path: Path) -> None:
    assert path_beside(tmp_path / "cohort.zarr", ".qc") == tmp_path / "cohort.zarr.qc"
    assert path_beside(f"file://{tmp_path}/cohort.zarr/", ".qc") == tmp_path / "cohort.zarr.qc"
    assert path_beside('{"driver": "s3", "bucket": "scans", "path": "a/b.zarr/"}', ".qc") == Path("b.zarr.qc")
    assert path_beside("s3://scans", ".qc") == Path("cohort.zarr.qc")
