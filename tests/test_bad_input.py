"""What becomes of bad input, row by row of a matrix that `python -m tests.test_bad_input` prints for the README."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from rich.console import Console

from tests.dicom_dev import scan as real_scan
from tests.dicom_files import one_image, read_all, read_folder, saved
from tests.phantom_cohort import FRAMES, SIZE, cohort_folder, simulate
from tests.test_source import peak_memory
from tmax_jax.cohort.batches import trainable_cases
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import CohortError, list_cases, read_attributes, read_case
from tmax_jax.convert import convert_cohort
from tmax_jax.dicom.header import DamagedError, SkippedError
from tmax_jax.dicom.pixels import read_pixels
from tmax_jax.dicom.series import order_series

ROWS = {  # number: input, what happens
    1: ("texts, PDFs, archives of them, DICOMDIR, .DS_Store in the tree", "skipped and listed by path"),
    2: ("no preamble or no meta group", "read if it is an image with pixels; else skipped and named"),
    3: ("noise, a cut header, a huge length, Rows, position, orientation or UIDs missing", "named; a missing image"),
    4: ("short pixel data, absurd Rows, Columns, NumberOfFrames", "named; a missing image; no memory is taken for it"),
    5: ("sequences without end, a deflate bomb", "named; memory stays bounded"),
    6: ("pipe, device, socket, dangling link, loop of links, unreadable file", "never opened or followed; named"),
    7: ("unknown transfer syntax, decoder not installed", "refused: names the syntax and the package to install"),
    8: ("NaN or text as position, bad orientation, spacing 0, slope 0 or NaN", "refused: names file and tag"),
    9: ("images missing up to 5 % / above", "zeros in place and marked / dropped with counts and places"),
    10: ("one SOPInstanceUID twice, pixels equal / different", "counted once / refused naming both files"),
    11: ("two perfusion series or studies; map of another patient", "refused with candidates; chosen by name"),
    12: ("localiser, two echoes, magnitude and phase, two matrices", "left out or refused; `--echo` takes one echo"),
    13: (
        "map in colour, MONOCHROME1, other matrix, order, slices, no unit",
        "refused with both; order by geometry",
    ),
    14: ("PatientID as a path, 500 characters, empty, differing in case", "the store's key is a number; never a path"),
    15: (
        "disk full, converter killed",
        "nothing half-written is visible; other patients are there; a rerun completes",
    ),
    16: ("one bad patient", "the others go on; a table with reasons; exit status 1 only with `--strict`"),
    17: ("all patients bad, empty folder", "an error; no store"),
    18: ("big-endian, implicit, 8 to 32 bits, signed, overlay bits, padding, compressed", "the right values"),
    19: ("names, dates, institutions, private text", "not in store, messages or names of files"),
    20: ("files renamed, shuffled, nested, without extension", "the same array, bit for bit"),
}
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
QUIET = Console(quiet=True)
IMAGES = SIZE[0] * FRAMES


def matrix() -> str:
    """Returns the matrix as a table in Markdown."""
    lines = [f"| {number} | {given} | {happens} |" for number, (given, happens) in ROWS.items()]
    return "\n".join(["| # | input | what happens |", "|---|---|---|", *lines])


def test_every_row_of_the_matrix_has_a_test():
    numbers = {int(found.group(1)) for name in globals() if (found := re.match(r"test_row_(\d\d)_", name))}
    assert numbers == set(ROWS) == set(range(1, 21))


def convert(dicom: Path, out: Path, rules: Rules | None = None) -> tuple[list[Outcome], list[str]]:
    return convert_cohort(dicom, out, rules or Rules(), 1, QUIET)


def only(dicom: Path, out: Path, rules: Rules | None = None) -> Outcome:
    [outcome] = convert(dicom, out, rules)[0]
    return outcome


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """A complete simulated patient, to be spoiled."""
    shutil.copytree(cohort_folder() / "dicom" / "PHANTOM-0001", tmp_path / "dicom" / "P")
    return tmp_path / "dicom"


def images_of(dicom: Path, description: str = "perf") -> list[Path]:
    paths = [path for path in sorted(dicom.rglob("*")) if path.is_file()]
    return [
        path
        for path in paths
        if description in pydicom.dcmread(path, specific_tags=["SeriesDescription"]).SeriesDescription
    ]


def edit(path: Path, **values: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=False)


def test_row_01_other_files_are_skipped_and_listed_by_path(dicom, tmp_path):
    import zipfile

    (dicom / "notes.txt").write_text("a text")
    (dicom / "empty").write_bytes(b"")
    (dicom / "report.pdf").write_bytes(b"%PDF-1.7 " + bytes(500))
    (dicom / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(6000))
    with zipfile.ZipFile(dicom / "papers.zip", "w") as archive:
        archive.writestr("inside.txt", "text")
    directory = one_image()
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    directory.save_as(dicom / "DICOMDIR")
    outcomes, skipped = convert(dicom, tmp_path / "c.zarr")
    assert outcomes[0].status == "converted"
    assert outcomes[0].found == IMAGES
    for name in ("notes.txt", "empty", "report.pdf", ".DS_Store", "papers.zip:inside.txt", "DICOMDIR"):
        assert any(line.startswith(f"{name}: ") for line in skipped), name


def test_row_02_a_file_without_preamble_or_meta_group_is_read_if_it_is_an_image(tmp_path):
    whole = saved(tmp_path, one_image(), enforce_file_format=True).read_bytes()
    data_set = whole[whole.index(b"\x08\0\x05\0CS") :]
    for data in (whole[128 + 4 :], data_set, b"\0" * 128 + b"DICM" + data_set):
        (tmp_path / "bare").write_bytes(data)
        np.testing.assert_array_equal(read_pixels(read_all(tmp_path / "bare")[0]), one_image().pixel_array)
    (tmp_path / "bare").write_bytes(data_set.replace(b"\x08\0\x16\0", b"\x08\0\x17\0"))
    with pytest.raises(SkippedError, match="bare: not a DICOM image"):
        read_all(tmp_path / "bare")


def test_row_03_damaged_headers_are_named_and_count_as_missing_images(dicom, tmp_path):
    files = images_of(dicom)
    edit(files[3], Rows=None)
    edit(files[40], ImagePositionPatient=None)
    edit(files[77], ImageOrientationPatient=None)
    cut = files[100].read_bytes()
    files[100].write_bytes(cut[: cut.index(b"\x28\0\x10\0US")])
    huge = bytearray(files[120].read_bytes())
    at = huge.index(b"\x18\0\x81\0DS") + 6
    huge[at : at + 2] = b"\xff\xff"
    files[120].write_bytes(huge)
    files[140].write_bytes(b"\0" * 128 + b"DICM" + np.random.default_rng(0).bytes(700))
    edit(files[160], SOPInstanceUID=None)  # not needed: it stays
    edit(files[170], SeriesInstanceUID=None)  # then it belongs to no series
    outcome = only(dicom, tmp_path / "c.zarr")
    assert (outcome.status, outcome.found, outcome.expected) == ("converted", IMAGES - 7, IMAGES)
    notes = "\n".join(outcome.notes)
    for number, missing in ((3, "no Rows"), (40, "no ImagePositionPatient"), (77, "no ImageOrientationPatient")):
        assert f"{files[number].name}: {missing} in its header" in notes
    for number in (100, 120):
        assert files[number].name in notes
    assert read_case(tmp_path / "c.zarr", outcome.case_id).inserted.sum() == 7


def test_row_04_short_and_absurd_pixels_are_named_without_taking_memory(dicom, tmp_path):
    files = images_of(dicom)
    files[0].write_bytes(files[0].read_bytes()[:-1])
    edit(files[50], Rows=65535, Columns=65535)
    edit(files[90], Rows=0)
    edit(files[130], NumberOfFrames=2**31 - 1)
    outcome = only(dicom, tmp_path / "c.zarr")
    notes = "\n".join(outcome.notes)
    assert (outcome.status, outcome.found) == ("converted", IMAGES - 4)
    assert f"{files[0].name}: 511 bytes of pixel data, 512 wanted" in notes
    assert f"{files[50].name}: Rows 65535 and Columns 65535 are no size of an image" in notes
    assert f"{files[90].name}: Rows 0" in notes
    assert f"{files[130].name}: NumberOfFrames 2147483647" in notes
    assert peak_memory(files[50]) < 200


@pytest.mark.parametrize("bomb", ["deflated", "claims", "codestream"])
def test_row_04_a_claim_of_gigabytes_takes_no_memory_when_it_is_decoded(tmp_path, bomb):
    source = next(path for path in sorted(real_scan("generic_compressed_j2k")[0].rglob("*")) if path.is_file())
    data = bytearray(source.read_bytes())
    if bomb == "codestream":  # the codestream's own size is far larger than the header's
        place = data.index(b"\xff\x4f\xff\x51") + 8
        data[place : place + 8] = (60000).to_bytes(4, "big") * 2
        data[place + 16 : place + 24] = (60000).to_bytes(4, "big") * 2
    elif bomb == "claims":
        for tag in (b"\x28\0\x10\0US\2\0", b"\x28\0\x11\0US\2\0"):
            place = data.index(tag) + 8
            data[place : place + 2] = (4000).to_bytes(2, "little")
    else:
        dataset = one_image()
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = b"".join(packer.compress(b"\0" * 2**20) for _ in range(600)) + packer.flush()
        whole = saved(tmp_path, one_image()).read_bytes()
        meta = whole[: whole.index(b"\x08\0\x05\0CS")].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        data = bytearray(meta.replace(b"\2\0\x10\0UI\x14\0", b"\2\0\x10\0UI\x16\0") + packed)
    path = tmp_path / "bomb"
    path.write_bytes(data)
    assert peak_memory(path) < 800
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedError, match="bomb"):
        read_pixels(read_all(path)[0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # KiB


def test_row_05_sequences_without_end_and_bombs_leave_the_patient_whole_but_for_one_image(dicom, tmp_path):
    deep, bomb = images_of(dicom)[7:9]
    data = deep.read_bytes()
    start = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    cut = data.index(b"\x08\0\x20\0DA")
    deep.write_bytes(data[:cut] + start * 5000)
    whole = bomb.read_bytes()
    body = whole.index(b"\x08\0\x05\0CS")
    meta = whole[:body].replace(
        b"\2\0\x10\0UI\x14\0001.2.840.10008.1.2.1\0", b"\2\0\x10\0UI\x16\0001.2.840.10008.1.2.1.99"
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb.write_bytes(meta + packer.compress(whole[body:] + bytes(2**29)) + packer.flush())
    outcome = only(dicom, tmp_path / "c.zarr")
    assert (outcome.status, outcome.found) == ("converted", IMAGES - 2)
    notes = "\n".join(outcome.notes)
    assert f"{deep.name}: its header is broken or nested beyond reason" in notes
    assert f"{bomb.name}: inflates to more than" in notes


def test_row_06_what_is_no_regular_file_is_never_opened_or_followed(dicom, tmp_path):
    import socket

    os.mkfifo(dicom / "pipe")
    (dicom / "dangling").symlink_to(tmp_path / "nowhere")
    (dicom / "loop").symlink_to(dicom)
    (dicom / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(dicom / "socket"))
        outcomes, skipped = convert(dicom, tmp_path / "c.zarr")
    assert (outcomes[0].status, outcomes[0].found) == ("converted", IMAGES)
    assert sorted(skipped) == [
        f"{n}: not a regular file, not opened" for n in ("dangling", "device", "loop", "pipe", "socket")
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to this user")
def test_row_06_an_unreadable_file_is_named(dicom, tmp_path):
    (dicom / "secret").write_bytes(b"x")
    (dicom / "secret").chmod(0)
    assert "secret: cannot be opened (PermissionError)" in convert(dicom, tmp_path / "c.zarr")[1]


def test_row_07_an_unknown_transfer_syntax_is_named(dicom, tmp_path):
    for path in images_of(dicom):
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.999.10.1.2\0\0", 1))
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert "no decoder knows the transfer syntax" in outcome.notes[0]
    assert "1.2.840.999.10.1.2" in outcome.notes[0]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", "1\\nan\\inf"),
        ("ImagePositionPatient", "a\\b\\c"),
        ("ImageOrientationPatient", "0\\0\\0\\0\\0\\0"),
        ("ImageOrientationPatient", "1\\0\\0\\1\\0\\0"),
        ("PixelSpacing", "0\\1"),
        ("RescaleSlope", "0"),
        ("RescaleSlope", "nan"),
    ],
)
def test_row_08_impossible_values_refuse_the_patient_and_name_file_and_tag(dicom, tmp_path, keyword, value):
    path = images_of(dicom)[11]
    dataset = pydicom.dcmread(path)
    from pydicom.dataelem import RawDataElement

    tag = Tag(keyword)
    encoded = value.encode() + b" " * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, "DS", len(encoded), encoded, 0, False, True)
    dataset.save_as(path)
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert path.name in outcome.notes[0]
    assert keyword in outcome.notes[0]
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize(("lost", "status"), [(16, "converted"), (17, "dropped")])
def test_row_09_missing_images_are_zeros_in_place_or_the_patient_is_dropped_with_counts(dicom, tmp_path, lost, status):
    files = images_of(dicom)
    for number in np.random.default_rng(lost).choice(IMAGES, lost, replace=False):
        files[number].unlink()
    outcome = only(dicom, tmp_path / "c.zarr")
    assert (outcome.status, outcome.found, outcome.expected) == (status, IMAGES - lost, IMAGES)
    if status == "dropped":
        assert outcome.notes[0] == "17 of 320 perfusion images missing (5.3% > 5%)"
        assert outcome.notes[1].startswith("missing: slice ")
        assert "--max_missing=0.054" in outcome.notes[1]
        assert only(dicom, tmp_path / "c.zarr", Rules(max_missing=0.054)).status == "converted"
    case = read_case(tmp_path / "c.zarr", outcome.case_id)
    assert case.inserted.sum() == lost
    assert case.perfusion is not None
    assert not np.moveaxis(case.perfusion, -1, 1)[case.inserted].any()


def test_row_09_a_repaired_image_lies_between_its_neighbours_and_is_still_marked(dicom, tmp_path):
    whole = read_case(tmp_path / "w.zarr", only(dicom, tmp_path / "w.zarr").case_id).perfusion
    assert whole is not None
    series = order_series([frame for path in images_of(dicom) for frame in read_all(path)])
    [path] = [
        Path(f.source.path)
        for f, z, t in zip(series.frames, series.z, series.time.index, strict=True)
        if (z, t) == (4, 10)
    ]
    path.unlink()
    outcome = only(dicom, tmp_path / "c.zarr", Rules(repair="interpolate"))
    case = read_case(tmp_path / "c.zarr", outcome.case_id)
    assert np.argwhere(case.inserted).tolist() == [[4, 10]]
    assert case.perfusion is not None
    between = (whole[4, ..., 9].astype(float) + whole[4, ..., 11]) / 2
    np.testing.assert_allclose(case.perfusion[4, ..., 10], between, atol=0.65)  # half of the scanner's step of 1.29
    assert "1 missing images interpolated in time" in outcome.notes


def test_row_10_an_image_that_is_there_twice_counts_once_unless_it_differs(dicom, tmp_path):
    first, second = images_of(dicom)[:2]
    shutil.copy(first, dicom / "copy")
    outcome = only(dicom, tmp_path / "c.zarr")
    assert (outcome.status, outcome.found) == ("converted", IMAGES)
    assert "1 repeated images left out" in outcome.notes
    edit(dicom / "copy", PixelData=pydicom.dcmread(second).PixelData)
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert "copy" in outcome.notes[0]
    assert first.name in outcome.notes[0]
    assert "claim to be one image but differ" in outcome.notes[0]


def test_row_11_two_perfusion_series_are_listed_and_one_is_chosen_by_name(dicom, tmp_path):
    for number, path in enumerate(images_of(dicom)):
        shutil.copy(path, dicom / f"second{number}")
        edit(dicom / f"second{number}", SeriesInstanceUID="1.2.3", SeriesDescription="again", SeriesNumber=77)
        edit(dicom / f"second{number}", SOPInstanceUID=f"1.2.3.{number}")
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert "2 perfusion series" in outcome.notes[0]
    assert "'again' (8 slices x 40 times, 320 images), number 77" in outcome.notes[0]
    assert "--perfusion_series" in outcome.notes[0]
    for name in ("again", "77", "1.2.3"):
        assert only(dicom, tmp_path / "c.zarr", Rules(perfusion_series=name)).status == "converted"
    outcome = only(dicom, tmp_path / "d.zarr", Rules(perfusion_series="nothing"))
    assert "neither description, number nor UID" in outcome.notes[0]


def test_row_11_a_map_of_another_study_or_patient_is_not_taken_silently(dicom, tmp_path):
    maps = images_of(dicom, "Tmax")
    for path in maps:
        edit(path, StudyInstanceUID="1.2.99")
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert "are of two studies" in outcome.notes[0]
    name = pydicom.dcmread(maps[0]).SeriesDescription
    assert only(dicom, tmp_path / "c.zarr", Rules(map_series=name)).status == "converted"
    for path in maps:
        edit(path, PatientID="SOMEONE-ELSE")
    outcomes = convert(dicom, tmp_path / "d.zarr")[0]
    assert sorted(outcome.status for outcome in outcomes) == ["converted", "refused"]
    assert any("no perfusion series" in outcome.notes[0] for outcome in outcomes)


def test_row_12_a_localiser_is_left_out_and_two_echoes_are_split_by_name(dicom, tmp_path):
    files = images_of(dicom)
    localiser = pydicom.dcmread(files[0])
    for number, directions in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        localiser.ImageOrientationPatient, localiser.SOPInstanceUID = directions, f"1.9.{number}"
        localiser.SeriesInstanceUID, localiser.SeriesDescription = "1.9", "localiser"
        localiser.save_as(dicom / f"localiser{number}")
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "converted"
    assert any("left out: 'localiser'" in note for note in outcome.notes)
    for number, path in enumerate(files):
        shutil.copy(path, dicom / f"echo{number}")
        edit(dicom / f"echo{number}", EchoTime=60, SOPInstanceUID=f"1.8.{number}")
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert ", 60.0; name the one to take with --echo" in outcome.notes[0]
    outcome = only(dicom, tmp_path / "c.zarr", Rules(echo=60))
    assert outcome.status == "converted"
    assert read_case(tmp_path / "c.zarr", outcome.case_id).attributes["echo_time_ms"] == 60


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "image type"),
        ({"ComplexImageComponent": "PHASE"}, "complex component"),
        ({"Rows": 8, "Columns": 32}, "matrix"),
        ({"FlipAngle": 7}, "flip angle"),
    ],
)
def test_row_12_two_kinds_of_image_in_one_series_are_refused_by_name(dicom, tmp_path, values, named):
    for path in images_of(dicom)[::2]:
        edit(path, **values)
    outcome = only(dicom, tmp_path / "c.zarr")
    assert outcome.status == "refused"
    assert f"several kinds: {named}" in outcome.notes[0]


def test_row_13_maps_that_do_not_fit_are_refused_with_both_shapes(dicom, tmp_path):
    original = {path: path.read_bytes() for path in images_of(dicom, "Tmax")}

    def refused(**values: object) -> str:
        for path in original:
            edit(path, **values)
        outcome = only(dicom, tmp_path / "c.zarr")
        for path, data in original.items():
            path.write_bytes(data)
        assert outcome.status == "refused", values
        return outcome.notes[0]

    pixels = pydicom.dcmread(next(iter(original))).PixelData
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    assert "a colour image" in refused(**colours, PixelData=pixels * 3)
    assert "a colour image" in refused(PhotometricInterpretation="PALETTE COLOR")
    assert "MONOCHROME1" in refused(PhotometricInterpretation="MONOCHROME1")
    message = refused(Rows=8, Columns=8, PixelData=pixels[: len(pixels) // 4])
    assert "8 slices of 8 x 8 against 8 slices of 16 x 16" in message
    assert "the unit of the Tmax map" in refused(RescaleType="US", SeriesDescription="Tmax")
    assert "8 slices of 16 x 16 against 8 slices of 16 x 16" in refused(PixelSpacing=[1, 1])
    first = next(iter(original))
    first.unlink()
    message = only(dicom, tmp_path / "c.zarr").notes[0]
    assert "7 slices of 16 x 16 against 8 slices of 16 x 16" in message
    first.write_bytes(original[first])
    assert only(dicom, tmp_path / "c.zarr").status == "converted"


def test_row_14_no_patient_id_becomes_a_path_or_a_key_of_the_store(tmp_path):
    ids = ["../../etc/passwd", "/abs/olute", "x" * 500, "..", "Case", "case", "", "a\\b"]
    folder = tmp_path / "dicom"
    for number, patient_id in enumerate(ids):
        shutil.copytree(cohort_folder() / "dicom" / "PHANTOM-0001", folder / f"p{number}")
        for path in sorted((folder / f"p{number}").rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                at = data.index(b"\x10\0\x20\0LO")
                length = int.from_bytes(data[at + 6 : at + 8], "little")
                encoded = patient_id.encode() + b" " * (len(patient_id) % 2)
                new = data[: at + 6] + len(encoded).to_bytes(2, "little") + encoded + data[at + 8 + length :]
                path.write_bytes(new)
    before = set(tmp_path.parent.iterdir())
    outcomes, _ = convert(folder, tmp_path / "c.zarr")
    assert [outcome.status for outcome in outcomes] == ["converted"] * len(ids)
    assert sorted(list_cases(tmp_path / "c.zarr")) == [f"case-{number:04d}" for number in range(1, len(ids) + 1)]
    assert set(tmp_path.parent.iterdir()) == before
    private = json.loads((tmp_path / "c.zarr.private.json").read_text())
    assert set(private.values()) == {*(patient_id for patient_id in ids if patient_id), "folder p6"}


def test_row_15_a_write_that_fails_is_that_patients_alone_and_a_rerun_completes(tmp_path, monkeypatch):
    from tmax_jax.cohort import reading as module

    dicom, out, calls = simulate(tmp_path, 3), tmp_path / "c.zarr", []
    real = module.write_case

    def full_once(store: Path, case: object) -> None:
        calls.append(case)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(store, case)  # pyright: ignore[reportArgumentType] (a case)

    monkeypatch.setattr(module, "write_case", full_once)
    outcomes, _ = convert(dicom, out)
    assert sorted(outcome.status for outcome in outcomes) == ["converted", "converted", "refused"]
    assert any("No space left" in note for outcome in outcomes for note in outcome.notes)
    assert len(list_cases(out)) == 2
    outcomes, _ = convert(dicom, out)
    assert sorted(outcome.status for outcome in outcomes) == ["converted", "unchanged", "unchanged"]


def test_a_case_whose_files_no_longer_pass_is_marked_until_they_do_again(dicom, tmp_path):
    out = tmp_path / "c.zarr"
    [outcome], _ = convert(dicom, out)
    assert trainable_cases(out, [outcome.case_id]) == [outcome.case_id]
    lost = {path: (path.read_bytes(), path.stat()) for path in images_of(dicom)[:30]}
    for path in lost:
        path.unlink()
    [outcome], _ = convert(dicom, out)
    assert outcome.status == "dropped"
    assert outcome.notes[-1].endswith("now marked as excluded: training leaves it out")
    assert read_attributes(out, outcome.case_id)["excluded"] == "dropped"
    assert trainable_cases(out, list_cases(out)) == []
    assert "which training leaves out" in (tmp_path / "c.zarr.qc" / "cases.csv").read_text()
    for path, (data, stat) in lost.items():  # the very same files again: not "unchanged" while the mark is there
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    [outcome], _ = convert(dicom, out)
    assert outcome.status == "converted"
    assert trainable_cases(out, list_cases(out)) == [outcome.case_id]


def test_a_full_disk_is_no_fault_of_the_files_and_marks_nothing(dicom, tmp_path, monkeypatch):
    from tmax_jax.cohort import reading as module

    out = tmp_path / "c.zarr"
    convert(dicom, out)
    for path in images_of(dicom):
        os.utime(path)

    def full(store: Path, case: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_case", full)
    [outcome], _ = convert(dicom, out)
    assert outcome.status == "refused"
    assert outcome.notes[-1] == "the store still holds its earlier conversion"
    assert trainable_cases(out, list_cases(out)) == [outcome.case_id]


def test_row_16_one_bad_patient_is_in_the_table_and_fails_the_command_only_when_strict(tmp_path):
    dicom = simulate(tmp_path, 2)
    for path in images_of(dicom / "PHANTOM-0002")[:40]:
        path.unlink()
    command = [sys.executable, "-m", "tmax_jax.convert", f"--dicom_dir={dicom}", f"--out={tmp_path / 'c.zarr'}"]
    done = subprocess.run([*command, "--workers=2"], capture_output=True, text=True, check=True)
    assert "1 of 2 patients" in done.stdout
    assert "40 of 320 perfusion images missing" in " ".join(done.stdout.split())
    strict = subprocess.run([*command, "--workers=1", "--strict"], capture_output=True, text=True, check=False)
    assert strict.returncode == 1
    assert strict.stderr.strip() == "error: 1 of 2 patients were not converted (--strict)"


def test_row_17_a_folder_of_bad_patients_or_none_is_an_error_without_a_store(dicom, tmp_path):
    for path in images_of(dicom):
        path.unlink()
    command = [sys.executable, "-m", "tmax_jax.convert", f"--out={tmp_path / 'c.zarr'}", "--workers=1"]
    bad = subprocess.run([*command, f"--dicom_dir={dicom}"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "no patient of" in bad.stderr
    assert "Traceback" not in bad.stderr
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="holds no files"):
        convert(tmp_path / "empty", tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize("encoding", ["implicit", "big", "rle", "deflated", "overlay"])
def test_row_18_every_encoding_gives_the_same_values(dicom, tmp_path, encoding):
    first = order_series([frame for path in images_of(dicom) for frame in read_all(path)])
    for path in images_of(dicom):
        dataset = pydicom.dcmread(path)
        if encoding == "rle":
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif encoding == "overlay":
            assert dataset.pixel_array.max() < 2**14
            dataset.BitsStored, dataset.HighBit = 14, 13
            dataset.PixelData = (dataset.pixel_array.astype(np.uint16) | 0x8000).tobytes()
        else:
            if encoding == "big":
                values = dataset.pixel_array.byteswap().tobytes()
                meta, dataset = dataset.file_meta, pydicom.Dataset({element.tag: element for element in dataset})
                dataset.file_meta, dataset.PixelData = meta, values
                dataset["PixelData"].VR = "OW"
            dataset.file_meta.TransferSyntaxUID = SYNTAXES[encoding]
        (tmp_path / "other").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "other" / path.name)
    second = order_series(read_folder(tmp_path / "other"))
    for one, other in zip(first.frames[::37], second.frames[::37], strict=True):
        np.testing.assert_array_equal(read_pixels(one), read_pixels(other))


def test_row_19_nothing_of_a_person_is_in_store_messages_or_names(tmp_path):
    dicom = simulate(tmp_path / "source", 1)
    secrets = {
        "PatientName": "Doe^Jane",
        "PatientID": "MRN-555-1234",
        "PatientBirthDate": "19610203",
        "InstitutionName": "St Elsewhere",
        "ReferringPhysicianName": "House^G",
        "StudyDate": "20190517",
        "AcquisitionDate": "20190517",
        "AccessionNumber": "ACC-9876",
        "StudyDescription": "stroke of Jane",
    }
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(path for path in dicom.rglob("*") if path.is_file())):
        dataset = pydicom.dcmread(path)
        for keyword, value in secrets.items():
            setattr(dataset, keyword, value)
        block = dataset.private_block(0x0009, "ACME", create=True)
        block.add_new(1, "LO", "private words")
        dataset.save_as(flat / f"{number}")
    command = [sys.executable, "-m", "tmax_jax.convert", "--workers=1"]
    done = subprocess.run(
        [*command, f"--dicom_dir={flat}", f"--out={tmp_path / 'out' / 'c.zarr'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    looked = subprocess.run([*command, f"--inspect={flat}", "--json"], capture_output=True, text=True, check=True)
    store = tmp_path / "out" / "c.zarr"
    found = b"".join(path.read_bytes() + str(path).encode() for path in store.rglob("*") if path.is_file())
    found += (done.stdout + done.stderr + looked.stdout + looked.stderr).encode()
    for secret in [*secrets.values(), "private words", "2.25."]:
        assert secret.encode() not in found, secret
    for private in (tmp_path / "out").glob("*.json"):
        assert private.stat().st_mode & 0o077 == 0


def test_row_20_names_order_and_folders_change_no_bit(dicom, tmp_path):
    first = read_case(tmp_path / "a.zarr", only(dicom, tmp_path / "a.zarr").case_id)
    rng = np.random.default_rng(7)
    for path in sorted(path for path in dicom.rglob("*") if path.is_file()):
        target = tmp_path / "mixed" / f"x{rng.integers(3)}" / "Y" / f"{rng.integers(2**60):x}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    second = read_case(tmp_path / "b.zarr", only(tmp_path / "mixed", tmp_path / "b.zarr").case_id)
    np.testing.assert_array_equal(first.perfusion, second.perfusion)
    np.testing.assert_array_equal(first.maps["tmax"], second.maps["tmax"])
    assert first.attributes["affine"] == second.attributes["affine"]


if __name__ == "__main__":
    print(matrix())
