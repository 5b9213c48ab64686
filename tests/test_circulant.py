"""The block-circulant methods against the matrices and the loop that are published."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from tmax_jax.perfusion.aif import arterial_input
from tmax_jax.perfusion.circulant import (
    CSVD_THRESHOLD,
    OSVD_OSCILLATION,
    OSVD_THRESHOLDS,
    csvd,
    oscillation_index,
    osvd,
    tikhonov,
)

DT_S = 1.5
AIF = np.asarray(
    arterial_input(
        DT_S * jnp.arange(60), arrival_s=15.0, rise_s=4.5, shape=3.0, recirculation=0.2, recirculation_delay_s=11.0
    )
)


def curves(count: int, *, noise: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    residues = [0.01 * np.exp(-np.arange(60) * DT_S / mtt) for mtt in rng.uniform(2, 12, count)]
    clean = np.stack([DT_S * np.convolve(AIF, np.roll(r, 3))[:60] for r in residues])
    return (clean + noise * clean.max() * rng.normal(size=clean.shape)).astype(np.float32)


def circulant(aif: np.ndarray) -> np.ndarray:
    return DT_S * scipy.linalg.circulant(np.concatenate([aif, np.zeros(len(aif))]).astype(np.float64))


def padded(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.zeros_like(values)], axis=-1).astype(np.float64)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("threshold", [CSVD_THRESHOLD, 0.3])
def test_division_in_fourier_space_is_the_circulant_svd_to_1e_5(noise, threshold):
    left, values, right = np.linalg.svd(circulant(AIF))
    inverse = np.where(values >= threshold * values[0], 1 / values, 0)
    measured = curves(20, noise=noise)
    expected = (padded(measured) @ left * inverse) @ right
    found = csvd(jnp.asarray(measured), jnp.asarray(AIF), dt=DT_S, threshold=threshold)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_tikhonov_is_the_damped_least_squares_solution():
    matrix, strength = circulant(AIF), 0.2
    largest = np.linalg.norm(matrix, 2)
    normal = matrix.T @ matrix + (strength * largest) ** 2 * np.eye(120)
    measured = curves(10, noise=0.05)
    expected = np.linalg.solve(normal, matrix.T @ padded(measured).T).T
    found = tikhonov(jnp.asarray(measured), jnp.asarray(AIF), dt=DT_S, strength=strength)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_cross_validation_damps_more_where_there_is_more_noise():
    aif = jnp.asarray(AIF)
    rough = [
        float(jnp.mean(oscillation_index(tikhonov(jnp.asarray(curves(40, noise=noise)), aif, dt=DT_S))))
        for noise in (0.01, 0.3)
    ]
    undamped = [
        float(jnp.mean(oscillation_index(tikhonov(jnp.asarray(curves(40, noise=noise)), aif, dt=DT_S, strength=0.02))))
        for noise in (0.01, 0.3)
    ]
    assert undamped[1] > 3 * rough[1]  # without it, noise takes over
    assert undamped[0] < 3 * rough[0]


@pytest.mark.parametrize("oscillation", [0.035, OSVD_OSCILLATION])
@pytest.mark.parametrize("own_artery", [False, True])
def test_the_search_finds_what_trying_every_threshold_finds(oscillation, own_artery):
    """For curves that are calm at once, ones that need high thresholds, and pure noise."""
    rng = np.random.default_rng(8)
    measured = np.concatenate([curves(60, noise=0.0), curves(60, noise=0.1), rng.normal(size=(20, 60))])
    measured = measured.astype(np.float32)
    spectrum, artery = np.fft.rfft(padded(measured)), DT_S * np.fft.rfft(padded(AIF))
    expected, index = np.zeros((140, 120)), np.full(140, -1)
    for number, threshold in enumerate(OSVD_THRESHOLDS):
        kept = np.abs(artery) >= threshold * np.abs(artery).max()
        candidate = np.fft.irfft(np.where(kept, spectrum / artery, 0), 120)
        bends = np.abs(candidate[:, 2:] - 2 * candidate[:, 1:-1] + candidate[:, :-2]).sum(axis=1)
        calm = bends / 120 / candidate.max(axis=1) <= oscillation
        take = (index < 0) & (calm | (number == len(OSVD_THRESHOLDS) - 1))
        expected[take], index[take] = candidate[take], number
    assert len(set(index)) >= 4
    aif = jnp.tile(jnp.asarray(AIF).reshape(1, -1), (140, 1)) if own_artery else jnp.asarray(AIF)
    found = osvd(jnp.asarray(measured), aif, dt=DT_S, oscillation=oscillation)
    error = np.abs(found - expected).max(axis=1) / np.abs(expected).max(axis=1)
    assert error.max() <= 1e-5


def test_more_curves_than_a_block_are_all_solved(monkeypatch):
    measured = jnp.asarray(curves(50, noise=0.2))
    whole = osvd(measured, jnp.asarray(AIF), dt=DT_S)
    monkeypatch.setattr("tmax_jax.perfusion.circulant._BLOCK", 7)
    np.testing.assert_allclose(osvd(measured, jnp.asarray(AIF), dt=DT_S), whole, atol=1e-6)


def test_oscillation_is_none_in_a_line_and_largest_in_a_zigzag():
    assert float(oscillation_index(jnp.arange(20.0))) == 0
    assert float(oscillation_index(jnp.tile(jnp.array([0.0, 1.0]), 10))) == pytest.approx(18 * 2 / 20)
    assert float(oscillation_index(jnp.zeros(8))) == 0
