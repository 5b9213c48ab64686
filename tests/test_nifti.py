"""NIfTI into the store: the same array as from DICOM, assumptions stated, identities left outside."""

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel import nifti1

from tests.dicom_dev import scan as real_scan
from tmax_jax.cohort.nifti import NiftiPatient, convert_nifti, find_patients
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import Case, has_case, read_case

SHAPE = (12, 10, 4, 5)  # x, y, z, time
AFFINE = np.array([[-2.0, 0, 0, 11], [0, 2.5, 0, -9], [0, 0, 6, 3], [0, 0, 0, 1]])  # L, A, S: as dcm2niix writes
SIDECAR = {"RepetitionTime": 1.5, "EchoTime": 0.03, "MagneticFieldStrength": 3, "Manufacturer": "Siemens"}


def values(dtype: type = np.int16) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.zeros(SHAPE, dtype)
    image[2:10, 2:8] = rng.integers(300, 900, (8, 6, *SHAPE[2:])).astype(dtype)
    return image


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, *, units: tuple[str, str] = ("mm", "sec")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units(*units)
    if array.ndim == 4:
        image.header["pixdim"][4] = 1.5
    nib.save(image, path)
    return path


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """A data set of one subject, with a Tmax map."""
    perf = tmp_path / "bids" / "sub-Doe" / "perf"
    save(perf / "sub-Doe_dsc.nii.gz", values())
    (perf / "sub-Doe_dsc.json").write_text(json.dumps(SIDECAR | {"PatientName": "Doe^John", "StationName": "MR7"}))
    save(perf / "sub-Doe_desc-tmax_map.nii.gz", np.arange(480, dtype=np.float32).reshape(SHAPE[:3]) / 100)
    (perf / "sub-Doe_desc-tmax_map.json").write_text('{"Units": "s"}')
    return tmp_path / "bids"


def convert(folder: Path, rules: Rules | None = None) -> tuple[Outcome, Path]:
    [patient], _ = find_patients(folder)
    store = folder.with_name("cohort.zarr")
    return convert_nifti(patient, "case-0001", store, rules or Rules()), store


def case_of(folder: Path, rules: Rules | None = None) -> Case:
    outcome, store = convert(folder, rules)
    assert outcome.status == "converted", outcome.notes
    return read_case(store, "case-0001", maps=None)


SETS = (
    "ge_classic_instanceonly_15x10",
    "ge_classic_multiphase_desc_10x10",
    "philips_classic_1903_40x6",
    "philips_classic_pcasl_16x60",
    "philips_enh_1903_40x6",
    "philips_enh_nodimseq_8x4",
    "philips_classic_timefastest_9x3",
    "siemens_classic_dynamic_3x3",
    "siemens_mosaic_FH_36x6",
    "siemens_mosaic_HF_36x6",
    "siemens_xa30_enh_asl_12x7",
)


@pytest.mark.parametrize("name", SETS)
def test_what_dcm2niix_made_of_dicom_files_is_the_array_of_those_files(tmp_path, name):
    if not shutil.which("dcm2niix"):
        pytest.skip("dcm2niix is not installed")
    folder, reference = real_scan(name)
    out = tmp_path / "nifti" / "sub-1"
    out.mkdir(parents=True)
    command = ["dcm2niix", "-z", "y", "-b", "y", "-f", "perf", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    [patient], _ = find_patients(out.parent)
    assert convert_nifti(patient, "case-0001", tmp_path / "c.zarr", Rules()).status == "converted"
    case, wanted = read_case(tmp_path / "c.zarr", "case-0001", maps=()), reference["dicom_layout"]
    slope = nifti1.load(patient.perfusion[0]).dataobj.slope  # pyright: ignore[reportAttributeAccessIssue] (of an array proxy)
    # The reference holds values before rescale.
    stored = np.round(np.ascontiguousarray(np.moveaxis(case.perfusion, 0, 2)) / slope)  # pyright: ignore[reportArgumentType]
    assert hashlib.sha256(stored.astype(wanted["dtype"]).tobytes()).hexdigest() == wanted["sha256"]
    row_column_slice = np.array(wanted["affine_RAS_of_(row,col,slice)"])
    np.testing.assert_allclose(case.attributes["affine"], row_column_slice[:, [2, 0, 1, 3]], atol=1e-3)


def test_every_axis_and_unit_of_a_data_set_arrives(bids):
    case = case_of(bids)
    assert case.perfusion is not None
    assert case.perfusion.dtype == np.int16
    np.testing.assert_array_equal(case.perfusion, values()[:, ::-1].transpose(2, 1, 0, 3))  # rows from the front down
    tmax = (np.arange(480, dtype=np.float32).reshape(SHAPE[:3]) / 100)[:, ::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(case.maps["tmax"], tmax)
    found = case.attributes
    assert found["orientation"] == "SPL"
    assert found["spacing_mm"] == [6.0, 2.5, 2.0]
    assert found["frame_times_s"] == [0.0, 1.5, 3.0, 4.5, 6.0]
    assert (found["echo_time_ms"], found["field_strength_t"], found["vendor"]) == (30.0, 3.0, "Siemens")
    assert found["findings"] == []
    corner = np.array(found["affine"]) @ [3, 9, 11, 1]  # z, y, x of voxel (11, 0, 3)
    np.testing.assert_allclose(corner, AFFINE @ [11, 0, 3, 1])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "RPI", "ALS", "SRA"])
def test_however_the_file_lies_the_array_is_the_same(tmp_path, codes):
    image = nib.Nifti1Image(values(), AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turn.astype(int).tolist())
    assert turned.affine is not None
    path = save(tmp_path / "in" / "sub-1" / "sub-1_dsc.nii.gz", np.asarray(turned.dataobj), turned.affine)
    orientation = {"ImageOrientationPatientDICOM": [1, 0, 0, 0, 1, 0]} if codes in ("ALS", "SRA") else {}
    path.with_name("sub-1_dsc.json").write_text(json.dumps(SIDECAR | orientation))
    case = case_of(tmp_path / "in")
    np.testing.assert_array_equal(case.perfusion, values()[:, ::-1].transpose(2, 1, 0, 3))  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(np.array(case.attributes["affine"]) @ [3, 9, 11, 1], AFFINE @ [11, 0, 3, 1])


def test_nothing_of_names_or_of_a_sidecars_identities_reaches_the_store(bids):
    outcome, store = convert(bids)
    text = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file()) + repr(outcome).encode()
    assert b"case-0001" in text
    for secret in ("Doe", "John", "MR7", "sub-"):
        assert secret.encode() not in text


def test_times_come_from_the_sidecar_else_the_header_says_so_else_are_refused(bids):
    sidecar = bids / "sub-Doe" / "perf" / "sub-Doe_dsc.json"
    sidecar.write_text('{"VolumeTiming": [0, 1.4, 2.9, 4.5, 6.2]}')
    assert case_of(bids).attributes["frame_times_s"] == [0, 1.4, 2.9, 4.5, 6.2]
    sidecar.write_text('{"RepetitionTime": 2.0}')
    assert (
        "the header says 1.5 s between frames, the sidecar 2 s, which was taken" in case_of(bids).attributes["findings"]
    )
    sidecar.unlink()
    found = case_of(bids).attributes
    assert found["frame_times_source"] == "pixdim[4]"
    assert found["findings"][0].startswith("no sidecar: echo time")
    assert "no timing in a sidecar: the header's 1.5 s between frames taken (pixdim[4])" in found["findings"]
    save(bids / "sub-Doe" / "perf" / "sub-Doe_dsc.nii.gz", values(), units=("mm", "unknown"))
    assert 'write "RepetitionTime"' in convert(bids)[0].notes[0]
    for text, message in (
        ('{"RepetitionTime": 1500}', "RepetitionTime is 1500; the frames' distance in seconds"),
        ('{"VolumeTiming": [0, 1]}', "VolumeTiming does not hold 5 ascending times"),
        ('{"RepetitionTime": "fast"}', "RepetitionTime is no number"),
        ("[1, 2]", "is not a JSON object"),
        ("{", "is not a JSON object"),
    ):
        sidecar.write_text(text)
        outcome, _ = convert(bids)
        assert outcome.status == "refused"
        assert message in outcome.notes[0]


def test_a_sidecar_of_a_folder_above_serves_all_and_a_closer_one_has_the_last_word(bids):
    (bids / "sub-Doe" / "perf" / "sub-Doe_dsc.json").write_text('{"EchoTime": 0.04}')
    (bids / "dsc.json").write_text(json.dumps(SIDECAR | {"RepetitionTime": 1.6}))
    (bids / "sub-Other_dsc.json").write_text('{"EchoTime": 9}')
    (bids / "dataset_description.json").write_text('{"EchoTime": 9}')
    found = case_of(bids).attributes
    assert (found["echo_time_ms"], found["repetition_time_ms"]) == (40.0, 1600.0)


def test_rescale_keeps_integers_where_it_can_and_nan_is_counted(bids):
    path = bids / "sub-Doe" / "perf" / "sub-Doe_dsc.nii.gz"
    for slope, intercept, dtype in ((2.0, -5.0, np.int16), (0.5, 0.0, np.float32)):
        image = nib.Nifti1Image(values(), AFFINE)
        image.header.set_slope_inter(slope, intercept)
        image.header["pixdim"][4] = 1.5
        image.header.set_xyzt_units("mm", "sec")
        raw = bytearray(image.to_bytes())
        raw[112:120] = np.array([slope, intercept], "<f4").tobytes()  # nibabel would write scaled values
        path.write_bytes(gzip.compress(bytes(raw)))
        perfusion = case_of(bids).perfusion
        assert perfusion is not None
        assert perfusion.dtype == dtype
        np.testing.assert_array_equal(perfusion, (values() * slope + intercept)[:, ::-1].transpose(2, 1, 0, 3))
    with_nan = values(np.float32)
    with_nan[4, 4, 1, 2], with_nan[5, 4, 1, 2] = np.nan, np.inf
    save(path, with_nan)
    case = case_of(bids)
    assert case.attributes["nan_count"] == 2
    assert "2 values were not finite and are 0" in case.attributes["findings"]
    assert case.perfusion is not None
    assert np.isfinite(case.perfusion).all()


def test_units_of_length_are_respected(bids):
    affine = AFFINE.copy()
    affine[:3] *= 1000
    for name, array in (("sub-Doe_dsc", values()), ("sub-Doe_desc-tmax_map", np.ones(SHAPE[:3], np.float32))):
        save(bids / "sub-Doe" / "perf" / f"{name}.nii.gz", array, affine, units=("micron", "sec"))
    np.testing.assert_allclose(case_of(bids).attributes["spacing_mm"], [6, 2.5, 2], rtol=1e-6)


def test_images_of_zeros_are_missing_and_too_many_drop_the_patient(bids):
    path = bids / "sub-Doe" / "perf" / "sub-Doe_dsc.nii.gz"
    images = values()
    images[:, :, 2, 3] = 0
    save(path, images)
    case = case_of(bids)
    assert np.argwhere(case.inserted).tolist() == [[2, 3]]
    assert case.attributes["intensity_min"] == 0
    images[:, :, 1, 3] = 0
    save(path, images)
    outcome, _ = convert(bids)
    assert (outcome.status, outcome.found, outcome.expected) == ("dropped", 18, 20)
    assert outcome.notes[:2] == (
        "2 of 20 perfusion images missing (10.0% > 5%)",
        "missing: slice 1 at time 3, slice 2 at time 3; keep the patient with --max_missing=0.1",
    )


def test_a_map_on_another_grid_or_without_a_unit_is_refused(bids):
    map_path = bids / "sub-Doe" / "perf" / "sub-Doe_desc-tmax_map.nii.gz"
    shifted = AFFINE.copy()
    shifted[0, 3] += 1.0
    save(map_path, np.ones(SHAPE[:3], np.float32), shifted)
    assert "0.5 voxels beside it" in convert(bids)[0].notes[0]
    save(map_path, np.ones((12, 10, 3), np.float32))
    assert "another grid (3, 10, 12)" in convert(bids)[0].notes[0]
    save(map_path, np.full(SHAPE[:3], 5000, np.int16))
    map_path.with_name("sub-Doe_desc-tmax_map.json").unlink()
    assert "say --target_unit=ms or --target_unit=s" in convert(bids)[0].notes[0]
    assert (case_of(bids, Rules(target_unit="ms")).maps["tmax"] == 5).all()


def test_files_that_are_no_images_or_lie_about_their_size_are_left_out_by_name(bids):
    perf = bids / "sub-Doe" / "perf"
    (perf / "text.nii").write_text("no image")
    (perf / "empty.nii.gz").write_bytes(b"")
    (perf / "gone.nii.gz").symlink_to("/nonexistent/annex")
    header = nib.Nifti1Image(values(), AFFINE).header
    header["dim"] = [4, 30000, 30000, 30000, 1000, 1, 1, 1]
    (perf / "huge_dsc.nii").write_bytes(header.binaryblock + bytes(4))
    save(perf / "sub-Doe_T1w.nii.gz", values()[..., 0])
    [patient], skipped = find_patients(bids)
    assert len(patient.perfusion) == 1
    reasons = dict(line.rsplit("/", 1)[1].split(": ", 1) for line in skipped)
    assert "not a NIfTI" in reasons["text.nii"]
    assert "not a NIfTI" in reasons["empty.nii.gz"]
    assert "link" in reasons["gone.nii.gz"]
    assert "cannot hold" in reasons["huge_dsc.nii"]
    assert reasons["sub-Doe_T1w.nii.gz"] == "neither perfusion nor a Tmax map"
    whole = perf / "sub-Doe_dsc.nii.gz"
    whole.write_bytes(whole.read_bytes()[:-200])
    outcome, store = convert(bids)
    assert outcome.status == "refused"
    assert "values cannot be read" in outcome.notes[0]
    assert not has_case(store, "case-0001")


def test_two_perfusion_images_are_refused_and_names_tell_perfusion_from_others(bids):
    perf = bids / "sub-Doe" / "perf"
    save(bids / "sub-Doe" / "func" / "sub-Doe_bold.nii.gz", values())
    assert case_of(bids).perfusion is not None
    save(perf / "sub-Doe_run-2_dsc.nii.gz", values())
    assert "2 perfusion images (sub-Doe/perf/sub-Doe_dsc" in convert(bids)[0].notes[0]
    patient = NiftiPatient("x", bids, [perf / "sub-Doe_run-2_dsc.nii.gz"], [])
    outcome = convert_nifti(patient, "case-0002", bids.with_name("cohort.zarr"), Rules())
    assert outcome.status == "converted"
    assert "no Tmax map: no target to learn" in outcome.notes


def test_only_what_changed_is_converted_again(bids):
    assert convert(bids)[0].status == "converted"
    assert convert(bids)[0].status == "unchanged"
    (bids / "dsc.json").write_text('{"FlipAngle": 90}')  # a sidecar counts
    assert convert(bids)[0].status == "converted"
    assert convert(bids, Rules(max_missing=0.01))[0].status == "converted"


def test_a_header_without_orientation_is_refused(bids):
    image = nib.Nifti1Image(values(), None)
    nib.save(image, bids / "sub-Doe" / "perf" / "sub-Doe_dsc.nii.gz")
    assert "has no orientation" in convert(bids)[0].notes[0]
