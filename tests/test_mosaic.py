"""Images of tiles: where each tile lies in the patient is told by private values, never by the order of tiles."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless, RLELossless

from tests.dicom_dev import scan
from tests.dicom_files import one_image, read_all, read_folder, saved
from tmax_jax.dicom.assemble import read_stored
from tmax_jax.dicom.geometry import affine_ras
from tmax_jax.dicom.header import DamagedError, DicomError
from tmax_jax.dicom.mosaic import _parse_csa
from tmax_jax.dicom.series import order_series

TILES = np.arange(5 * 12, dtype=np.uint16).reshape(5, 3, 4)  # five slices of 3 x 4, on a grid of 3 x 3


def csa(values: dict[str, list[str]], *, newer: bool = True) -> bytes:
    """Writes the private table, in either of its forms."""
    data = b"SV10\4\3\2\1" if newer else b""
    data += struct.pack("<II", len(values), 77)
    first = len(next(iter(values.values())))
    for name, texts in values.items():
        data += struct.pack("<64si4sii", name.encode(), len(texts), b"FD", 4, len(texts))
        data += struct.pack("<i", 77)
        for text in texts:
            padded = text.encode() + b"\0" * (-len(text) % 4)
            length = len(text) if newer else len(text) + first
            data += struct.pack("<4i", length, len(text), 77, length) + padded
    return data


def mosaic(normal: list[str] | None = None, number: int = 5) -> Dataset:
    grid = np.zeros((9, 12), np.uint16)
    for index, tile in enumerate(TILES):
        row, column = divmod(index, 3)
        grid[3 * row : 3 * row + 3, 4 * column : 4 * column + 4] = tile
    dataset = one_image(grid)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [0, 0, 10]
    dataset.PixelSpacing, dataset.SpacingBetweenSlices = [2, 1.5], 4
    values = {"NumberOfImagesInMosaic": [str(number)]} | ({"SliceNormalVector": normal} if normal else {})
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa(values))
    return dataset


@pytest.mark.parametrize("newer", [True, False])
def test_both_forms_of_the_private_table_are_read(newer):
    values = {"First": ["1", "2.5", "-3"], "Second": ["41 "], "Words": ["none"], "Third": ["0.25", "7"]}
    found = _parse_csa(csa(values, newer=newer))
    assert found == {"First": [1, 2.5, -3], "Second": [41], "Words": [], "Third": [0.25, 7]}


@pytest.mark.parametrize(("normal", "order"), [(["0", "0", "1"], 1), (["0", "0", "-1"], -1)])
def test_tiles_go_where_the_slice_normal_points(tmp_path, normal, order):
    series = order_series(read_all(saved(tmp_path, mosaic(normal))))
    stored, _, _ = read_stored(series)
    np.testing.assert_array_equal(stored[..., 0], TILES[::order])
    affine = affine_ras(series.frames[0], series.grid)
    shift = np.array([0.5 * (12 - 4) * 1.5, 0.5 * (9 - 3) * 2])
    first_mm = 10 if order == 1 else 10 - 4 * 4
    np.testing.assert_allclose(affine[:3, 3], [-shift[0], -shift[1], first_mm])
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [4, 2, 1.5])


def test_a_mosaic_without_a_slice_normal_says_what_it_assumes(tmp_path):
    series = order_series(read_all(saved(tmp_path, mosaic())))
    assert any("SliceNormalVector" in finding for finding in series.findings)


def test_the_number_of_tiles_may_stand_in_a_public_block(tmp_path):
    dataset = mosaic(["0", "0", "1"])
    del dataset[0x00291010]
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", 5)
    assert len(read_all(saved(tmp_path, dataset))) == 5
    del dataset[0x0019100A]
    with pytest.raises(DicomError, match="mosaic without the private header"):
        read_all(saved(tmp_path, dataset))


@pytest.mark.parametrize("number", [10, 17, 10**6])
def test_more_tiles_than_fit_are_named(tmp_path, number):
    with pytest.raises(DamagedError, match="tiles do not fit an image of 9 x 12"):
        read_all(saved(tmp_path, mosaic(["0", "0", "1"], number)))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_a_compressed_mosaic_is_decoded_once_and_cut(tmp_path, syntax, monkeypatch):
    dataset = mosaic(["0", "0", "1"])
    dataset.compress(syntax, generate_instance_uid=False)
    series = order_series(read_all(saved(tmp_path, dataset)))
    from tmax_jax.dicom import pixels

    decoded = []
    monkeypatch.setattr(
        pixels, "decode_frame", lambda *a, real=pixels.decode_frame, **k: decoded.append(1) or real(*a, **k)
    )
    stored, _, _ = read_stored(series)
    np.testing.assert_array_equal(stored[..., 0], TILES)
    assert len(decoded) == 1


def test_head_to_foot_and_foot_to_head_numbering_give_ascending_slices():
    for name in ("siemens_mosaic_FH_36x6", "siemens_mosaic_HF_36x6"):
        series = order_series(read_folder(scan(name)[0]))
        assert series.grid.step_mm @ series.grid.normal > 0
        first = [frame.pixels.corner for frame, z in zip(series.frames, series.z, strict=True) if z == 0]
        assert set(first) == {(0, 0) if name.endswith("FH_36x6") else (320, 320)}


def grid(folder: Path) -> Path:
    dataset = mosaic()
    dataset.Manufacturer, dataset.ImageType = "UIH", ["ORIGINAL", "PRIMARY", "M", "GRID"]
    del dataset[0x00290010]
    del dataset[0x00291010]
    items = []
    for index in range(5):
        item = Dataset()
        item.ImagePositionPatient = [1, 2, 30 - 4 * index]
        items.append(item)
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", "5")
    block.add_new(0x51, "SQ", Sequence(items))
    return saved(folder, dataset)


def test_a_united_imaging_grid_lies_where_its_private_sequence_says(tmp_path):
    series = order_series(read_all(grid(tmp_path)))
    stored, _, _ = read_stored(series)
    np.testing.assert_array_equal(stored[..., 0], TILES[::-1])
    affine = affine_ras(series.frames[0], series.grid)
    np.testing.assert_allclose(affine[:3, 3], [-1, -2, 14])
    assert series.frames[0].kind == "grid"
