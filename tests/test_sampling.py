"""Missing and uneven frames: lines through what is there, and nothing changed that was right."""

import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.sampling import fill_missing, resample_evenly


def test_missing_frames_lie_on_the_line_between_their_neighbours_and_ends_go_on():
    curve = jnp.array([0.0, 1.0, 0.0, 0.0, 7.0, 0.0])
    present = jnp.array([False, True, False, False, True, False])
    np.testing.assert_allclose(fill_missing(curve, present), [1, 1, 3, 5, 7, 7], atol=1e-6)


def test_a_complete_curve_comes_back_and_an_empty_one_is_0_even_if_it_held_nan():
    curves = jnp.array([[3.0, 1.0, 2.0], [jnp.nan, jnp.nan, jnp.nan]])
    found = fill_missing(curves, jnp.array([[True] * 3, [False] * 3]))
    np.testing.assert_array_equal(found, [[3, 1, 2], [0, 0, 0]])


def test_uneven_frames_are_resampled_and_said_so():
    times_s = jnp.array([0.0, 1.0, 2.0, 4.0, 6.0, 8.0])
    found = resample_evenly(jnp.stack([2 * times_s, 5 - times_s]), times_s)
    assert bool(found.uneven)
    assert float(found.dt) == 1.6000000238418579
    even_s = 1.6 * np.arange(6)
    np.testing.assert_allclose(found.curves, [2 * even_s, 5 - even_s], atol=1e-5)


def test_even_frames_are_left_bit_for_bit():
    curve = jnp.asarray(np.random.default_rng(0).normal(size=40), jnp.float32)
    found = resample_evenly(curve, 1.243 * jnp.arange(40))
    assert not bool(found.uneven)
    np.testing.assert_array_equal(found.curves, curve)
