"""The simulated patient: values of the literature, a lesion where it was put, another patient for every number."""

import functools

import jax
import numpy as np
import pytest

from tmax_jax.perfusion import anatomy
from tmax_jax.perfusion.phantom import TMAX_LIMIT_S, Phantom, draw_subject, simulate_patient

SIZE = (8, 32, 32)


@functools.cache
def phantom(number: int, *, present: float | None = None) -> Phantom:
    subject = draw_subject(0, number)
    if present is not None:
        subject = subject._replace(lesion=subject.lesion._replace(present=present))
    key = jax.random.fold_in(jax.random.key(0), number)
    return jax.device_get(simulate_patient(key, subject, size=SIZE, frames=60))


def test_healthy_tissue_has_the_flow_and_volume_of_the_literature():
    healthy = phantom(0, present=0.0)
    tissue = healthy.cbf > 0
    assert np.percentile(healthy.cbf[tissue], 10) > 15
    assert np.percentile(healthy.cbf[tissue], 90) < 85
    assert 2 < np.median(healthy.mtt_s[tissue]) < 7
    assert healthy.delay_s.min() >= 0
    assert healthy.delay_s.max() < 3
    assert not healthy.lesion.any()


def test_mtt_is_volume_over_flow():
    sick = phantom(0, present=1.0)
    tissue = sick.cbf > 0
    np.testing.assert_allclose(sick.mtt_s[tissue], 60 * sick.cbv[tissue] / sick.cbf[tissue], rtol=1e-5)


def test_a_lesion_lies_on_one_side_late_and_short_of_blood():
    sick, healthy = phantom(0, present=1.0), phantom(0, present=0.0)
    lesion = sick.lesion > 0
    assert 0.01 < lesion[sick.brain].mean() < 0.3
    side = draw_subject(0, 0).lesion.side
    column = np.argwhere(lesion)[:, 2].mean()
    assert (column > SIZE[2] / 2) == (side > 0)  # x runs to the left
    assert (sick.delay_s[lesion] - healthy.delay_s[lesion]).min() > 1.5
    assert np.median(sick.cbf[lesion] / healthy.cbf[lesion]) < 0.6
    assert np.median(sick.tmax_s[lesion]) > 6  # the clinical threshold of critically late tissue
    assert np.median(healthy.tmax_s[healthy.tmax_s > 0]) < 4


def test_the_signal_falls_with_the_bolus_and_starts_unsettled():
    subject, patient = draw_subject(0, 0), phantom(0)
    curve = np.asarray(patient.signal)[patient.cbf > 20].mean(axis=0)
    baseline = curve[3:9].mean()
    assert curve[0] > 1.05 * baseline
    lowest = curve[9:30].argmin() + 9
    assert subject.arrival_s < lowest * subject.frame_interval_s < subject.arrival_s + 15
    assert 0.5 < curve[lowest] / baseline < 0.95


def test_noise_in_the_air_is_rician_of_the_stated_snr():
    subject, patient = draw_subject(0, 0), phantom(0)
    corner = np.asarray(patient.signal)[:, :2, :2].ravel()  # far from any tissue
    sd = subject.signal_scale / subject.snr
    assert corner.min() >= 0
    np.testing.assert_allclose(corner.mean(), sd * np.sqrt(np.pi / 2), rtol=0.1)  # Rayleigh


def test_the_target_ends_where_the_commercial_maps_end_and_is_0_outside_the_brain():
    for number in range(4):
        patient = phantom(number)
        assert patient.tmax_s.min() >= 0
        assert patient.tmax_s.max() <= TMAX_LIMIT_S
        assert not np.asarray(patient.tmax_s)[~np.asarray(patient.brain)].any()


def test_patients_differ_and_come_back_bit_for_bit():
    again = jax.device_get(
        simulate_patient(jax.random.fold_in(jax.random.key(0), 0), draw_subject(0, 0), size=SIZE, frames=60)
    )
    jax.tree.map(np.testing.assert_array_equal, again, phantom(0))
    assert np.abs(phantom(0).signal - phantom(1).signal).mean() > 10
    drawn = [draw_subject(0, number) for number in range(60)]
    assert len({subject.frame_interval_s for subject in drawn}) > 50
    present = np.mean([subject.lesion.present for subject in drawn])
    assert 0.6 < present < 0.95  # most patients have a lesion, some are healthy


def test_tissues_fill_every_voxel_and_the_head_is_nearly_symmetric():
    head = anatomy.Head(1.0, 0.0, 1.0, 1.0)
    fractions = np.asarray(anatomy.tissue_fractions(jax.random.key(3), (12, 48, 48), head))
    np.testing.assert_allclose(fractions.sum(axis=0), 1, atol=1e-5)
    brain = fractions[[anatomy.CSF, anatomy.GREY, anatomy.WHITE, anatomy.DEEP_GREY]].sum(axis=0) > 0.5
    assert np.mean(brain == brain[:, :, ::-1]) > 0.93
    voxel_ml = np.prod(np.divide(anatomy.FIELD_OF_VIEW_MM, (12, 48, 48))) / 1000
    assert 1100 < brain.sum() * voxel_ml < 2000  # brain and its fluid, in mL
    for tissue in ("scalp", "skull", "csf", "grey", "white", "deep_grey", "artery", "vein"):
        assert fractions[anatomy.TISSUES.index(tissue)].max() > 0.2, tissue


@pytest.mark.parametrize("size", [(8, 32, 32), (12, 48, 48)])
def test_the_same_head_at_another_matrix_size(size):
    head = anatomy.Head(1.0, 0.0, 1.0, 1.0)
    at = anatomy.head_space(jax.random.key(1), size, head)
    middle = tuple(n // 2 for n in size)
    np.testing.assert_allclose(float(at.x[middle]), 0, atol=12)
    assert at.x[0, 0, -1] > at.x[0, 0, 0]  # x runs to the left
    assert at.y[0, -1, 0] < at.y[0, 0, 0]  # rows run to the back
    assert at.z[-1, 0, 0] > at.z[0, 0, 0]
