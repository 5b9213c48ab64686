"""Pools of workers: the same store wherever the tasks ran, and whatever died on the way."""

import functools
import os
import signal
import sys
import time
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any

import pytest

from tests.phantom_cohort import cohort_folder
from tmax_jax.cohort.cluster import open_pool
from tmax_jax.cohort.convert import convert_patient
from tmax_jax.cohort.scan import list_files, name_cases, scan
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import CohortError


def convert_all(pool: Executor, out: Path, *, on_first_result=lambda: None) -> None:
    """Does what the command does, on any pool."""
    dicom = cohort_folder() / "dicom"
    found = scan(dicom, list_files(dicom), pool, lambda _: None)
    names = name_cases(found.patients, out.with_name("private.json"))
    task = functools.partial(convert_slowly, store=out)
    results = as_completed([pool.submit(task, patient, names[patient.key]) for patient in found.patients])
    assert next(results).result().status == "converted"
    on_first_result()
    # A task that died after its last rename finds its case unchanged when it runs again.
    assert {result.result().status for result in results} <= {"converted", "unchanged"}


def convert_slowly(patient, case_id, *, store):
    """Takes long enough for a worker to be killed in the middle of its work."""
    time.sleep(0.3)
    return convert_patient(patient, case_id, store, Rules())


def contents(store: Path) -> dict[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.relative_to(store).as_posix().startswith(".")
    }


def test_a_worker_that_is_killed_half_way_changes_no_bit_of_the_store(tmp_path):
    from distributed import LocalCluster

    with open_pool(2) as pool:
        convert_all(pool, tmp_path / "here.zarr")
    cluster: Any  # its type is that of a coroutine where it is used asynchronously
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        pids = {worker.pid for worker in cluster.workers.values()}

        def kill_one() -> None:
            [victim] = [worker for worker in cluster.workers.values() if worker.pid == min(pids)]
            assert victim.pid
            os.kill(victim.pid, signal.SIGKILL)

        with open_pool(9, scheduler=cluster.scheduler_address) as pool:
            convert_all(pool, tmp_path / "there.zarr", on_first_result=kill_one)
        assert {worker.pid for worker in cluster.workers.values()} != pids  # it had to be replaced
    here, there = contents(tmp_path / "here.zarr"), contents(tmp_path / "there.zarr")
    assert len(here) > 6 * 8
    assert here == there


def test_a_job_of_slurm_is_a_worker(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    from dask import config

    # As the real one, it keeps a copy of the job's script: the file is deleted at once.
    run = 'job=$(cat "$1"); bash -c "$job" >/dev/null 2>&1 & echo Submitted batch job $!'
    for name, text in {"sbatch": run, "scancel": "kill $1"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with config.set({"jobqueue.slurm.interface": "lo"}), open_pool(1, slurm=True) as pool:
        assert pool.submit(os.getpid).result(timeout=60) != os.getpid()


def test_an_error_ends_the_pool_though_its_workers_never_come():
    from distributed import LocalCluster

    def submit_and_leave(address: str) -> None:
        with open_pool(1, scheduler=address) as pool:
            pool.submit(abs, -1)
            raise KeyboardInterrupt

    cluster: Any
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        pytest.raises(KeyboardInterrupt),
    ):
        submit_and_leave(cluster.scheduler_address)


def test_both_kinds_of_cluster_at_once_are_refused():
    with pytest.raises(CohortError, match="exclude each other"), open_pool(1, scheduler="tcp://a:1", slurm=True):
        pass


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(CohortError, match=r"package distributed.*pip install 'tmax_jax\[cluster\]'"),
        open_pool(1, scheduler="tcp://a:1"),
    ):
        pass


def test_an_address_where_nothing_answers_is_named(monkeypatch):
    monkeypatch.setattr("tmax_jax.cohort.cluster._CONNECT_S", 1)
    with (
        pytest.raises(CohortError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        open_pool(1, scheduler="tcp://127.0.0.1:9"),
    ):
        pass
