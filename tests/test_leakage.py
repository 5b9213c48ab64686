"""Leakage: constants that were put in come back, and tissue that does not leak is left alone."""

import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.aif import gamma_variate
from tmax_jax.perfusion.leakage import leakage_correction

DT_S = 1.5
MEAN = 8.0 * gamma_variate(DT_S * jnp.arange(60), arrival_s=15.0, rise_s=7.0)


def test_constants_of_leaking_voxels_are_found_whatever_their_height():
    heights, k2 = np.array([1.0, 0.5, 1.5, 1.0, 2.0]), np.array([0.0, 0.0, 0.0, 0.03, 0.05])
    curves = heights[:, None] * np.asarray(MEAN) - k2[:, None] * np.cumsum(MEAN)[None] * DT_S
    found = leakage_correction(jnp.asarray(curves), jnp.ones(5, bool), dt=DT_S, arrival_frame=10)
    np.testing.assert_allclose(found.reference, MEAN, atol=1e-4)
    np.testing.assert_allclose(found.k1, heights, atol=0.01)
    np.testing.assert_allclose(found.k2, k2, atol=5e-4)
    np.testing.assert_allclose(found.corrected, heights[:, None] * MEAN.reshape(1, -1), atol=0.05)


def test_voxels_outside_the_mask_take_no_part():
    curves = jnp.stack([MEAN, MEAN, 100 - 3 * MEAN])
    found = leakage_correction(curves, jnp.array([True, True, False]), dt=DT_S, arrival_frame=10)
    np.testing.assert_allclose(found.reference, MEAN, atol=1e-5)
    np.testing.assert_array_equal(found.corrected[2], curves[2])
    assert float(found.k2[2]) == 0


def test_no_curves_at_all_change_nothing():
    found = leakage_correction(jnp.zeros((2, 60)), jnp.ones(2, bool), dt=DT_S, arrival_frame=10)
    assert not found.corrected.any()
