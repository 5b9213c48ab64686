"""A converter that is killed, and a disk that is full: nothing half-written is visible, and a rerun completes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.phantom_cohort import simulate
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import list_cases, read_case
from tmax_jax.convert import convert_cohort

PATIENTS, MOMENTS = 3, 20
# Starts conversions in a group of processes of their own, each a fork of this process that has all modules loaded, and
# kills the group after as many seconds as it is told.
KILLER = """
import os, signal, sys, time
from pathlib import Path
from rich.console import Console
from tmax_jax.cohort.select import Rules
from tmax_jax.convert import convert_cohort

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.setsid()
        convert_cohort(Path(sys.argv[1]), sys.argv[2], Rules(), 1, Console(quiet=True))
        os._exit(0)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    print(os.WIFSIGNALED(os.waitpid(child, 0)[1]), flush=True)
"""


def convert(dicom: Path, out: Path) -> list[str]:
    outcomes, _ = convert_cohort(dicom, out, Rules(), 1, Console(quiet=True))
    return [outcome.status for outcome in outcomes]


def touch(dicom: Path) -> None:
    """Makes all files look new, so that every patient is converted again."""
    for path in dicom.rglob("*"):
        os.utime(path)


def arrays(store: Path) -> dict[str, list[np.ndarray]]:
    found = {}
    for name in list_cases(store):
        case = read_case(store, name)
        assert case.perfusion is not None
        found[name] = [case.perfusion, case.mask, case.inserted, case.maps["tmax"]]
    return found


def test_row_15_a_converter_killed_at_twenty_moments_leaves_every_case_whole_and_a_rerun_completes(tmp_path):
    dicom, whole, out = simulate(tmp_path, PATIENTS), tmp_path / "whole.zarr", tmp_path / "c.zarr"
    convert(dicom, whole)
    touch(dicom)
    start = time.perf_counter()
    convert(dicom, whole)
    duration_s = time.perf_counter() - start
    expected, rng, killed, seen = arrays(whole), np.random.default_rng(0), 0, []
    command = [sys.executable, "-c", KILLER, str(dicom), str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for _ in range(MOMENTS):
            touch(dicom)
            killer.stdin.write(f"{rng.uniform(0, duration_s)}\n")
            killer.stdin.flush()
            killed += killer.stdout.readline() == "True\n"
            found = arrays(out) if (out / "zarr.json").exists() else {}
            assert set(found) <= set(expected)
            assert len(found) >= len(seen)  # a case that was there stays, in one version or the other
            for name, values in found.items():
                for one, other in zip(values, expected[name], strict=True):
                    np.testing.assert_array_equal(one, other)
            seen = list(found)
    assert killed >= MOMENTS // 2  # the others were quicker than their moment
    assert set(convert(dicom, out)) <= {"converted", "unchanged"}
    assert convert(dicom, out) == ["unchanged"] * PATIENTS
    assert set(arrays(out)) == set(expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds one small patient and a half; grown by mounting it again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this test mounts a small tmpfs, which this user may not")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_row_15_a_full_disk_is_said_in_the_table_and_a_rerun_with_room_completes(tmp_path, small_disk):
    dicom, out = simulate(tmp_path / "source", PATIENTS), small_disk / "c.zarr"
    command = [sys.executable, "-m", "tmax_jax.convert", f"--dicom_dir={dicom}", f"--out={out}", "--workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "No space left" in " ".join((done.stdout + done.stderr).split()), done
    found = arrays(out)
    assert 1 <= len(found) < PATIENTS
    assert not list(out.glob(".case*"))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert sorted(convert(dicom, out)) == ["converted"] * (PATIENTS - len(found)) + ["unchanged"] * len(found)
    whole = arrays(out)
    assert len(whole) == PATIENTS
    for name, values in found.items():
        for one, other in zip(values, whole[name], strict=True):
            np.testing.assert_array_equal(one, other)
