"""Distances between surfaces: by brute force, in mm, and where there is no surface."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tmax_jax.metrics.surface import hausdorff95_6s_mm

SPACING_MM = (5.0, 1.8, 2.0)


def lesions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(np.arange(8), np.arange(20), np.arange(18), indexing="ij")
    blobs = []
    for _ in range(2):
        centre = rng.uniform((2, 6, 6), (6, 14, 12))
        blobs.append(
            12 * np.exp(-(((z - centre[0]) / 2) ** 2 + ((y - centre[1]) / 5) ** 2 + ((x - centre[2]) / 4) ** 2))
        )
    return blobs[0], blobs[1]


def surface_mm(mask: np.ndarray) -> np.ndarray:
    """Centres of the voxels with a neighbour outside, found one by one."""
    padded = np.pad(mask, 1)
    points = []
    for at in np.argwhere(mask):
        neighbours = [
            at + step for axis in range(3) for step in (np.eye(3, dtype=int)[axis], -np.eye(3, dtype=int)[axis])
        ]
        if not all(padded[tuple(n + 1)] for n in neighbours):
            points.append(at * SPACING_MM)
    return np.array(points)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_larger_of_both_directions_percentiles(seed):
    prediction, truth = lesions(seed)
    distances = cdist(surface_mm(prediction > 6), surface_mm(truth > 6))
    expected = max(np.percentile(distances.min(axis), 95) for axis in (0, 1))
    found = hausdorff95_6s_mm(prediction, truth, np.ones(truth.shape, bool), SPACING_MM)
    assert found == pytest.approx(expected)
    assert found == hausdorff95_6s_mm(truth, prediction, np.ones(truth.shape, bool), SPACING_MM)


def test_equal_lesions_are_0_mm_apart_and_what_is_outside_the_brain_is_not_seen():
    prediction, truth = lesions(0)
    mask = np.ones(truth.shape, bool)
    mask[:, :, 15:] = False
    far = np.where(mask, truth, 20)
    assert hausdorff95_6s_mm(far, truth, mask, SPACING_MM) == 0
    assert hausdorff95_6s_mm(far, prediction, mask, SPACING_MM) < 20


def test_no_lesion_in_either_is_undefined_and_in_one_the_worst():
    _, truth = lesions(0)
    everything = np.ones(truth.shape, bool)
    assert np.isnan(hausdorff95_6s_mm(truth * 0, truth * 0, everything, SPACING_MM))
    diagonal = np.linalg.norm(np.multiply(truth.shape, SPACING_MM))
    for pair in ((truth * 0, truth), (truth, truth * 0)):
        assert hausdorff95_6s_mm(*pair, everything, SPACING_MM) == pytest.approx(diagonal)
