"""Deconvolution against the matrix it replaces, against a delta, and against another collection's cases."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from tmax_jax.perfusion.aif import arterial_input
from tmax_jax.perfusion.deconvolution import (
    CSVD_THRESHOLD,
    METHODS,
    OSVD_OSCILLATION,
    OSVD_THRESHOLDS,
    deconvolve,
    oscillation_index,
)
from tmax_jax.perfusion.parametric import tmax_s
from tmax_jax.perfusion.residue import exponential

OSIPI = Path(__file__).parents[2] / "shared" / "data" / "osipi" / "dsc_data.csv"
DT_S = 1.5
TIME_S = DT_S * jnp.arange(60)
AIF = arterial_input(TIME_S, arrival_s=15.0, rise_s=4.5, shape=3.0, recirculation=0.2, recirculation_delay_s=11.0)


def convolve(kernel: np.ndarray, *, dt: float = DT_S, aif: np.ndarray | jax.Array = AIF) -> np.ndarray:
    """The discrete model that deconvolution solves."""
    return dt * np.convolve(np.asarray(aif), kernel)[: len(kernel)]


def delayed(frames: int) -> np.ndarray:
    return np.concatenate([np.zeros(frames), 0.01 * np.exp(-np.arange(60 - frames) * DT_S / 4.0)])


def circulant_svd(curve: np.ndarray, aif: np.ndarray, dt: float) -> np.ndarray:
    """Block-circulant SVD as it is published: singular values under a tenth of the largest are dropped."""
    n = len(aif)
    left, values, right = np.linalg.svd(dt * scipy.linalg.circulant(np.concatenate([aif, np.zeros(n)])))
    inverse = np.where(values >= CSVD_THRESHOLD * values[0], 1 / values, 0)
    return right.T @ (inverse * (left.T @ np.concatenate([curve, np.zeros(n)])))


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_division_in_fourier_space_is_the_circulant_svd(noise):
    curve = convolve(delayed(3)) + noise * np.random.default_rng(0).normal(size=60)
    found = deconvolve(jnp.asarray(curve), AIF, dt=DT_S, method="csvd")
    np.testing.assert_allclose(found, circulant_svd(curve, np.asarray(AIF), DT_S), atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_an_arterial_delta_gives_the_tissue_curve_back(method):
    delta = jnp.zeros(60).at[0].set(1 / DT_S)
    curve = jnp.asarray(delayed(4), jnp.float32)
    np.testing.assert_allclose(deconvolve(curve, delta, dt=DT_S, method=method)[:60], curve, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frames", [0, 2, 5])
def test_a_copy_of_the_artery_peaks_at_its_delay(method, frames):
    curve = jnp.concatenate([jnp.zeros(frames), AIF[: 60 - frames]])  # the ideal, unspread case
    found_s = tmax_s(deconvolve(curve, AIF, dt=DT_S, method=method), dt=DT_S)
    assert float(found_s) == pytest.approx(frames * DT_S, abs=0.5 * DT_S)


def test_tissue_fed_before_the_artery_measured_has_a_negative_time():
    curve = jnp.concatenate([AIF[3:], jnp.full(3, AIF[-1])])
    assert float(tmax_s(deconvolve(curve, AIF, dt=DT_S), dt=DT_S)) == pytest.approx(-3 * DT_S, abs=DT_S)


@pytest.mark.parametrize("method", METHODS)
def test_a_frame_more_of_delay_is_read_as_a_frame_more(method):
    curves = jnp.asarray(np.stack([convolve(delayed(frames)) for frames in range(7)]), jnp.float32)
    found_s = tmax_s(deconvolve(curves, AIF, dt=DT_S, method=method), dt=DT_S)
    np.testing.assert_allclose(np.diff(found_s), DT_S, atol=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_flow_does_not_change_when_the_same_curves_are_sampled_twice_as_fast(method):
    """A factor of the frame interval that is forgotten on one side shows here."""
    flows = []
    for dt in (1.5, 0.75):
        time_s = dt * jnp.arange(round(90 / dt))
        aif = arterial_input(
            time_s, arrival_s=15.0, rise_s=4.5, shape=3.0, recirculation=0.2, recirculation_delay_s=11.0
        )
        curve = convolve(np.asarray(0.01 * exponential(time_s, jnp.array([5.0]))), dt=dt, aif=aif)
        flows.append(float(deconvolve(jnp.asarray(curve), aif, dt=dt, method=method).max()))
    assert flows[0] == pytest.approx(flows[1], rel=0.15)


def test_voxels_that_ring_at_the_lowest_threshold_get_a_higher_one():
    clean = convolve(delayed(3))
    noisy = clean + 0.1 * clean.max() * np.random.default_rng(1).normal(size=(50, 60))
    artery = DT_S * np.fft.rfft(AIF, 120)
    kept = np.abs(artery) >= OSVD_THRESHOLDS[0] * np.abs(artery).max()
    lowest = np.fft.irfft(np.where(kept, np.fft.rfft(noisy, 120) / artery, 0), 120)
    rings = np.asarray(oscillation_index(jnp.asarray(lowest))) > OSVD_OSCILLATION
    assert 0 < rings.sum() < 50
    found = deconvolve(jnp.asarray(noisy), AIF, dt=DT_S, method="osvd")
    assert float(oscillation_index(found).max()) <= OSVD_OSCILLATION + 1e-5
    np.testing.assert_allclose(found[~rings], lowest[~rings], atol=1e-5)


def test_oscillation_is_none_in_a_line_and_largest_in_a_zigzag():
    assert float(oscillation_index(jnp.arange(20.0))) == 0
    assert float(oscillation_index(jnp.tile(jnp.array([0.0, 1.0]), 10))) == pytest.approx(18 * 2 / 20)
    assert float(oscillation_index(jnp.zeros(8))) == 0


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="'ssvd'; choose one of csvd, osvd"):
        deconvolve(AIF, AIF, dt=DT_S, method="ssvd")
    with pytest.raises(ValueError, match="59 frames, the tissue 60"):
        deconvolve(AIF, AIF[:-1], dt=DT_S)


@pytest.mark.skipif(not OSIPI.exists(), reason="the OSIPI reference cases are not there")
@pytest.mark.parametrize("method", METHODS)
def test_flow_and_volume_of_the_osipi_cases_are_within_their_tolerances(method):
    with OSIPI.open() as file:
        cases = list(csv.DictReader(file))
    assert len(cases) == 14
    for case in cases:
        tissue, aif = (jnp.asarray([float(value) for value in case[name].split()]) for name in ("C_tis", "C_aif"))
        residue = deconvolve(tissue, aif, dt=float(case["tr"]), method=method)
        cbf, cbv = float(case["cbf"]), float(case["cbv"])
        assert abs(6000 * float(residue.max()) - cbf) <= 15 + 0.1 * cbf, case["label"]  # the curves are calibrated
        assert abs(100 * float(tissue.sum() / aif.sum()) - cbv) <= 1 + 0.1 * cbv, case["label"]
