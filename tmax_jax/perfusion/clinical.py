"""What a stroke team reads from the maps: volumes, mismatch, collateral indices. On the host, in numpy and scipy."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage

LATE_S = (4.0, 6.0, 8.0, 10.0)  # Tmax above which volumes are read
CRITICAL_S = 6.0  # Tmax of critically hypoperfused tissue
NORMAL_S = 4.0  # Tmax up to which tissue counts as normal
CORE_CBF = 0.30  # of normal; below it tissue counts as core
SMALLEST_CLUSTER_ML = 1.0
DEFUSE3_CORE_ML, DEFUSE3_MISMATCH_ML, DEFUSE3_RATIO = 70.0, 15.0, 1.8


class ClinicalSummary(NamedTuple):
    """Volumes in mL and their ratios; a ratio is None where its denominator is 0. Information, not advice."""

    late_ml: dict[str, float]  # volume with Tmax above so many seconds
    core_ml: float  # CBF below `CORE_CBF` of normal, within Tmax > 6 s
    mismatch_ml: float  # volume with Tmax > 6 s, less the core
    mismatch_ratio: float | None  # volume with Tmax > 6 s over the core
    hypoperfusion_intensity_ratio: float | None  # volume with Tmax > 10 s over that with Tmax > 6 s
    cbv_index: float | None  # mean CBV where Tmax > 6 s over that of normal tissue
    normal_cbf: float  # ml/100 g/min, to which the core is compared
    reference: str  # "normal" or "contralateral"
    smallest_cluster_ml: float  # smaller ones were removed
    defuse3_core: bool  # core < 70 mL
    defuse3_mismatch: bool  # mismatch volume >= 15 mL
    defuse3_ratio: bool  # ratio >= 1.8; True without a core where there is late tissue


def clinical_summary(
    *,
    cbf: np.ndarray,
    cbv: np.ndarray,
    tmax_s: np.ndarray,
    brain: np.ndarray,
    spacing_mm: Sequence[float],
    reference: str = "normal",
    smallest_cluster_ml: float = SMALLEST_CLUSTER_ML,
) -> ClinicalSummary:
    """Reads volumes from the maps, after small isolated clusters are removed.

    Args:
      cbf: `[z, y, x]`, in ml/100 g/min or any unit proportional to it.
      cbv: `[z, y, x]`, in ml/100 g or any unit proportional to it.
      tmax_s: `[z, y, x]`, seconds.
      brain: bool `[z, y, x]`, tissue that counts: without ventricles and large vessels where they are known.
      spacing_mm: of the voxels, z, y, x.
      reference: what CBF is compared with for the core: "normal" is the mean over tissue with Tmax up to 4 s,
        "contralateral" that of the half of the brain with less tissue over 6 s.
      smallest_cluster_ml: face-connected clusters below this volume are removed, for each threshold by itself.

    Returns:
      The summary.

    Raises:
      ValueError: shapes differ, the spacing is not three positive numbers, or the reference is unknown.

    Example:
      >>> late = np.zeros((2, 20, 20)); late[:, 4:10, 2:8] = 12.0
      >>> flow = np.where(late > 0, 10.0, 50.0)
      >>> summary = clinical_summary(
      ...     cbf=flow, cbv=flow / 12, tmax_s=late, brain=late >= 0, spacing_mm=(5.0, 2.0, 2.0))
      >>> round(summary.late_ml["6"], 2), round(summary.core_ml, 2), summary.mismatch_ratio
      (1.44, 1.44, 1.0)

    References:
      Albers et al., N Engl J Med 2018;378:708 (DEFUSE 3). Olivot et al., Stroke 2014;45:1018 (intensity ratio).
    """
    shapes = {"cbf": cbf.shape, "cbv": cbv.shape, "tmax_s": tmax_s.shape, "brain": brain.shape}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"maps of one patient must have one shape; found {shapes}")
    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        raise ValueError(f"spacing_mm={tuple(spacing_mm)} must be three positive numbers: z, y, x")
    voxel_ml = math.prod(spacing_mm) / 1000.0
    finite = brain.astype(bool) & np.isfinite(tmax_s) & np.isfinite(cbf) & np.isfinite(cbv)

    def kept(mask: np.ndarray) -> np.ndarray:
        return remove_small_clusters(mask, smallest_voxels=smallest_cluster_ml / voxel_ml)

    late = {threshold: kept(finite & (tmax_s > threshold)) for threshold in LATE_S}
    critical = late[CRITICAL_S]
    normal = finite & (tmax_s <= NORMAL_S)
    if reference == "normal":
        compared = normal
    elif reference == "contralateral":
        compared = finite & _other_half(critical, finite)
    else:
        raise ValueError(f"unknown reference {reference!r}; choose one of normal, contralateral")
    normal_cbf = float(cbf[compared].mean()) if compared.any() else 0.0
    core = kept(critical & (cbf < CORE_CBF * normal_cbf))

    def volume(mask: np.ndarray) -> float:
        return float(mask.sum()) * voxel_ml

    late_ml = {f"{threshold:g}": volume(mask) for threshold, mask in late.items()}
    core_ml, critical_ml = volume(core), volume(critical)
    ratio = critical_ml / core_ml if core_ml else None
    normal_cbv = float(cbv[normal].mean()) if normal.any() else 0.0
    return ClinicalSummary(
        late_ml=late_ml,
        core_ml=core_ml,
        mismatch_ml=critical_ml - core_ml,
        mismatch_ratio=ratio,
        hypoperfusion_intensity_ratio=volume(late[10.0]) / critical_ml if critical_ml else None,
        cbv_index=float(cbv[critical].mean()) / normal_cbv if critical_ml and normal_cbv else None,
        normal_cbf=normal_cbf,
        reference=reference,
        smallest_cluster_ml=smallest_cluster_ml,
        defuse3_core=core_ml < DEFUSE3_CORE_ML,
        defuse3_mismatch=critical_ml - core_ml >= DEFUSE3_MISMATCH_ML,
        defuse3_ratio=critical_ml > 0 and (ratio is None or ratio >= DEFUSE3_RATIO),
    )


def remove_small_clusters(mask: np.ndarray, *, smallest_voxels: float) -> np.ndarray:
    """Returns a mask without its small isolated clusters.

    Args:
      mask: bool `[z, y, x]`.
      smallest_voxels: clusters of fewer face-connected voxels are removed.

    Returns:
      bool `[z, y, x]`.
    """
    labels = np.zeros(mask.shape, np.int32)
    scipy.ndimage.label(mask, output=labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= smallest_voxels - 1e-6)[labels] & mask.astype(bool)


def _other_half(lesion: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Returns the half of the grid, split in x at the brain's middle, that holds less of the lesion."""
    columns = np.arange(brain.shape[2]) + 0.5
    weight = brain.sum(axis=(0, 1))
    middle = float((columns * weight).sum() / max(weight.sum(), 1))
    right = np.broadcast_to(columns < middle, brain.shape)
    return ~right if (lesion & right).sum() > (lesion & ~right).sum() else right
