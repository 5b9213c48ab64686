"""Where slices are: the grid along the slice normal, and the affine of the array."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tmax_jax.dicom.header import DicomError, Frame

_SAME_MM = 0.05  # positions closer than this are one slice
_UNEVEN = 0.10  # of a gap: how far a slice may lie from the grid
SLICE_KEY = "ImagePositionPatient along row x column"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class SliceGrid:
    """Evenly spaced slices; z ascends along the normal, the cross product of row and column direction."""

    normal: np.ndarray  # unit vector [3], patient coordinates (LPS)
    first_mm: float  # of slice 0 along the normal
    gap_mm: float
    count: int
    origin_mm: np.ndarray  # of pixel (0, 0) of slice 0 [3]
    step_mm: np.ndarray  # from a slice to the next [3]

    def index(self, frames: Sequence[Frame]) -> np.ndarray:
        """Returns each frame's place on the grid, float64 `[frame]`; whole numbers lie on a slice."""
        return (slice_positions(frames, self.normal) - self.first_mm) / self.gap_mm


def slice_normal(frame: Frame) -> np.ndarray:
    """Returns the unit vector `[3]` along which slices ascend."""
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return normal / np.linalg.norm(normal)


def slice_positions(frames: Sequence[Frame], normal: np.ndarray) -> np.ndarray:
    """Returns the frames' positions in mm along the normal, `[frame]`."""
    return np.array([frame.position_mm for frame in frames]) @ normal


def slice_grid(frames: Sequence[Frame]) -> SliceGrid:
    """Finds the grid that the frames of a series lie on.

    A gap of twice the spacing is a missing slice, not another spacing. The header's SliceLocation plays no part: it
    has no defined sign.

    Args:
      frames: of one series, of one orientation.

    Returns:
      The grid; its slices include those that no frame lies on.

    Raises:
      DicomError: the slices are not evenly spaced.
    """
    normal = slice_normal(frames[0])
    along = slice_positions(frames, normal)
    order = np.argsort(along, kind="stable")
    starts = np.concatenate([[True], np.diff(along[order]) > _SAME_MM])
    cluster = np.cumsum(starts) - 1
    centres = np.bincount(cluster, weights=along[order]) / np.bincount(cluster)
    first, last = frames[order[0]], frames[order[-1]]
    origin = np.array(first.position_mm)
    if len(centres) == 1:
        gap = first.slice_spacing_mm or first.slice_thickness_mm or 1.0
        return SliceGrid(normal, float(centres[0]), float(gap), 1, origin, gap * normal)
    gaps = np.diff(centres)
    steps = gaps / gaps.min()
    if np.any(np.abs(steps - np.round(steps)) > _UNEVEN):
        raise DicomError(
            f"the slices are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm;"
            " export one complete stack"
        )
    count = int(np.round(steps).sum()) + 1
    if count > 4 * len(centres):
        raise DicomError(f"images lie at {len(centres)} of {count} slices; export one complete stack")
    gap = float((centres[-1] - centres[0]) / (count - 1))
    step = (np.array(last.position_mm) - origin) / (count - 1)
    return SliceGrid(normal, float(centres[0]), gap, count, origin, step)


def affine_ras(frame: Frame, grid: SliceGrid) -> np.ndarray:
    """Returns the affine from array index to patient coordinates.

    Args:
      frame: any of the series.
      grid: of the series.

    Returns:
      float64 `[4, 4]`: times `(z, y, x, 1)` it gives mm to the right, to the front and to the top (RAS, as NIfTI).
    """
    row_mm, column_mm = frame.pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ grid.step_mm
    affine[:3, 1] = LPS_TO_RAS @ np.array(frame.orientation[3:]) * row_mm  # the next row is down a column
    affine[:3, 2] = LPS_TO_RAS @ np.array(frame.orientation[:3]) * column_mm
    affine[:3, 3] = LPS_TO_RAS @ grid.origin_mm
    return affine
