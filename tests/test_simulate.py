"""The files of a simulated cohort: as a scanner writes them, marked as fake, the same bytes for the same seed."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from rich.console import Console

from tests.phantom_cohort import FRAMES, SIZE, cohort_folder, simulate
from tmax_jax.cohort.store import list_cases, read_case
from tmax_jax.dicom.write import SeriesHeader, images, make_uid
from tmax_jax.simulate import MODEL, Options, SimulateError, simulate_cohort


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first = digests(simulate(tmp_path / "a", 1))
    assert digests(simulate(tmp_path / "b", 1)) == first
    other = digests(simulate(tmp_path / "c", 1, seed=1))
    assert not set(first.values()) & set(other.values())


def test_each_patient_has_a_complete_perfusion_series_and_a_map():
    for patient in sorted((cohort_folder() / "dicom").iterdir()):
        sizes = {}
        for path in patient.rglob("*"):
            if path.is_file():
                header = pydicom.dcmread(path, stop_before_pixels=True)
                sizes.setdefault(header.SeriesDescription, []).append(header)
        assert {name: len(headers) for name, headers in sizes.items()} == {
            "ep2d_perf": SIZE[0] * FRAMES,
            "Tmax [ms]": SIZE[0],
        }
        uids = {header.SOPInstanceUID for headers in sizes.values() for header in headers}
        assert len(uids) == SIZE[0] * (FRAMES + 1)
        assert len({header.StudyInstanceUID for headers in sizes.values() for header in headers}) == 1


def test_identities_are_fake_and_say_so():
    path = next(path for path in (cohort_folder() / "dicom").rglob("*") if path.is_file())
    header = pydicom.dcmread(path)
    assert "Phantom" in str(header.PatientName)
    assert header.PatientID.startswith("PHANTOM-")
    assert header.ManufacturerModelName == MODEL
    assert "simulated" in header.StudyDescription


def test_three_vendors_each_with_its_own_time_key():
    vendors = {}
    for patient in sorted((cohort_folder() / "dicom").iterdir())[:3]:
        for path in patient.rglob("*"):
            if path.is_file():
                header = pydicom.dcmread(path, stop_before_pixels=True)
                if header.SeriesDescription == "ep2d_perf":
                    vendors[header.Manufacturer] = header
                    break
    assert "TemporalPositionIdentifier" in vendors["Philips"]
    assert "AcquisitionNumber" in vendors["SIEMENS"]
    assert not {"TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime"} & set(
        vendors["GE MEDICAL SYSTEMS"].dir()
    )


def test_the_truth_lies_beside_the_files_and_is_whole():
    store = cohort_folder() / "truth.zarr"
    assert list_cases(store) == [f"PHANTOM-{number:04d}" for number in range(1, 7)]
    truth = read_case(store, "PHANTOM-0001", maps=None)
    assert truth.perfusion is None
    assert set(truth.maps) == {"tmax", "delay", "cbf", "cbv", "mtt", "lesion"}
    assert truth.attributes["maps"]["cbf"]["unit"] == "ml/100 g/min"


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_written_images_read_back_to_the_stored_values(dtype):
    stored = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    header = SeriesHeader("ID", "Name", "a: b", 1, "d", "m", "mm", ("ORIGINAL",), (5.0, 2.0, 1.5), 0.1)
    for number, dataset in enumerate(images(stored, header)):
        z, t = divmod(number, 5)
        np.testing.assert_array_equal(dataset.pixel_array, stored[z, :, :, t])
        assert dataset.PixelSpacing == [2.0, 1.5]


def test_slices_step_along_the_normal_of_the_tilted_plane():
    header = SeriesHeader("ID", "Name", "a: b", 1, "d", "m", "mm", ("ORIGINAL",), (5.0, 2.0, 1.5), 0.3)
    stack = images(np.zeros((2, 4, 4, 1), np.uint16), header)
    first, second = ([*map(float, image.ImagePositionPatient)] for image in stack)
    step = np.subtract(second, first)
    np.testing.assert_allclose(step, 5 * np.array([0, -np.sin(0.3), np.cos(0.3)]), atol=1e-6)


def test_uids_are_valid_and_follow_from_the_text():
    assert make_uid("x") == make_uid("x") != make_uid("y")
    assert make_uid("x").is_valid


def test_missing_files_are_missing_at_random_places(tmp_path):
    dicom = simulate(tmp_path, 1, missing_fraction=0.05)
    assert len([path for path in dicom.rglob("*") if path.is_file()]) == SIZE[0] * (FRAMES + 1) - 16


def test_a_folder_that_holds_files_is_not_written_to(tmp_path):
    (tmp_path / "old").write_text("")
    with pytest.raises(SimulateError, match="is not empty"):
        simulate_cohort(tmp_path, 1, SIZE, FRAMES, Options(), 1, Console(quiet=True))


def test_bad_flags_are_one_clear_line(tmp_path):
    for flags, message in (([], "--out=DIR"), ([f"--out={tmp_path}/x", "--size=8,8"], "must be four numbers")):
        command = [sys.executable, "-m", "tmax_jax.simulate", *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
