"""Smoothing by likeness: less noise within tissue, and the edge between tissues where it was."""

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.aif import gamma_variate
from tmax_jax.perfusion.smoothing import smooth_similar

TIME_S = 1.5 * jnp.arange(50)


def test_noise_falls_and_the_edge_stays():
    left, right = (h * gamma_variate(TIME_S, arrival_s=a, rise_s=6.0) for h, a in ((10.0, 12.0), (5.0, 20.0)))
    clean = jnp.where((jnp.arange(16) < 8).reshape(1, 1, 16, 1), left.reshape(1, 1, 1, -1), right.reshape(1, 1, 1, -1))
    clean = jnp.broadcast_to(clean, (2, 12, 16, 50))
    noisy = clean + 0.7 * jax.random.normal(jax.random.key(0), clean.shape)
    smooth = smooth_similar(noisy, jnp.ones((2, 12, 16), bool), noise=0.7, spacing_mm=(5.0, 1.8, 1.8))
    error = np.asarray(smooth - clean)
    assert error.std() < 0.4 * 0.7
    edge = error[:, :, 7:9].mean(axis=(0, 1))  # what leaks over the edge would be a bias there
    assert np.abs(edge).max() < 0.5


def test_voxels_outside_the_mask_give_nothing_and_stay():
    curves = jnp.ones((1, 6, 6, 10)).at[0, :, 3:].set(jnp.nan)
    mask = jnp.broadcast_to(jnp.arange(6) < 3, (1, 6, 6))
    found = smooth_similar(curves, mask, noise=0.1, spacing_mm=(5.0, 2.0, 2.0))
    np.testing.assert_allclose(found[0, :, :3], 1.0, rtol=1e-5)
    assert np.isnan(found[0, :, 3:]).all()
