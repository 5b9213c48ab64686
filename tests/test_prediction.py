"""From a patient's files to maps: what is written, what it says, what it must not say, and when nothing is."""

import gzip
import json
import shutil
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from rich.console import Console

from tests.bolus_patients import CASE, PATIENT, patients
from tests.dicom_dev import scan
from tmax_jax.chain import Options, find_artery, find_curves
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import read_case
from tmax_jax.convert import convert_cohort
from tmax_jax.perfusion import PerfusionError
from tmax_jax.prediction import Clock, PredictionError, Source, run

QUIET = Console(quiet=True)
MAPS = {"cbf": "ml/100 g/min", "cbv": "ml/100 g", "mtt": "s", "ttp": "s", "tmax": "s"}


def make(out, model="csvd", *, kind="dicom_dir", place=None, case="", dicom_out=False, **options):
    source = Source(kind, str(place or patients() / "dicom" / PATIENT), case, Rules())
    artery = options.pop("artery", "")
    run(
        source,
        model,
        out,
        artery=artery,
        options=Options(**options),
        dicom_out=dicom_out,
        timing_since=None,
        console=QUIET,
    )
    return json.loads((out / "summary.json").read_text())


def load_nifti(path) -> Any:
    return nibabel.load(path)


def image(path):
    return np.asarray(load_nifti(path).dataobj).transpose(2, 1, 0)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    make(folder, dicom_out=True)
    return folder


def test_every_map_is_written_with_its_unit_where_the_scanner_saw_it(out):
    stored = read_case(patients() / "cohort.zarr", CASE).attributes
    for name, unit in MAPS.items():
        found = load_nifti(out / f"{name}.nii.gz")
        assert found.get_data_dtype() == np.float32
        assert json.loads((out / f"{name}.json").read_text())["Units"] == unit
        np.testing.assert_allclose(found.affine, np.array(stored["affine"])[:, [2, 1, 0, 3]], atol=1e-4)
        assert found.header.get_xyzt_units()[0] == "mm"
        assert image(out / f"{name}.nii.gz").max() > 0
    for name in ("maps.png", "aif.png"):
        assert (out / name).read_bytes()[:4] == b"\x89PNG"


def test_the_summary_holds_volumes_artery_quality_versions_and_times(out):
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"] == "phantom"
    assert set(summary["clinical"]["late_ml"]) == {"4", "6", "8", "10"}
    assert summary["aif"]["source"] == "automatic"
    assert len(summary["aif"]["voxels_zyx"]) >= 3
    assert len(summary["aif"]["times_s"]) == 60
    assert summary["quality"]["images_found"] == 480
    assert "jax" in summary["versions"]
    assert summary["seconds"]["reading"] > 0
    counted = image(out / "tmax.nii.gz")
    voxel_ml = np.prod(summary["scan"]["spacing_mm"]) / 1000
    assert summary["clinical"]["late_ml"]["6"] <= (counted > 6).sum() * voxel_ml + 1e-6


def test_nothing_but_the_dicom_objects_tells_whose_maps_they_are(out):
    first = next(path for path in (patients() / "dicom" / PATIENT).rglob("*") if path.is_file())
    header = pydicom.dcmread(first, stop_before_pixels=True)
    secrets = [PATIENT, "Phantom^", header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID]
    secrets += [header.StudyDate, header.InstitutionName, str(patients())]
    for path in (path for path in out.iterdir() if path.is_file()):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for secret in secrets:
            assert str(secret).encode() not in content, (path.name, secret)
    assert pydicom.dcmread(out / "dicom" / "tmax.dcm").PatientID == PATIENT


def test_the_dicom_maps_are_read_back_as_they_were_made(out, tmp_path):
    patient = tmp_path / "export"
    shutil.copytree(patients() / "dicom" / PATIENT, patient)
    for path in patient.rglob("*"):
        if path.is_file() and pydicom.dcmread(path, specific_tags=["SeriesNumber"]).SeriesNumber == 100:
            path.unlink()  # the map that came with the patient
    shutil.copytree(out / "dicom", patient / "ours")
    outcomes, _ = convert_cohort(patient, tmp_path / "cohort.zarr", Rules(), 1, QUIET)
    assert [outcome.status for outcome in outcomes] == ["converted"], outcomes
    case = read_case(tmp_path / "cohort.zarr", "case-0001")
    np.testing.assert_array_equal(case.maps["tmax"], image(out / "tmax.nii.gz"))
    assert case.attributes["maps"]["tmax"]["stored_unit"] == "s"
    written = pydicom.dcmread(out / "dicom" / "cbf.dcm")
    assert written.ContentQualification == "RESEARCH"
    source = next(path for path in (patients() / "dicom" / PATIENT).rglob("*") if path.is_file())
    assert written.StudyInstanceUID == pydicom.dcmread(source, stop_before_pixels=True).StudyInstanceUID


def test_a_case_of_a_store_gives_the_maps_of_its_files(out, tmp_path):
    make(tmp_path, kind="store", place=patients() / "cohort.zarr", case=CASE)
    np.testing.assert_allclose(image(tmp_path / "tmax.nii.gz"), image(out / "tmax.nii.gz"), atol=1e-3)


def test_nifti_gives_the_maps_of_the_files_that_it_was_made_of(out, tmp_path):
    case = read_case(patients() / "cohort.zarr", CASE, maps=())
    assert case.perfusion is not None
    affine = np.array(case.attributes["affine"])[:, [2, 1, 0, 3]]
    scan_path = tmp_path / "perfusion.nii.gz"
    written = nibabel.Nifti1Image(case.perfusion.transpose(2, 1, 0, 3).astype(np.float32), affine)
    written.header.set_xyzt_units("mm", "sec")
    nibabel.save(written, scan_path)
    sidecar = {
        "RepetitionTime": case.attributes["frame_times_s"][1],
        "EchoTime": case.attributes["echo_time_ms"] / 1000,
    }
    (tmp_path / "perfusion.json").write_text(json.dumps(sidecar))
    make(tmp_path / "maps", kind="nifti", place=scan_path)
    found, wanted = image(tmp_path / "maps" / "tmax.nii.gz"), image(out / "tmax.nii.gz")
    assert np.mean(np.abs(found - wanted) < 0.05) > 0.99


def test_missing_images_are_interpolated_and_the_summary_says_so(out, tmp_path):
    lost = tmp_path / "lost"
    shutil.copytree(patients() / "dicom" / PATIENT, lost)
    perfusion = [
        path
        for path in sorted(lost.rglob("*"))
        if path.is_file() and pydicom.dcmread(path, specific_tags=["SeriesNumber"]).SeriesNumber == 7
    ]
    for path in perfusion[100:300:20]:
        path.unlink()
    summary = make(tmp_path / "maps", place=lost)
    assert summary["quality"]["images_interpolated"] == 10
    assert "10 missing images were interpolated" in summary["quality"]["notes"][0]
    found, wanted = image(tmp_path / "maps" / "tmax.nii.gz"), image(out / "tmax.nii.gz")
    assert np.median(np.abs(found - wanted)[wanted > 0]) < 0.3


def test_an_artery_of_ones_own_takes_the_place_of_the_automatic_one(out, tmp_path):
    aif = json.loads((out / "summary.json").read_text())["aif"]
    lines = zip(aif["times_s"], aif["delta_r2star_per_s"], strict=True)
    (tmp_path / "own.csv").write_text("time_s,dr2star\n" + "".join(f"{t},{c}\n" for t, c in lines))
    summary = make(tmp_path / "curve", artery=str(tmp_path / "own.csv"))
    assert summary["aif"]["source"] == "curve given by the user"
    np.testing.assert_allclose(image(tmp_path / "curve" / "tmax.nii.gz"), image(out / "tmax.nii.gz"), atol=0.05)
    voxels = ";".join(",".join(map(str, place)) for place in aif["voxels_zyx"])
    summary = make(tmp_path / "voxels", artery=voxels)
    assert summary["aif"]["voxels_zyx"] == aif["voxels_zyx"]
    np.testing.assert_allclose(image(tmp_path / "voxels" / "tmax.nii.gz"), image(out / "tmax.nii.gz"), atol=1e-3)


@pytest.mark.parametrize(
    ("artery", "message"),
    [
        ("nowhere.csv", "cannot be read"),
        ("1,2", "neither a .csv file nor voxels"),
        ("99,0,0", "within"),
        ("0,0,0", "lie"),
    ],
)
def test_an_artery_that_is_none_is_refused(artery, message, tmp_path):
    with pytest.raises(PerfusionError, match=message):
        make(tmp_path / "maps", artery=artery)
    assert not (tmp_path / "maps").exists()


def test_each_optional_stage_changes_the_curves_and_is_timed():
    case = read_case(patients() / "cohort.zarr", CASE, maps=())
    plain = find_curves(case)
    for options, stage in (
        (Options(correct_motion=True), "motion correction"),
        (Options(correct_leakage=True), "leakage correction"),
        (Options(smooth=True), "smoothing"),
    ):
        clock = Clock()
        curves = find_curves(case, options, stage=clock.stage)
        assert stage in clock.seconds
        assert not np.allclose(curves.concentration, plain.concentration)
        assert find_artery(curves).found


def test_a_real_scan_without_contrast_agent_has_no_bolus_and_leaves_nothing(tmp_path):
    folder, _ = scan("philips_classic_pcasl_16x60")
    with pytest.raises(PerfusionError, match="no bolus found: the mean signal falls by 0"):
        make(tmp_path / "maps", place=folder)
    assert not (tmp_path / "maps").exists()


def test_several_patients_or_none_are_refused_without_naming_them(tmp_path):
    with pytest.raises(PredictionError, match="2 patients in the") as error:
        make(tmp_path / "maps", place=patients() / "dicom")
    assert "PHANTOM-0001" not in str(error.value).replace(str(patients()), "")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no image")
    with pytest.raises(PredictionError, match="no MR images in the 1 files"):
        make(tmp_path / "maps", place=tmp_path / "text")


def test_a_model_that_is_none_lists_the_methods(tmp_path):
    with pytest.raises(PredictionError, match=r"neither a classical method \(ssvd, csvd, osvd, tikhonov\) nor"):
        make(tmp_path / "maps", model=str(tmp_path))


def test_dicom_maps_need_dicom_files(tmp_path):
    with pytest.raises(PredictionError, match="needs the patient's own DICOM files"):
        make(tmp_path / "maps", kind="store", place=patients() / "cohort.zarr", case=CASE, dicom_out=True)
