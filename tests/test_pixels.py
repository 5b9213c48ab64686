"""Stored pixels: bits, tiles, order, and files that are not what they were."""

import os

import numpy as np
import pytest

from tests.dicom_files import STORED, one_image, read_folder, read_frame, saved
from tmax_jax.dicom import pixels
from tmax_jax.dicom.header import DamagedError
from tmax_jax.dicom.pixels import read_all_pixels, read_pixels


@pytest.mark.parametrize(
    ("dtype", "bits", "high_bit", "raw", "value"),
    [
        ("<u2", 12, 11, 0xF123, 0x123),
        ("<u2", 12, 15, 0x1234, 0x123),
        ("<i2", 12, 11, 0x0FFF, -1),
        ("<i2", 16, 15, 0xFFFE, -2),
        ("<u1", 4, 3, 0xF5, 0x5),
        (">u2", 16, 15, 0x3412, 0x1234),
    ],
)
def test_only_the_bits_of_a_value_count_and_the_highest_is_its_sign(tmp_path, dtype, bits, high_bit, raw, value):
    frame = read_frame(saved(tmp_path, one_image()), "x")
    path = tmp_path / "raw"
    path.write_bytes(np.full((2, 3), raw, f"<u{dtype[2]}").tobytes())
    described = frame.pixels._replace(offset=0, dtype=dtype, bits=bits, high_bit=high_bit)
    read = read_pixels(frame._replace(source=frame.source._replace(path=str(path)), pixels=described))
    assert (read == value).all()
    assert read.dtype.isnative


def test_a_tile_is_cut_from_its_image(tmp_path):
    frame = read_frame(saved(tmp_path, one_image()), "x")
    tile = frame._replace(shape=(1, 2), pixels=frame.pixels._replace(corner=(1, 1)))
    np.testing.assert_array_equal(read_pixels(tile), STORED[1:, 1:])


def test_every_file_is_opened_once_in_the_order_asked_for(tmp_path, monkeypatch):
    for name in "cab":
        one_image().save_as(tmp_path / name)
    a, b, c = read_folder(tmp_path)
    opened, real = [], os.open
    monkeypatch.setattr(pixels.os, "open", lambda path, flags: opened.append(path[-1]) or real(path, flags))
    assert [place for place, _ in read_all_pixels([c, a, c, b])] == [0, 2, 1, 3]
    assert opened == ["c", "a", "b"]


def test_a_file_that_became_a_link_a_pipe_or_shorter_is_a_damaged_one_and_nothing_hangs(tmp_path):
    path = saved(tmp_path, one_image())
    frame, data = read_frame(path, "x"), path.read_bytes()
    path.write_bytes(data[:-4])
    with pytest.raises(DamagedError, match="x: 8 bytes of pixel data, 12 wanted"):
        read_pixels(frame)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamagedError, match="cannot be read"):
        read_pixels(frame)
    path.unlink()
    (tmp_path / "other").write_bytes(data)
    path.symlink_to(tmp_path / "other")
    with pytest.raises(DamagedError, match="cannot be read"):
        read_pixels(frame)
