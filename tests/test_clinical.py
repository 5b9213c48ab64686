"""Volumes and ratios on a brain whose answer is counted by hand."""

import numpy as np
import pytest

from tmax_jax.perfusion.clinical import ClinicalSummary, clinical_summary, remove_small_clusters

SPACING_MM = (5.0, 2.0, 2.0)  # 0.02 mL a voxel


def brain(**options: object) -> ClinicalSummary:
    """A brain of 20 x 40 x 40 voxels: penumbra of 8000 with a core of 1000 in it, on the left."""
    tmax_s, cbf = np.ones((20, 40, 40)), np.full((20, 40, 40), 50.0)
    tmax_s[:, 10:30, 20:40], cbf[:, 10:30, 20:40] = 7.0, 20.0
    tmax_s[:10, 10:20, 25:35], cbf[:10, 10:20, 25:35] = 11.0, 10.0
    tmax_s[0, 0, 0] = 30.0  # one noisy voxel
    values = {"cbf": cbf, "cbv": cbf / 10, "tmax_s": tmax_s, "brain": np.ones(cbf.shape, bool)} | options
    return clinical_summary(spacing_mm=SPACING_MM, **values)  # pyright: ignore[reportArgumentType] (options by name)


def test_volumes_mismatch_and_ratios_are_those_that_were_put_in():
    found = brain()
    assert found.late_ml == pytest.approx({"4": 160.0, "6": 160.0, "8": 20.0, "10": 20.0})
    assert found.core_ml == pytest.approx(20.0)
    assert found.mismatch_ml == pytest.approx(140.0)
    assert found.mismatch_ratio == pytest.approx(8.0)
    assert found.hypoperfusion_intensity_ratio == pytest.approx(0.125)
    assert found.cbv_index == pytest.approx((7000 * 2 + 1000 * 1) / 8000 / 5)
    assert found.normal_cbf == pytest.approx(50.0)
    assert (found.defuse3_core, found.defuse3_mismatch, found.defuse3_ratio) == (True, True, True)


def test_a_large_core_fails_the_trials_criteria():
    cbf = np.full((20, 40, 40), 50.0)
    cbf[:, 10:30, 20:40] = 10.0
    found = brain(cbf=cbf)
    assert found.core_ml == pytest.approx(160.0)
    assert (found.defuse3_core, found.defuse3_mismatch, found.defuse3_ratio) == (False, False, False)


def test_the_core_is_compared_with_normal_tissue_or_with_the_other_side():
    cbf = np.full((20, 40, 40), 50.0)
    cbf[:, :, 20:] = 100.0  # healthy tissue of the lesion's side has more
    cbf[:, 10:30, 20:40] = 18.0
    assert brain(cbf=cbf).normal_cbf == pytest.approx((32000 * 0.5 * 50 + 8000 * 100) / 24000, rel=1e-3)
    contralateral = brain(cbf=cbf, reference="contralateral")
    assert contralateral.normal_cbf == pytest.approx(50.0)
    assert contralateral.core_ml == 0
    assert contralateral.mismatch_ratio is None  # no number where there is no core
    with pytest.raises(ValueError, match="'mirror'; choose one of normal, contralateral"):
        brain(reference="mirror")


def test_small_clusters_are_removed_before_volumes_are_read_and_the_size_is_stated():
    mask = np.zeros((3, 9, 9), bool)
    mask[0, 0, 0] = mask[2, 8, 8] = True
    mask[1, 3:6, 3:6] = True
    assert remove_small_clusters(mask, smallest_voxels=2).sum() == 9
    assert remove_small_clusters(mask, smallest_voxels=9).sum() == 9
    assert remove_small_clusters(mask, smallest_voxels=10).sum() == 0
    found = brain(smallest_cluster_ml=0.0)
    assert found.late_ml["10"] == pytest.approx(20.02)
    assert brain().smallest_cluster_ml == 1.0


def test_a_healthy_brain_has_no_ratio_and_voxels_that_are_nan_or_outside_do_not_count():
    tmax_s = np.ones((20, 40, 40))
    tmax_s[:3] = np.nan
    outside = np.ones(tmax_s.shape, bool)
    outside[3:6] = False
    tmax_s[3:6] = 20.0
    found = brain(tmax_s=tmax_s, brain=outside)
    assert found.late_ml["6"] == 0
    assert (found.mismatch_ratio, found.hypoperfusion_intensity_ratio, found.cbv_index) == (None, None, None)
    assert not found.defuse3_ratio


def test_maps_that_do_not_fit_together_are_named():
    with pytest.raises(ValueError, match="one shape"):
        brain(cbv=np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="three positive numbers"):
        clinical_summary(cbf=np.ones((1, 1, 1)), cbv=np.ones((1, 1, 1)), tmax_s=np.ones((1, 1, 1)),
                         brain=np.ones((1, 1, 1), bool), spacing_mm=(1.0, 0.0, 1.0))  # fmt: skip
