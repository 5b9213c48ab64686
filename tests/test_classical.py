"""The classical rows: computed once a store, the same for all jobs, and honest about patients without a map."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from tests.bolus_patients import CASE, patients
from tmax_jax import classical
from tmax_jax.classical import ROWS, tmax_estimates, true_delays_s
from tmax_jax.cohort.derived import read_derived
from tmax_jax.cohort.store import CohortError, list_cases, read_case, write_case

QUIET = Console(quiet=True)


def store():
    return patients() / "cohort.zarr"


def kept(place):
    """The derived map of oSVD, which must be there, and its description."""
    found = read_derived(place, CASE, "tmax_osvd")
    assert found is not None
    return found


@pytest.fixture
def one(tmp_path):
    """A store of one patient, without the derived maps of others' tests."""
    place = tmp_path / "cohort.zarr"
    write_case(place, read_case(store(), CASE))
    return place


def test_each_method_reads_the_bolus_delay_of_simulated_patients(one):
    maps = tmax_estimates(one, [CASE], QUIET)
    assert list(maps) == list(ROWS)
    truth = read_case(store(), CASE)
    delays_s = true_delays_s(store(), [CASE])
    assert delays_s is not None
    [delay_s] = delays_s
    tissue = delay_s > 0
    for row, [tmax_s] in maps.items():
        assert tmax_s is not None, row
        assert tmax_s.shape == truth.mask.shape
        assert not tmax_s[~truth.mask].any()
        assert tmax_s.max() <= 20
        error_s = np.abs(tmax_s - delay_s)[tissue]
        assert np.median(error_s) < 2.5, row


def test_a_second_run_computes_nothing_and_gives_the_same(one, monkeypatch):
    before = tmax_estimates(one, [CASE], QUIET)
    monkeypatch.setattr(classical, "find_curves", lambda _: pytest.fail("computed again"))
    for row, [again] in tmax_estimates(one, [CASE], QUIET).items():
        np.testing.assert_array_equal(again, before[row][0])


def test_maps_of_other_pixels_are_made_again(one):
    tmax_estimates(one, [CASE], QUIET)
    assert kept(one)[1]["source"]
    assert classical._kept(one, CASE) is not None
    case = read_case(one, CASE)
    case.attributes["fingerprint"] = "other files"
    maps = shutil.copytree(one / CASE / "maps", one.parent / "maps")
    write_case(one, case)
    shutil.copytree(maps, one / CASE / "maps", dirs_exist_ok=True)  # as a job that was slow leaves them
    assert read_derived(one, CASE, "tmax_osvd") is not None
    assert classical._kept(one, CASE) is None


def test_maps_of_other_code_are_made_again(one, monkeypatch):
    tmax_estimates(one, [CASE], QUIET)
    assert classical._kept(one, CASE) is not None
    monkeypatch.setattr(classical, "_digest_of_code", lambda: "another")
    assert classical._kept(one, CASE) is None


def test_a_patient_without_a_bolus_has_no_map_and_the_reason_is_said_every_time(one):
    case = read_case(one, CASE)
    assert case.perfusion is not None
    flat = np.repeat(case.perfusion[..., 5:6], case.perfusion.shape[-1], axis=-1)
    noise = np.random.default_rng(0).normal(0, 2, flat.shape)
    write_case(one, dataclasses.replace(case, perfusion=np.maximum(flat + noise, 0).astype(case.perfusion.dtype)))
    for _ in range(2):
        text = io.StringIO()
        maps = tmax_estimates(one, [CASE], Console(file=text, width=300))
        assert maps == {row: [None] for row in ROWS}
        assert f"{CASE} has no classical map: no bolus found" in text.getvalue()
    assert np.isnan(kept(one)[0]).all()


def test_a_store_that_cannot_be_written_to_gives_the_same_maps(one, monkeypatch):
    def refuse(*_: object) -> None:
        raise CohortError("read-only")

    monkeypatch.setattr(classical, "write_derived", refuse)
    first = tmax_estimates(one, [CASE], QUIET)
    assert read_derived(one, CASE, "tmax_osvd") is None
    assert first["oSVD"][0] is not None


def test_the_true_delay_is_there_for_simulated_patients_alone(one):
    delays_s = true_delays_s(store(), list_cases(store()))
    assert delays_s is not None
    assert len(delays_s) == len(list_cases(store()))
    assert delays_s[0].shape == read_case(store(), CASE).mask.shape
    assert true_delays_s(one, [CASE]) is None
