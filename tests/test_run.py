"""A folder of patients to a store: what a run remembers, and what it says when the machine fails."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from tests.phantom_cohort import cohort_folder
from tmax_jax.cohort import run
from tmax_jax.cohort.convert import convert_patient
from tmax_jax.cohort.places import CohortError
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.run import convert_folder
from tmax_jax.cohort.select import Rules

PATIENT = "PHANTOM-0001"


def convert(out: Path, pool: Executor | None = None) -> list[Outcome]:
    with pool or ThreadPoolExecutor(1) as pool:
        return convert_folder(pool, cohort_folder() / "dicom" / PATIENT, out, Rules())[0]


def test_a_lost_memory_of_files_costs_a_reading_and_nothing_else(tmp_path):
    out = tmp_path / "c.zarr"
    assert [outcome.status for outcome in convert(out)] == ["converted"]
    (tmp_path / "c.zarr.files.json").unlink()
    assert [outcome.status for outcome in convert(out)] == ["unchanged"]
    assert (tmp_path / "c.zarr.files.json").stat().st_mode & 0o077 == 0


def test_a_place_that_cannot_be_written_is_an_error_before_any_conversion(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(run, "convert_patient", lambda *_: pytest.fail("converted"))
    with pytest.raises(
        CohortError, match=r"private\.json cannot be written \(.+\); make room, or choose another --out"
    ):
        convert(tmp_path / "file" / "c.zarr")


class Dying(ThreadPoolExecutor):
    """A pool whose worker dies at the first patient."""

    def submit(self, fn: Any, /, *args: Any, **options: Any) -> Future[Any]:
        """Runs anything but the conversion of a patient."""
        task: Future[Any] = super().submit(fn, *args, **options) if fn is not convert_patient else Future()
        if fn is convert_patient:
            task.set_exception(BrokenProcessPool())
        return task


def test_a_worker_that_dies_is_said_and_a_rerun_completes(tmp_path):
    [outcome] = convert(tmp_path / "c.zarr", Dying(1))
    assert (outcome.status, outcome.notes) == ("refused", ("its worker process died; run again, with fewer --workers",))
    assert [outcome.status for outcome in convert(tmp_path / "c.zarr")] == ["converted"]
