"""Simulated patients through the converter: places, rules, outcomes, and nothing of anyone's identity."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from rich.console import Console

from tests.dicom_dev import scan as real_scan
from tests.phantom_cohort import FRAMES, SIZE, cohort_folder, simulate
from tmax_jax.cohort import scan
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import CohortError, list_cases, read_case
from tmax_jax.convert import convert_cohort

IMAGES = SIZE[0] * FRAMES
QUIET = Console(quiet=True)


def convert(dicom: Path, out: Path, rules: Rules | None = None) -> list[Outcome]:
    return convert_cohort(dicom, out, rules or Rules(), 1, QUIET)[0]


def images_of(dicom: Path, patient: str, description: str) -> list[Path]:
    found = []
    for path in sorted((dicom / patient).rglob("*")):
        if (
            path.is_file()
            and description in pydicom.dcmread(path, specific_tags=["SeriesDescription"]).SeriesDescription
        ):
            found.append(path)
    return found


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome], dict[str, str]]:
    """The session's cohort, converted; with the patients' ids by case."""
    import json

    out = tmp_path_factory.mktemp("converted") / "cohort.zarr"
    outcomes = convert(cohort_folder() / "dicom", out)
    private = out.with_name("cohort.zarr.private.json")
    assert private.stat().st_mode & 0o077 == 0
    return out, outcomes, json.loads(private.read_text())


def test_every_vendors_patient_arrives_whole_and_in_place(converted):
    out, outcomes, patients = converted
    assert [outcome.status for outcome in outcomes] == ["converted"] * 6
    orders = set()
    for outcome in outcomes:
        case = read_case(out, outcome.case_id)
        truth = read_case(cohort_folder() / "truth.zarr", patients[outcome.case_id], maps=None)
        assert case.perfusion is not None
        assert case.perfusion.shape == (*SIZE, FRAMES)
        np.testing.assert_allclose(case.maps["tmax"], truth.maps["tmax"], atol=5.1e-4)  # stored in whole ms
        assert case.mask[truth.mask].mean() > 0.97
        assert case.attributes["data"] == "phantom"
        assert 1.39 < np.diff(case.attributes["frame_times_s"]).mean() < 1.61
        orders.add(case.attributes["frame_order_source"])
    assert len(orders) == 3


def test_orientation_and_spacing_are_those_of_the_headers(converted):
    out, _, _ = converted
    attributes = read_case(out, "case-0001").attributes
    assert attributes["orientation"] == "SPL"
    np.testing.assert_allclose(attributes["spacing_mm"], (124.8 / 8, 230 / 16, 230 / 16), rtol=1e-4)
    affine = np.array(attributes["affine"])
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), attributes["spacing_mm"], rtol=1e-9)


def test_nothing_of_a_patients_identity_reaches_the_store(converted):
    out, outcomes, patients = converted
    text = b"".join(path.read_bytes() for path in out.rglob("zarr.json")) + repr(outcomes).encode()
    assert b"case-0001" in text
    for secret in [*patients.values(), "Phantom^", "2.25.", "20000101", "no institution"]:
        assert secret.encode() not in text


def test_names_folders_and_order_of_files_change_nothing(converted, tmp_path):
    out, _, patients = converted
    source = cohort_folder() / "dicom" / "PHANTOM-0001"
    rng = np.random.default_rng(1)
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        target = tmp_path / "mixed" / f"Sub Dir{rng.integers(4)}" / f"{rng.integers(16**12):x}.IMA"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    [outcome] = convert(tmp_path / "mixed", tmp_path / "mixed.zarr")
    again = read_case(tmp_path / "mixed.zarr", outcome.case_id)
    first = read_case(out, next(case for case, patient in patients.items() if patient == "PHANTOM-0001"))
    np.testing.assert_array_equal(again.perfusion, first.perfusion)
    np.testing.assert_array_equal(again.maps["tmax"], first.maps["tmax"])


def test_a_map_numbered_from_the_top_in_seconds_with_nan_is_the_same_map(tmp_path):
    plain = convert(simulate(tmp_path / "plain", 1), tmp_path / "plain.zarr")
    dicom = simulate(tmp_path / "odd", 1, map_descending=True, map_unit="s", map_nan=7, shuffle=True)
    odd = convert(dicom, tmp_path / "odd.zarr")
    first = read_case(tmp_path / "plain.zarr", plain[0].case_id)
    second = read_case(tmp_path / "odd.zarr", odd[0].case_id)
    assert second.attributes["nan_count"] == 7
    different = np.abs(first.maps["tmax"] - second.maps["tmax"]) > 6e-4
    assert different.sum() <= 7
    assert not second.maps["tmax"][different].any()
    np.testing.assert_array_equal(first.perfusion, second.perfusion)


@pytest.mark.parametrize(("missing", "status"), [(1, "converted"), (16, "converted"), (17, "dropped")])
def test_up_to_five_percent_missing_is_kept_as_zeros_in_place(tmp_path, missing, status):
    dicom = simulate(tmp_path, 1)
    whole = convert(dicom, tmp_path / "whole.zarr")[0]
    files = images_of(dicom, "PHANTOM-0001", "perf")
    for index in np.random.default_rng(missing).choice(len(files), missing, replace=False):
        files[index].unlink()
    [outcome] = convert(dicom, tmp_path / "cohort.zarr")
    assert (outcome.status, outcome.found, outcome.expected) == (status, IMAGES - missing, IMAGES)
    if status == "dropped":
        assert outcome.notes[0] == "17 of 320 perfusion images missing (5.3% > 5%)"
        assert outcome.notes[1].startswith("missing: slice ")
        assert not (tmp_path / "cohort.zarr").exists()
        return
    case = read_case(tmp_path / "cohort.zarr", outcome.case_id)
    reference = read_case(tmp_path / "whole.zarr", whole.case_id)
    assert case.inserted.sum() == missing
    assert case.perfusion is not None
    assert reference.perfusion is not None
    by_image, complete = (np.moveaxis(array, -1, 1) for array in (case.perfusion, reference.perfusion))
    assert not by_image[case.inserted].any()
    np.testing.assert_array_equal(by_image[~case.inserted], complete[~case.inserted])
    assert case.attributes["intensity_min"] >= reference.attributes["intensity_min"]  # an inserted 0 is no intensity


def test_the_papers_limit_is_72_of_1440_images():
    rules = Rules()
    assert not rules.max_missing * 1440 < 72
    assert rules.max_missing * 1440 < 73


def test_a_bad_patient_stops_nobody_and_is_named_with_the_reason(tmp_path):
    dicom = simulate(tmp_path, 3)
    for path in images_of(dicom, "PHANTOM-0002", "Tmax")[:2]:
        path.unlink()
    for path in images_of(dicom, "PHANTOM-0003", "Tmax"):
        path.unlink()
    (dicom / "notes.txt").write_text("no image")
    cut = images_of(dicom, "PHANTOM-0001", "perf")[5]
    cut.write_bytes(cut.read_bytes()[:-100])
    outcomes, skipped = convert_cohort(dicom, tmp_path / "cohort.zarr", Rules(), 1, QUIET)
    notes = {outcome.status + " " + " ".join(outcome.notes) for outcome in outcomes}
    assert any("refused" in note and "slices of the Tmax map" in note for note in notes)
    assert any("converted" in note and "no Tmax map" in note for note in notes)
    assert any("412 bytes of pixel data, 512 wanted" in note and "1 missing images inserted" in note for note in notes)
    assert skipped == ["notes.txt: not a DICOM image"]
    assert len(list_cases(tmp_path / "cohort.zarr")) == 2


def test_only_what_changed_is_converted_again_and_ids_stay(tmp_path):
    dicom = simulate(tmp_path, 2)
    shutil.move(dicom / "PHANTOM-0002", tmp_path / "later")
    out = tmp_path / "cohort.zarr"
    [first] = convert(dicom, out)
    stamp = (out / first.case_id / "zarr.json").stat().st_mtime_ns
    shutil.move(tmp_path / "later", dicom / "PHANTOM-0002")
    second = convert(dicom, out)
    assert [outcome.status for outcome in second] == ["unchanged", "converted"]
    assert (out / first.case_id / "zarr.json").stat().st_mtime_ns == stamp
    lost = images_of(dicom, "PHANTOM-0001", "perf")[0]
    lost.unlink()
    assert [outcome.status for outcome in convert(dicom, out)] == ["converted", "unchanged"]
    assert {outcome.status for outcome in convert(dicom, out, Rules(max_missing=0.0))} == {"dropped", "converted"}


def test_two_perfusion_series_are_refused_with_both_named(tmp_path):
    dicom = simulate(tmp_path, 1)
    for number, path in enumerate(images_of(dicom, "PHANTOM-0001", "perf")):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID, dataset.SeriesDescription = "1.2.3", "second echo"
        dataset.SOPInstanceUID += f".{number}"
        dataset.save_as(path.with_name(f"copy{number}"))
    [outcome] = convert(dicom, tmp_path / "cohort.zarr")
    assert outcome.status == "refused"
    assert "2 perfusion series" in outcome.notes[0]
    assert "'second echo' (8 slices x 40 times, 320 images)" in outcome.notes[0]


def test_a_map_without_a_unit_needs_the_users_word(tmp_path):
    dicom = simulate(tmp_path, 1)
    for path in images_of(dicom, "PHANTOM-0001", "Tmax"):
        dataset = pydicom.dcmread(path)
        dataset.RescaleType, dataset.SeriesDescription = "US", "TMAX"
        dataset.save_as(path)
    [outcome] = convert(dicom, tmp_path / "cohort.zarr")
    assert "say --target_unit=ms or --target_unit=s" in outcome.notes[0]
    [outcome] = convert(dicom, tmp_path / "cohort.zarr", Rules(target_unit="ms"))
    assert outcome.status == "converted"
    assert read_case(tmp_path / "cohort.zarr", outcome.case_id).maps["tmax"].max() < 17.2


def test_a_real_scan_without_a_map_is_converted_and_said_so(tmp_path):
    folder, reference = real_scan("siemens_classic_dynamic_3x3")
    [outcome] = convert(folder, tmp_path / "cohort.zarr")
    assert outcome.notes == ("no Tmax map: no target to learn",)
    case = read_case(tmp_path / "cohort.zarr", outcome.case_id, maps=())
    assert case.perfusion is not None
    stored = np.ascontiguousarray(np.moveaxis(case.perfusion, 0, 2))  # rows, columns, slices, time
    assert hashlib.sha256(stored.tobytes()).hexdigest() == reference["dicom_layout"]["sha256"]
    assert case.attributes["data"] == "real"


def test_an_empty_folder_and_one_without_images_are_clear_errors(tmp_path):
    with pytest.raises(CohortError, match="is not a folder"):
        convert(tmp_path / "nowhere", tmp_path / "c.zarr")
    (tmp_path / "in").mkdir()
    with pytest.raises(CohortError, match="holds no files"):
        convert(tmp_path / "in", tmp_path / "c.zarr")
    (tmp_path / "in" / "a.txt").write_text("text")
    with pytest.raises(CohortError, match="no MR images among the 1 files"):
        convert(tmp_path / "in", tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


def test_a_pipe_and_a_link_are_never_opened(tmp_path):
    dicom = simulate(tmp_path, 1)
    os.mkfifo(dicom / "pipe")
    (dicom / "link").symlink_to("/dev/zero")
    outcomes, skipped = convert_cohort(dicom, tmp_path / "c.zarr", Rules(), 1, QUIET)
    assert outcomes[0].status == "converted"
    assert sorted(skipped) == ["link: not a regular file, not opened", "pipe: not a regular file, not opened"]


def test_the_command_prints_its_table_and_fails_only_when_nothing_came_out(tmp_path):
    command = [sys.executable, "-m", "tmax_jax.convert", f"--out={tmp_path / 'c.zarr'}", "--workers=1"]
    done = subprocess.run(
        [*command, f"--dicom_dir={cohort_folder() / 'dicom' / 'PHANTOM-0001'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "320 / 320" in done.stdout
    assert "1 of 1 patients" in done.stdout
    bad = subprocess.run([*command, "--dicom_dir=/nonexistent"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert bad.stderr.strip().startswith("error: --dicom_dir=/nonexistent is not a folder")
    assert "Traceback" not in bad.stderr


def test_a_rerun_opens_nothing_of_unchanged_patients_and_reports_those_that_are_gone(tmp_path, monkeypatch):
    dicom, out = simulate(tmp_path, 2), tmp_path / "cohort.zarr"
    first = convert(dicom, out)
    real, opened = scan.read_sources, []
    monkeypatch.setattr(scan, "read_sources", lambda path, name: opened.append(name) or real(path, name))
    started = time.perf_counter()
    again = convert(dicom, out)
    assert (time.perf_counter() - started) / 2 < 0.2  # it takes some 10 ms a patient where nothing else runs
    assert [(outcome.case_id, outcome.status) for outcome in again] == [(o.case_id, "unchanged") for o in first]
    assert not opened
    (dicom / "notes.txt").write_text("new")
    convert(dicom, out)
    assert opened == ["notes.txt"]
    shutil.rmtree(dicom / "PHANTOM-0002")
    statuses = sorted(outcome.status for outcome in convert(dicom, out))
    assert statuses == ["gone", "unchanged"]
    assert len(list_cases(out)) == 2


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_of_patients_is_the_same_cohort(tmp_path, kind, converted):
    (tmp_path / "in").mkdir()
    shutil.make_archive(str(tmp_path / "in" / "export"), kind, cohort_folder() / "dicom")
    outcomes = convert(tmp_path / "in", tmp_path / "c.zarr")
    assert [outcome.status for outcome in outcomes] == ["converted"] * 6
    for outcome in outcomes:
        first, second = (read_case(store, outcome.case_id) for store in (converted[0], tmp_path / "c.zarr"))
        np.testing.assert_array_equal(first.perfusion, second.perfusion)
        np.testing.assert_array_equal(first.maps["tmax"], second.maps["tmax"])
    assert [outcome.status for outcome in convert(tmp_path / "in", tmp_path / "c.zarr")] == ["unchanged"] * 6


def test_both_patients_of_the_zipped_cohort_convert_when_their_series_is_named(tmp_path):
    folder = real_scan("cohort_zip_2patients")[0]
    outcomes = convert_cohort(folder, tmp_path / "c.zarr", Rules(), 1, QUIET)[0]
    assert {outcome.status for outcome in outcomes} == {"refused"}  # no series of theirs has more than one time
    assert all("'t1_vibe_flip3' (12 slices x 1 times, 12 images)" in outcome.notes[0] for outcome in outcomes)
    outcomes = convert(folder, tmp_path / "c.zarr", Rules(perfusion_series="t1_vibe_flip3"))
    assert [outcome.status for outcome in outcomes] == ["converted"] * 2
    for case_id in list_cases(tmp_path / "c.zarr"):
        case = read_case(tmp_path / "c.zarr", case_id, maps=())
        assert case.perfusion is not None
        assert case.perfusion.shape == (12, 64, 30, 1)
        assert case.perfusion.any()


def test_a_declared_number_of_times_that_is_wrong_is_overridden(tmp_path):
    dicom = simulate(tmp_path, 1)
    for path in images_of(dicom, "PHANTOM-0001", "perf"):
        dataset = pydicom.dcmread(path)
        dataset.NumberOfTemporalPositions = 60
        dataset.save_as(path)
    [outcome] = convert(dicom, tmp_path / "c.zarr")
    assert outcome.status == "dropped"
    assert outcome.notes[0].startswith("160 of 480")
    [outcome] = convert(dicom, tmp_path / "c.zarr", Rules(n_times=FRAMES))
    assert (outcome.status, outcome.expected) == ("converted", IMAGES)
    [outcome] = convert(dicom, tmp_path / "c.zarr", Rules(n_times=FRAMES, n_slices=SIZE[0] + 1))
    assert (outcome.status, outcome.expected) == ("dropped", IMAGES + FRAMES)
    [outcome] = convert(dicom, tmp_path / "c.zarr", Rules(n_slices=3))
    assert "--n_slices=3, but images lie at 8 slices" in outcome.notes[0]


def test_a_named_time_key_is_believed_against_others(tmp_path):
    dicom = simulate(tmp_path, 1)
    for path in images_of(dicom, "PHANTOM-0001", "perf"):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = 10_000 - dataset.InstanceNumber
        dataset.save_as(path)
    [outcome] = convert(dicom, tmp_path / "c.zarr")
    assert "order the images of a slice differently" in outcome.notes[0]
    [outcome] = convert(dicom, tmp_path / "c.zarr", Rules(time_key="TemporalPosition"))
    assert outcome.status == "converted"
    [outcome] = convert(dicom, tmp_path / "c.zarr", Rules(time_key="AcquisitionNumber"))
    assert "--time_key=AcquisitionNumber does not order" in outcome.notes[0]
