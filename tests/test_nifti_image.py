"""One NIfTI image: what its header may claim, where its axes lead, and which sidecars are its own."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tmax_jax.cohort.nifti_image import open_image, read_sidecar, read_values, reorient, scanner_axes, sidecars_of
from tmax_jax.cohort.store import CohortError

AXIAL = np.diag([-2.0, 2.0, 5.0, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AXIAL) -> Any:
    nib.save(nib.Nifti1Image(array, affine), path)
    return open_image(path)


@pytest.mark.parametrize(
    ("columns", "leads"),
    [
        (([-1, 0, 0], [0, 1, 0], [0, 0, 1]), "SPL"),  # axial
        (([1, 0, 0], [0, 0, 1], [0, -1, 0]), "PIL"),  # coronal
        (([0, 1, 0], [0, 0, 1], [1, 0, 0]), "RIP"),  # sagittal
    ],
)
def test_each_plane_is_laid_as_it_is_shown_by_convention(tmp_path, columns, leads):
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T * 3.0
    values = np.arange(24.0).reshape(2, 3, 4, 1)
    image = save(tmp_path / "a.nii", values[..., 0], affine)
    turned, to_ras = reorient(values, image, scanner_axes({}, image))
    assert "".join(nib.aff2axcodes(to_ras)) == leads
    for z, y, x in np.ndindex(*turned.shape[:3]):  # every voxel stays where it is in the head
        i, j, k = np.argwhere(values[..., 0] == turned[z, y, x, 0])[0]
        np.testing.assert_allclose(to_ras @ [z, y, x, 1], affine @ [i, j, k, 1])


def test_the_scanners_own_orientation_has_the_last_word(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4, 1)
    image = save(tmp_path / "a.nii", values[..., 0])
    sidecar = {"ImageOrientationPatientDICOM": [0, 1, 0, 1, 0, 0]}  # rows to the back, columns to the left
    _, to_ras = reorient(values, image, scanner_axes(sidecar, image))
    assert "".join(nib.aff2axcodes(to_ras)) == "ILP"
    with pytest.raises(CohortError, match="is not six numbers"):
        scanner_axes({"ImageOrientationPatientDICOM": [1, 0]}, image)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_integers_stay_integers_in_either_byte_order(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for order in "<>":
        header = nib.Nifti1Header(endianness=order)
        nib.save(nib.Nifti1Image(array, AXIAL, header, dtype=dtype), tmp_path / "a.nii.gz")
        values, _, bad = read_values(open_image(tmp_path / "a.nii.gz"), tmp_path / "a.nii.gz")
        assert values.dtype.kind in "iu"
        assert values.dtype.isnative
        assert bad == 0
        np.testing.assert_array_equal(values[..., 0], array)


def test_colours_and_complex_numbers_are_no_perfusion(tmp_path):
    colour = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for array in (colour, np.zeros((2, 2, 2), np.complex64), np.zeros((2, 2), np.int16)):
        with pytest.raises(CohortError, match="plain numbers"):
            save(tmp_path / "a.nii", array)


def test_sidecars_are_those_whose_entities_the_image_has(tmp_path):
    folder = tmp_path / "sub-1" / "perf"
    folder.mkdir(parents=True)
    image = folder / "sub-1_run-2_dsc.nii.gz"
    texts = {
        tmp_path / "dsc.json": {"a": 1, "b": 1, "c": 1},
        tmp_path / "asl.json": {"a": 9},
        tmp_path / "sub-1" / "sub-1_dsc.json": {"b": 2, "c": 2},
        folder / "sub-1_run-3_dsc.json": {"c": 9},
        folder / "sub-1_run-2_dsc.json": {"c": 3},
    }
    for path, text in texts.items():
        path.write_text(json.dumps(text))
    assert read_sidecar(image, tmp_path) == {"a": 1, "b": 2, "c": 3}
    assert len(sidecars_of(image, tmp_path)) == 3
    assert sidecars_of(image, tmp_path / "sub-1")[0].parent.name == "sub-1"  # nothing above the data set is read
