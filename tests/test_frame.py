"""Headers: what a file is, what is wrong with it, and where its pixels lie."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from tests.dicom_dev import scan
from tests.dicom_files import STORED, one_image, read_frame, saved
from tmax_jax.dicom.assemble import read_stored, to_real
from tmax_jax.dicom.decode import DecodeError
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, SkippedError
from tmax_jax.dicom.pixels import read_pixels
from tmax_jax.dicom.series import order_series


def real_image(frame: Frame, *, prefer_real_world: bool = False) -> np.ndarray:
    series = order_series([frame])
    stored, inserted, _ = read_stored(series)
    values, scale, _ = to_real(series, stored, inserted, prefer_real_world=prefer_real_world)
    return values[0, :, :, 0] if scale == 1 else values[0, :, :, 0] * scale


def test_one_reading_gives_all_that_ordering_needs(tmp_path):
    frame = read_frame(saved(tmp_path, one_image()), "a/b")
    assert (frame.name, frame.patient_id, frame.shape) == ("a/b", "ID-7", (2, 3))
    assert frame.pixel_spacing_mm == (2.0, 1.5)
    assert (frame.instance_number, frame.temporal_position) == (1, 1)
    assert frame.acquired_s is not None
    assert frame.acquired_s % 86400 == 36000  # ten o'clock
    assert frame.acquisition_number is None


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_uncompressed_encoding_gives_the_same_values(tmp_path, syntax):
    dataset = one_image()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = STORED.byteswap().tobytes()
        dataset["PixelData"].VR = "OW"
    frame = read_frame(saved(tmp_path, dataset), "x")
    np.testing.assert_array_equal(read_pixels(frame), STORED)
    assert read_pixels(frame).dtype == np.uint16


def test_rle_gives_the_same_values(tmp_path):
    dataset = one_image()
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_pixels(read_frame(saved(tmp_path, dataset), "x")), STORED)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32])
def test_every_width_and_sign(tmp_path, dtype):
    stored = np.array([[0, 1, 120], [3, 100, 7]], dtype)
    stored[0, 0] = -5 if stored.dtype.kind == "i" else 5
    dataset = one_image()
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    values = read_pixels(read_frame(saved(tmp_path, dataset), "x"))
    np.testing.assert_array_equal(values, stored)
    assert values.dtype == dtype


def test_bits_above_the_stored_ones_are_not_values(tmp_path):
    dataset = one_image()
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelData = (STORED | 0x8000).tobytes()  # an overlay in the highest bit
    np.testing.assert_array_equal(read_pixels(read_frame(saved(tmp_path, dataset), "x")), STORED)
    dataset.PixelRepresentation = 1
    dataset.PixelData = STORED.tobytes()
    signed = np.where(STORED >= 2048, STORED.astype(int) - 4096, STORED)
    np.testing.assert_array_equal(read_pixels(read_frame(saved(tmp_path, dataset), "x")), signed)


def test_float_pixels_keep_nan(tmp_path):
    stored = np.array([[0.5, np.nan], [2, 3]], np.float32)
    np.testing.assert_array_equal(read_pixels(read_frame(saved(tmp_path, one_image(stored)), "x")), stored)


def test_rescale_padding_and_real_world_values(tmp_path):
    dataset = one_image()
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue = 2, -10, 4095
    frame = read_frame(saved(tmp_path, dataset), "x")
    values = real_image(frame)
    assert values.dtype == np.int16
    np.testing.assert_array_equal(values, [[-10, -8, 4084], [0, 190, 4]])
    mapping, unit = Dataset(), Dataset()
    unit.CodeValue = "s"
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.001, 0.0
    mapping.MeasurementUnitsCodeSequence = Sequence([unit])
    dataset.RealWorldValueMappingSequence = Sequence([mapping])
    frame = read_frame(saved(tmp_path, dataset), "x")
    assert frame.real_world == (0.001, 0.0, "s")
    np.testing.assert_allclose(real_image(frame, prefer_real_world=True)[0], [0, 0.001, 2.047], rtol=1e-6)


def remove(keyword: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, keyword)


def put(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset, keyword, value)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (remove("Rows"), DamagedError, "no Rows"),
        (remove("ImagePositionPatient"), DamagedError, "no ImagePositionPatient"),
        (remove("PixelData"), DamagedError, "no pixel data"),
        (put("PixelData", b"\0\0"), DamagedError, "2 bytes of pixel data, 12 wanted"),
        (put("BitsAllocated", 12), DamagedError, "BitsAllocated is 12"),
        (put("ImageOrientationPatient", ["0"] * 6), DicomError, "not two perpendicular directions"),
        (put("PixelSpacing", ["0", "1"]), DicomError, "PixelSpacing .* is not positive"),
        (put("RescaleSlope", "0"), DicomError, "RescaleSlope 0.0"),
        (put("SamplesPerPixel", 3), DicomError, "a colour image"),
        (put("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), DicomError, "a Siemens mosaic without the private"),
        (put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4.1"), DamagedError, "NumberOfFrames is 0, it describes 0"),
        (put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), SkippedError, "Secondary Capture Image Storage is not read"),
        (remove("SOPClassUID"), SkippedError, "not a DICOM image"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_patient_kept_for_the_count(tmp_path, spoil, error, message):
    dataset = one_image()
    spoil(dataset)
    with pytest.raises(error, match=rf"x/y: .*{message}") as caught:
        read_frame(saved(tmp_path, dataset, enforce_file_format=False), "x/y")
    assert type(caught.value) is error
    assert caught.value.patient_id == ("" if error is SkippedError else "ID-7")


@pytest.mark.parametrize("noise", [b"", b"plain text", b"\0" * 128 + b"DICM" + b"\xff" * 50, bytes(range(256)) * 4])
def test_noise_is_skipped_not_raised(tmp_path, noise):
    path = tmp_path / "noise"
    path.write_bytes(noise)
    with pytest.raises(SkippedError):
        read_frame(path, "noise")


def test_a_file_cut_anywhere_is_skipped_or_damaged_never_wrong(tmp_path):
    whole = saved(tmp_path, one_image()).read_bytes()
    path = tmp_path / "cut"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises((SkippedError, DamagedError)):
            read_frame(path, "cut")


def test_every_malformed_file_of_the_collection_gives_a_frame_or_a_clear_error():
    folder = scan("siemens_classic_dynamic_3x3")[0].parents[1] / "pydicom_malformed"
    files = [path for path in folder.rglob("*") if path.is_file()]
    messages, named = [], 0
    for path in files:
        try:
            frame = read_frame(path, path.name)
            assert read_pixels(frame).shape == frame.shape
        except DicomError as error:
            messages.append(str(error))
            named += path.name in str(error)
    assert len(messages) == named > 10


def test_a_missing_decoder_names_the_compression_and_the_package(monkeypatch):
    folder, _ = scan("generic_compressed_jpeg")
    frame = read_frame(next(path for path in sorted(folder.rglob("*")) if path.is_file()), "x")

    def no_plugin(*_: object, **__: object) -> None:
        raise DecodeError("missing")

    monkeypatch.setattr("tmax_jax.dicom.pixels.decode_frame", no_plugin)
    with pytest.raises(DicomError, match=r"no decoder for JPEG Lossless.*pip install python-gdcm"):
        read_pixels(frame)
