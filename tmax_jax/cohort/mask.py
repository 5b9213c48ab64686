"""Which voxels are head and which are air."""

import numpy as np
from scipy import ndimage


def foreground_mask(perfusion: np.ndarray, inserted: np.ndarray, *, threshold: float = 0.10) -> np.ndarray:
    """Finds the head by a threshold on the mean image, then fills it.

    One mask serves all frames: a mask a frame would flicker while the bolus passes, since the signal drops. It is the
    paper's rule; scalp above the threshold stays in it.

    Args:
      perfusion: `[z, y, x, time]`.
      inserted: bool `[z, time]`, images that are not there; they do not count.
      threshold: fraction of the bright end (99.5th percentile) of the mean image, which one bright vessel cannot move.

    Returns:
      bool `[z, y, x]`: the largest connected piece, smoothed by a voxel, holes filled slice by slice.

    Example:
      >>> image = np.zeros((1, 6, 6, 2)); image[:, 1:5, 1:5] = 100; image[:, 2, 2] = 0
      >>> int(foreground_mask(image, np.zeros((1, 2), bool)).sum())  # the hole is filled
      16

    Reference:
      "Preprocessing" in the paper: a threshold of 10 %, then filled.
    """
    count = np.maximum((~inserted).sum(axis=1), 1)
    mean = perfusion.sum(axis=-1, dtype=np.float64) / count[:, None, None]  # images that are not there are all zeros
    above = mean > threshold * np.percentile(mean, 99.5)
    labels = np.zeros(above.shape, np.int32)
    pieces = ndimage.label(above, output=labels)
    if pieces:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0  # the background
        above = labels == sizes.argmax()
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1] = ndimage.generate_binary_structure(2, 1)
    padded = np.pad(above, ((0, 0), (1, 1), (1, 1)))  # closing must not bite at the edge of the image
    closed = ndimage.binary_closing(padded, in_slice)[:, 1:-1, 1:-1]
    return np.stack([np.asarray(ndimage.binary_fill_holes(image)) for image in closed])
