"""Maps as NIfTI, each with its unit in a sidecar."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image

from tmax_jax.files import write_whole


def write_map(path: Path, values: np.ndarray, affine: np.ndarray, described: dict[str, Any]) -> None:
    """Writes one map and its sidecar, each whole or not at all.

    Args:
      path: ends in .nii.gz; the sidecar's ends in .json.
      values: `[z, y, x]`, written as float32.
      affine: `[4, 4]`, from `(z, y, x, 1)` to RAS mm.
      described: for the sidecar, anything JSON holds: `Units` as BIDS has it, and what the map is.
    """
    image = Nifti1Image(values.astype(np.float32).transpose(2, 1, 0), np.asarray(affine)[:, [2, 1, 0, 3]])
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    write_whole(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    write_whole(sidecar, json.dumps(described, indent=1) + "\n")
