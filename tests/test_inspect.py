"""What is in a folder, and what would be done with it: the reference of every real scan, and the store's agreement."""

import hashlib
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests import dicom_dev
from tests.phantom_cohort import cohort_folder, simulate
from tmax_jax.cohort.inspect import inspect, print_inspection
from tmax_jax.cohort.scan import list_files, scan
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import read_case
from tmax_jax.convert import convert_cohort

REFERENCED = (
    "ge_classic_instanceonly_15x10",
    "ge_classic_multiphase_desc_10x10",
    "generic_compressed_j2k",
    "generic_compressed_jpeg",
    "generic_compressed_jpegls",
    "generic_compressed_rle",
    "generic_rescale_nonsquare",
    "philips_classic_1903_40x6",
    "philips_classic_pcasl_16x60",
    "philips_classic_timefastest_9x3",
    "philips_enh_1903_40x6",
    "philips_enh_nodimseq_8x4",
    "siemens_classic_dynamic_3x3",
    "siemens_mosaic_FH_36x6",
    "siemens_mosaic_HF_36x6",
    "siemens_xa30_enh_asl_12x7",
    "siemens_xa30_enh_derived_PW",
    "siemens_xa30_enh_derived_relCBF",
)
FOUR_D = [name for name in REFERENCED if not name.startswith("generic") and "derived" not in name]


def inspected(folder: Path, rules: Rules | None = None) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as pool:
        found = scan(folder, list_files(folder), pool, lambda _: None)
    document = inspect(found, rules or Rules())
    return json.loads(json.dumps(document, allow_nan=False))


def test_every_set_with_a_reference_is_listed_here():
    folder = dicom_dev.scan(REFERENCED[0])[0].parents[1]
    have = {path.parent.name for path in folder.glob("*/REFERENCE.json") if "dicom_layout" in path.read_text()}
    assert have == set(REFERENCED)


@pytest.mark.parametrize("name", REFERENCED)
def test_every_real_scan_equals_its_reference(name):
    folder, reference = dicom_dev.scan(name)
    [patient] = inspected(folder)["patients"]
    [series] = patient["series"]
    layout = reference["dicom_layout"]
    assert series["shape"] == layout["shape"]
    assert series["stored_dtype"] == layout["dtype"]
    assert series["stored_sha256"] == layout["sha256"]
    np.testing.assert_allclose(series["affine"], layout["affine_RAS_of_(row,col,slice)"], atol=1e-3)
    assert (series["holes"], series["duplicates"], series["error"]) == ([], 0, "")
    assert len(series["frame_times_s"]) == layout["shape"][3]
    assert patient["verdict"]["status"] == ("convert" if layout["shape"][3] > 1 else "refuse")


@pytest.mark.parametrize("name", FOUR_D)
def test_the_store_holds_the_values_of_the_reference(name, tmp_path):
    folder, reference = dicom_dev.scan(name)
    [outcome], _ = convert_cohort(folder, tmp_path / "c.zarr", Rules(), 1, Console(quiet=True))
    assert outcome.status == "converted"
    case = read_case(tmp_path / "c.zarr", outcome.case_id, maps=())
    layout = reference["dicom_layout"]
    assert case.perfusion is not None
    values = case.perfusion.transpose(1, 2, 0, 3)
    assert list(values.shape) == layout["shape"]
    affine = np.array(case.attributes["affine"])[:, [1, 2, 0, 3]]
    np.testing.assert_allclose(affine, layout["affine_RAS_of_(row,col,slice)"], atol=1e-3)
    [series] = inspected(folder)["patients"][0]["series"]
    slope = series["rescale"]["slope"]
    if case.perfusion.dtype.kind == "f" and isinstance(slope, float):
        values = np.round((values.astype(np.float64) - series["rescale"]["intercept"]) / slope)
    if not isinstance(slope, list):
        stored = np.ascontiguousarray(values.astype(layout["dtype"]))
        assert hashlib.sha256(stored.tobytes()).hexdigest() == layout["sha256"]


@pytest.mark.parametrize("name", [name for name in REFERENCED if name not in FOUR_D])
def test_a_scan_of_one_time_is_stored_when_its_series_is_named(name, tmp_path):
    folder, reference = dicom_dev.scan(name)
    [series] = inspected(folder)["patients"][0]["series"]
    rules = Rules(perfusion_series=series["description"] or f"{series['number']:g}")
    [outcome], _ = convert_cohort(folder, tmp_path / "c.zarr", rules, 1, Console(quiet=True))
    assert outcome.status == "converted"
    case, layout = read_case(tmp_path / "c.zarr", outcome.case_id, maps=()), reference["dicom_layout"]
    assert case.perfusion is not None
    affine = np.array(case.attributes["affine"])[:, [1, 2, 0, 3]]
    np.testing.assert_allclose(affine, layout["affine_RAS_of_(row,col,slice)"], atol=1e-3)
    slope, intercept = series["rescale"]["slope"], series["rescale"]["intercept"]
    if isinstance(slope, list):  # another one in every slice: the values are real, and no factor gives the stored ones
        assert list(case.perfusion.transpose(1, 2, 0, 3).shape) == layout["shape"]
        return
    stored = np.round((case.perfusion.astype(np.float64) - intercept) / slope).transpose(1, 2, 0, 3)
    stored = np.ascontiguousarray(stored.astype(layout["dtype"]))
    assert hashlib.sha256(stored.tobytes()).hexdigest() == layout["sha256"]


def test_one_acquisition_exported_in_two_ways_is_one_array():
    shas = {
        inspected(dicom_dev.scan(name)[0])["patients"][0]["series"][0]["stored_sha256"]
        for name in ("philips_classic_1903_40x6", "philips_enh_1903_40x6")
    }
    assert len(shas) == 1


def test_nine_encodings_of_one_mosaic_are_nine_equal_volumes():
    folder = dicom_dev.scan("transfer_syntaxes_9")[0]
    [patient] = inspected(folder)["patients"]
    assert len(patient["series"]) == 9
    assert {series["stored_sha256"] for series in patient["series"]} == {patient["series"][0]["stored_sha256"]}
    assert patient["series"][0]["shape"] == [64, 64, 35, 1]


def test_a_phantoms_roles_are_found_and_said(tmp_path):
    [patient] = inspected(simulate(tmp_path, 1))["patients"]
    roles = {series["role"]: series["role_reason"] for series in patient["series"]}
    assert roles == {"perfusion": "40 times", "map": "Tmax in its headers"}
    assert patient["verdict"]["status"] == "convert"


def test_rejected_keys_are_named_with_their_reasons():
    [patient] = inspected(dicom_dev.scan("ge_classic_instanceonly_15x10")[0])["patients"]
    ordering = patient["series"][0]["ordering"]
    assert ordering["time"] == "InstanceNumber, slices fastest"
    assert ordering["rejected"]["TemporalPositionIdentifier"] == "not on all images"
    assert ordering["slice"] == "ImagePositionPatient along row x column"


def test_holes_and_repeats_are_listed_and_the_verdict_counts_them(tmp_path):
    folder = dicom_dev.scan("ge_classic_instanceonly_15x10")[0]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number, path in enumerate(files):
        if number % 14:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "copy").write_bytes(files[1].read_bytes())
    [patient] = inspected(tmp_path)["patients"]
    [series] = patient["series"]
    assert (len(series["holes"]), series["duplicates"]) == (11, 1)
    assert patient["verdict"]["status"] == "drop"
    assert "11 of 150 perfusion images missing (7.3% > 5%)" in patient["verdict"]["reason"]
    assert inspected(tmp_path, Rules(max_missing=0.08))["patients"][0]["verdict"]["status"] == "convert"


def test_the_command_prints_one_json_document_or_a_table_and_writes_nothing(tmp_path):
    folder = dicom_dev.scan("siemens_xa30_enh_asl_12x7")[0]
    command = [sys.executable, "-m", "tmax_jax.convert", f"--inspect={folder}"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, env=None)
    assert json.loads(done.stdout)["patients"][0]["series"][0]["shape"] == [64, 64, 12, 7]
    assert done.stderr == ""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for text in ("asl_2d_tra", "perfusion: 7 times", "64 x 64, 12 x 7", "TemporalPositionIndex", "verdict: convert"):
        assert text in done.stdout
    assert not list(tmp_path.iterdir())
    bad = subprocess.run([*command[:3], "--inspect=/nonexistent"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "is not a folder" in bad.stderr


def test_no_identifier_of_the_headers_is_printed():
    document = json.dumps(inspected(cohort_folder() / "dicom"))
    for secret in ("Phantom^", "2.25.", "20000101", "no institution"):
        assert secret not in document
    console = Console(record=True, width=120, file=io.StringIO())
    print_inspection(json.loads(document), console)
    assert "2.25." not in console.export_text()
