"""The causal method against its matrix, with a derivative where singular vectors have none."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from tmax_jax.perfusion.aif import gamma_variate
from tmax_jax.perfusion.toeplitz import SSVD_THRESHOLD, ssvd

DT_S = 1.5
AIF = gamma_variate(DT_S * jnp.arange(40), arrival_s=9.0, rise_s=4.5)  # with exact zeros before the arrival


def test_it_is_the_truncated_svd_of_the_causal_matrix_and_0_at_negative_times():
    matrix = DT_S * scipy.linalg.toeplitz(np.asarray(AIF, np.float64), np.zeros(40))
    left, values, right = np.linalg.svd(matrix)
    inverse = np.where(values >= SSVD_THRESHOLD * values[0], 1 / np.maximum(values, 1e-30), 0)
    curve = matrix @ (0.01 * np.exp(-np.arange(40) / 3)) + 0.001 * np.random.default_rng(0).normal(size=40)
    expected = right.T @ (inverse * (left.T @ curve))
    found = ssvd(jnp.asarray(curve, jnp.float32), AIF, dt=DT_S)
    assert np.abs(found[:40] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert not found[40:].any()


def test_an_artery_with_leading_zeros_has_a_finite_gradient():
    """Its matrix has equal singular values, by whose vectors nobody can differentiate."""
    curve = 0.02 * jnp.roll(AIF, 2)
    gradient = jax.grad(lambda aif: jnp.sum(ssvd(curve, aif, dt=DT_S) ** 2))(AIF)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
