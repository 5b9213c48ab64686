"""Files to patients: by their headers, under pseudonyms that say nothing and stay."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom

from tests.phantom_cohort import FRAMES, SIZE, cohort_folder
from tmax_jax.cohort.scan import Patient, Scan, list_files, name_cases, scan

IMAGES = SIZE[0] * (FRAMES + 1)


def scanned(folder: Path) -> Scan:
    with ThreadPoolExecutor(1) as pool:
        return scan(folder, list_files(folder), pool, lambda _: None)


def patients(*keys: str) -> list[Patient]:
    return [Patient(key, [], [], []) for key in keys]


def test_patients_are_found_by_their_ids_whatever_the_folders_are(tmp_path):
    for number, path in enumerate(sorted((cohort_folder() / "dicom").rglob("*"))):
        if path.is_file() and path.parts[-4] in ("PHANTOM-0001", "PHANTOM-0002"):
            shutil.copy(path, tmp_path / f"{number:x}")
    found = scanned(tmp_path)
    assert sorted((patient.key, len(patient.frames)) for patient in found.patients) == [
        ("PHANTOM-0001", IMAGES),
        ("PHANTOM-0002", IMAGES),
    ]


def test_files_without_an_id_belong_to_their_top_folder(tmp_path):
    paths = [path for path in sorted((cohort_folder() / "dicom" / "PHANTOM-0001").rglob("*")) if path.is_file()]
    for folder, path in (("a", paths[0]), ("a/deeper", paths[1]), ("b", paths[2])):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        dataset.save_as(tmp_path / folder / path.name)
    assert sorted((patient.key, len(patient.frames)) for patient in scanned(tmp_path).patients) == [
        ("folder a", 2),
        ("folder b", 1),
    ]


def test_pseudonyms_do_not_follow_the_order_of_names_and_stay_when_patients_join(tmp_path):
    private = tmp_path / "private.json"
    keys = [f"PATIENT-{number:02d}" for number in range(9)]
    first = name_cases(patients(*keys[:6]), private)
    assert sorted(first.values()) == [f"case-{number:04d}" for number in range(1, 7)]
    assert [first[key] for key in sorted(first)] != sorted(first.values())
    everyone = name_cases(patients(*keys), private)
    assert {key: everyone[key] for key in first} == first
    assert len(set(everyone.values())) == 9
    assert json.loads(private.read_text())[everyone["PATIENT-03"]] == "PATIENT-03"
    assert private.stat().st_mode & 0o777 == 0o600


def test_an_id_that_looks_like_a_path_is_only_a_key(tmp_path):
    named = name_cases(patients("../../etc/passwd", "/abs", "a\nb", "x" * 500, "A", "a"), tmp_path / "p.json")
    assert sorted(named.values()) == [f"case-{number:04d}" for number in range(1, 7)]


def test_the_fingerprint_follows_names_sizes_and_times(tmp_path):
    source = next(path for path in (cohort_folder() / "dicom").rglob("*") if path.is_file())
    shutil.copy(source, tmp_path / "a")
    first = scanned(tmp_path).patients[0].fingerprint()
    assert scanned(tmp_path).patients[0].fingerprint() == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert scanned(tmp_path).patients[0].fingerprint() != first
