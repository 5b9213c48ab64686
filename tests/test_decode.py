"""Decoders that die on an image take nothing else with them."""

import signal

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import dcmread

from tests.dicom_dev import scan
from tests.dicom_files import read_all, read_folder
from tmax_jax.dicom import decode
from tmax_jax.dicom.decode import DecodeError, decode_frame
from tmax_jax.dicom.header import DamagedError, DicomError
from tmax_jax.dicom.pixels import read_all_pixels, read_pixels


@pytest.fixture
def jpeg(tmp_path):
    folder, _ = scan("generic_compressed_jpeg")
    return next(path for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_helper_that_died_is_replaced_and_only_its_image_is_lost(jpeg, monkeypatch):
    whole = decode_frame(str(jpeg), 0)
    helper = decode._helper
    assert helper is not None
    helper.kill()
    helper.wait()
    with pytest.raises(DecodeError, match="died"):
        decode_frame(str(jpeg), 0)
    np.testing.assert_array_equal(decode_frame(jpeg.read_bytes(), 0), whole)


def test_a_decoder_that_never_ends_is_ended(jpeg, monkeypatch):
    decode_frame(str(jpeg), 0)
    helper = decode._helper
    assert helper is not None
    helper.send_signal(signal.SIGSTOP)  # answers no more, and has not died
    monkeypatch.setattr(decode, "_TIMEOUT_S", 0.2)
    with pytest.raises(DecodeError, match="died"):
        decode_frame(str(jpeg), 0)
    assert helper.poll() is not None


def test_damaged_images_are_named_one_by_one_and_the_others_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("generic_compressed_jpeg", "generic_compressed_jpegls", "generic_compressed_j2k"):
        for number, path in enumerate(sorted(path for path in scan(name)[0].rglob("*") if path.is_file())):
            data = bytearray(path.read_bytes())
            if number == 1:
                data[-20000:-10000] = rng.integers(0, 256, 10000, np.uint8).tobytes()
            (tmp_path / f"{name}{number}").write_bytes(data)
    frames = read_folder(tmp_path)
    results = {frames[i].name: values for i, values in read_all_pixels(frames)}
    assert len(results) == 12
    for name, values in results.items():
        if name.endswith("1"):
            assert isinstance(values, np.ndarray) or (isinstance(values, DamagedError) and name in str(values))
        else:
            assert isinstance(values, np.ndarray)


@pytest.mark.parametrize("size", [100, 1000, 7000])
def test_an_image_in_fragments_is_the_same_image(tmp_path, size):
    folder, _ = scan("generic_compressed_j2k")
    path = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    dataset = dcmread(path)
    [frame] = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=-(-len(frame) // size), has_bot=False)
    dataset.save_as(tmp_path / "fragments")
    np.testing.assert_array_equal(read_pixels(read_all(tmp_path / "fragments")[0]), read_pixels(read_all(path)[0]))


def test_an_unknown_transfer_syntax_is_named(tmp_path, jpeg):
    data = jpeg.read_bytes()
    for syntax in (b"1.2.840.10008.1.2.4.99", b"1.2.3.4.5.6.7.8.9.10.1"):
        path = tmp_path / "unknown"
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.4.70", syntax, 1))
        with pytest.raises(DicomError, match="no decoder knows the transfer syntax") as caught:
            read_pixels(read_all(path)[0])
        assert not isinstance(caught.value, DamagedError)
