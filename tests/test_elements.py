"""Headers read element by element: the same values as pydicom's, from every real file at hand."""

import io
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.dicom_dev import scan
from tests.dicom_files import one_image, read_frame, saved
from tmax_jax.dicom.elements import Header
from tmax_jax.dicom.header import DamagedError
from tmax_jax.dicom.parser import BrokenError, CutError, parse_elements

SETS = (
    "ge_classic_instanceonly_15x10",
    "philips_classic_1903_40x6",
    "siemens_classic_dynamic_3x3",  # implicit
    "siemens_mosaic_FH_36x6",
    "generic_compressed_rle",
    "generic_rescale_nonsquare",
    "transfer_syntaxes_9",  # one of them big-endian
)
NUMBERS = {
    "instance_number": "InstanceNumber",
    "acquisition_number": "AcquisitionNumber",
    "temporal_position": "TemporalPositionIdentifier",
    "trigger_time_ms": "TriggerTime",
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "flip_angle_deg": "FlipAngle",
    "field_strength_t": "MagneticFieldStrength",
}


@pytest.mark.parametrize("name", SETS)
def test_values_are_those_that_pydicom_reads(name):
    from tests.dicom_files import read_all

    files = sorted(path for path in scan(name)[0].rglob("*") if path.is_file())
    for path in files[:: max(1, len(files) // 9)]:
        frame = read_all(path)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            for field, keyword in NUMBERS.items():
                value = dataset.get(keyword)
                assert getattr(frame, field) == (None if value in (None, "") else float(value)), keyword
            assert frame.series_uid == dataset.SeriesInstanceUID
            assert frame.description == dataset.get("SeriesDescription", "")
            assert frame.pixels.slope == float(dataset.get("RescaleSlope", 1))
            assert frame.orientation == tuple(map(float, dataset.ImageOrientationPatient))
            assert frame.pixels.bits == dataset.BitsStored
            assert frame.image_type == tuple(dataset.ImageType)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_nested_sequences_of_any_length_are_skipped_or_kept(tmp_path, syntax, undefined):
    dataset = one_image()
    inner, middle, unit, mapping = Dataset(), Dataset(), Dataset(), Dataset()
    inner.PixelData, inner["PixelData"].VR = b"\1\2\3\4", "OW"  # an icon is not the image
    inner.Rows = 7
    middle.IconImageSequence = Sequence([inner, inner])
    dataset.ReferencedImageSequence = Sequence([middle, Dataset(), middle])
    unit.CodeValue = "s"
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 1.0
    mapping.MeasurementUnitsCodeSequence = Sequence([unit])
    dataset.RealWorldValueMappingSequence = Sequence([mapping])
    for content in [*middle.IconImageSequence, mapping]:
        content.is_undefined_length_sequence_item = undefined
    middle["IconImageSequence"].is_undefined_length = undefined
    for sequence in ("ReferencedImageSequence", "RealWorldValueMappingSequence"):
        dataset[sequence].is_undefined_length = undefined
        for item in dataset[sequence].value:
            item.is_undefined_length_sequence_item = undefined
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset["PixelData"].VR = "OW"
    frame = read_frame(saved(tmp_path, dataset), "x")
    assert frame.real_world == (0.5, 1.0, "s")
    assert frame.shape == (2, 3)


def test_a_sequence_of_unknown_type_is_read_as_implicit():
    buffer = io.BytesIO()
    item = Dataset()
    item.RealWorldValueSlope = 2.0
    outer = Dataset()
    outer.RealWorldValueMappingSequence = Sequence([item])
    pydicom.dcmwrite(buffer, outer, implicit_vr=True, little_endian=True, overwrite=True)
    implicit = buffer.getvalue()
    value = implicit[8:]  # after tag and length
    explicit = implicit[:4] + b"UN\0\0" + len(value).to_bytes(4, "little") + value
    elements: dict = {}
    parse_elements(explicit, 0, "<", elements)
    [mapping] = Header(elements, "<").items("RealWorldValueMappingSequence")
    assert mapping.number("RealWorldValueSlope") == 2.0


def test_text_is_read_in_its_character_set(tmp_path):
    for charset, text in (
        ("ISO_IR 192", "灌注"),
        ("GB18030", "灌注"),
        ("ISO_IR 100", "Hirnödem"),
        ("nonsense", "plain"),
    ):
        dataset = one_image()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.SpecificCharacterSet, dataset.SeriesDescription = charset, text
            frame = read_frame(saved(tmp_path, dataset), "x")
        assert frame.description == text


def test_data_that_end_early_or_are_no_elements_are_told_apart():
    elements: dict = {}
    whole = b"\x28\0\x10\0US\2\0\x80\0"
    assert parse_elements(whole, 0, "<", elements).tag == 0
    with pytest.raises(CutError):
        parse_elements(whole[:-1], 0, "<", elements)
    with pytest.raises(BrokenError):
        parse_elements(b"\x28\0\x10\0SQ\0\0\xff\xff\xff\xff" + b"\1" * 16, 0, "<", elements)


def test_sequences_nested_without_end_are_refused_not_followed(tmp_path):
    start = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    path = tmp_path / "deep"
    meta = saved(tmp_path, one_image()).read_bytes()
    cut = meta.index(b"\x08\0\x16\0UI")
    path.write_bytes(meta[: cut + 34] + start * 20_000)
    with pytest.raises(DamagedError, match="broken or nested beyond reason"):
        read_frame(path, "deep")


def test_numbers_that_are_none_are_not_numbers():
    header = Header(
        {
            0x00281053: ("DS", b"nan "),
            0x00281052: ("DS", b"x "),
            0x00200013: ("IS", b" 12 "),
            0x00200032: ("DS", b"1\\2\\inf"),
            0x00280010: ("US", b"\x80"),
        },
        "<",
    )
    assert header.number("RescaleSlope") is None
    assert header.number("RescaleIntercept") is None
    assert header.number("InstanceNumber") == 12
    assert header.numbers("ImagePositionPatient") == ()
    assert header.numbers("Rows") == ()
    assert np.isnan(float(header.text("RescaleSlope")))
