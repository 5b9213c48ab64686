"""One NIfTI image and its sidecar: values, places, and what BIDS says beside it."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import nifti1
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.wrapstruct import WrapStructError

from tmax_jax.cohort.store import CohortError
from tmax_jax.dicom.assemble import rescale
from tmax_jax.dicom.geometry import LPS_TO_RAS

_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_MAX_BYTES = 1 << 29  # of stored values; a patient at full size has 47 MB
_DEFLATE_LIMIT = 1100  # no compressed byte can become more bytes than this
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, WrapStructError)


def open_image(path: Path) -> Any:
    """Reads a header and believes nothing of it that the file cannot hold.

    Args:
      path: of a .nii or .nii.gz file.

    Returns:
      nibabel's image; its values are not read yet.

    Raises:
      CohortError: no such file, no such image, or a header that claims more than the file or the memory can hold.
    """
    if not path.is_file():
        raise CohortError("not a file, or a link to one that is not there (fetch the data set's contents)")
    try:
        image = nifti1.load(path) if path.stat().st_size else None
    except _UNREADABLE as error:
        raise CohortError(f"not a NIfTI image ({type(error).__name__})") from error
    dtype = np.dtype(image.get_data_dtype()) if image else np.dtype(object)
    if image is None or dtype.kind not in "iuf" or not 3 <= len(image.shape) <= 5:
        raise CohortError("not a NIfTI image of 3 or 4 dimensions and plain numbers")
    stored = int(np.prod(image.shape, dtype=object)) * dtype.itemsize
    possible = path.stat().st_size * (_DEFLATE_LIMIT if path.name.endswith(".gz") else 1)
    if not 0 < stored <= min(_MAX_BYTES, possible):
        raise CohortError(f"its header claims {stored} bytes of values, which it cannot hold or which are too many")
    return image


def read_values(image: Any, path: Path) -> tuple[np.ndarray, float, int]:
    """Reads the values of an image.

    Args:
      image: of `open_image`.
      path: for messages.

    Returns:
      Values `[i, j, k, time]`, their scale, and how many were not finite, as `dicom.assemble.rescale` has it.

    Raises:
      CohortError: the file is cut short, or its slope is none.
    """
    try:
        stored = np.asarray(image.dataobj.get_unscaled())
    except _UNREADABLE as error:
        raise CohortError(f"{path.name}: its values cannot be read ({type(error).__name__})") from error
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise CohortError(f"{path.name}: scl_slope is {slope} and scl_inter {intercept}; write the file again")
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False).reshape(*image.shape[:3], -1)
    return rescale(stored, np.array(slope), np.array(intercept))


def _affine_mm(image: Any) -> np.ndarray:
    """The affine to RAS mm."""
    if not image.header["sform_code"] and not image.header["qform_code"]:
        raise CohortError("the header has no orientation (sform_code and qform_code are 0); set the one that is true")
    affine = np.array(image.affine, np.float64)
    affine[:3] *= _MM[image.header.get_xyzt_units()[0]]
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-6:
        raise CohortError("the header's affine is singular or not finite; write the file again")
    return affine


def scanner_axes(sidecar: dict[str, Any], image: Any) -> np.ndarray:
    """Tells how the scanner laid the image: as the sidecar says, else as such a slice is shown by convention.

    Args:
      sidecar: of `read_sidecar`.
      image: of `open_image`; its third axis is taken for that of the slices where the sidecar says nothing.

    Returns:
      `[3, 3]`, a row each for the direction of x (along a row), of y (down a column) and of the slices' normal, in RAS.

    Raises:
      CohortError: no orientation that can be used.
    """
    given = sidecar.get("ImageOrientationPatientDICOM")
    if given is not None:
        try:
            x, y = np.array(given, float).reshape(2, 3) @ LPS_TO_RAS
        except (TypeError, ValueError) as error:
            raise CohortError("the sidecar's ImageOrientationPatientDICOM is not six numbers; correct it") from error
    else:
        left, back, feet = [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]
        through = int(np.abs(_affine_mm(image)[:3, 2]).argmax())  # the third axis is that of the slices
        x, y = [(back, feet), (left, feet), (left, back)][through]  # sagittal, coronal, axial
    return np.stack([x, y, np.cross(x, y)])


def reorient(values: np.ndarray, image: Any, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns an array so that each axis leads where the scanner's does.

    Args:
      values: `[i, j, k, time]`.
      image: of `open_image`.
      basis: of `scanner_axes`.

    Returns:
      `[z, y, x, time]`, z ascending along the slice normal; and the affine from `(z, y, x, 1)` to RAS mm.
    """
    affine = _affine_mm(image)
    seen = np.eye(4)
    seen[:3, :3] = basis @ affine[:3, :3]
    turn = io_orientation(seen)
    turned = affine @ inv_ornt_aff(turn, values.shape[:3])
    values = np.transpose(apply_orientation(values, turn), (2, 1, 0, 3))
    return np.ascontiguousarray(values), turned[:, [2, 1, 0, 3]]


def sidecars_of(image: Path, root: Path) -> list[Path]:
    """Lists the JSON files that describe an image, the closest last.

    BIDS lets those of the folders above hold what many images share: every file whose suffix is the image's, and whose
    entities (sub-01, run-2) are among the image's.

    Args:
      image: the NIfTI file.
      root: of the data set.

    Reference:
      BIDS specification, "The Inheritance Principle".
    """
    *entities, suffix = image.name.split(".")[0].split("_")
    found = []
    for folder in [folder for folder in reversed([image.parent, *image.parents]) if folder.is_relative_to(root)]:
        names = {path: path.stem.split("_") for path in sorted(folder.glob("*.json"))}
        fitting = [path for path, (*own, last) in names.items() if last == suffix and set(own) <= set(entities)]
        found += sorted(fitting, key=lambda path: len(names[path]))
    return list(dict.fromkeys(found))


def read_sidecar(image: Path, root: Path) -> dict[str, Any]:
    """Merges what the sidecars of an image say; the closest has the last word.

    Raises:
      CohortError: one of them is no JSON object.
    """
    merged: dict[str, Any] = {}
    for path in sidecars_of(image, root):
        try:
            merged |= json.loads(path.read_text())
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CohortError(
                f"{path.name} is not a JSON object ({type(error).__name__}); correct or remove it"
            ) from error
    return merged
