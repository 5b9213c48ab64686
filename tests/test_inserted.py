"""Missing images in training: filled from their neighbours in time, or their slices left out, or zeros."""

import jax.numpy as jnp
import numpy as np

from tmax_jax.cohort.reading import interpolate_missing
from tmax_jax.training.inserted import fill_inserted, slices_that_count


def test_filling_on_the_device_is_what_the_converter_does():
    rng = np.random.default_rng(0)
    inserted = rng.random((3, 4, 9)) < 0.4
    inserted[1, 2] = True  # a slice of which nothing is there
    inserted[0, 0] = [True, True, *[False] * 5, True, True]
    series = rng.uniform(1, 9, (3, 4, 2, 3, 9)).astype(np.float32)
    series[np.broadcast_to(inserted[:, :, None, None], series.shape)] = 0
    filled = np.asarray(fill_inserted(jnp.asarray(series), jnp.asarray(inserted)))
    for case, marks in zip(series, inserted, strict=True):
        interpolate_missing(case, marks, np.arange(9.0))
    np.testing.assert_allclose(filled, series, rtol=1e-5)
    assert not filled[1, 2].any()


def test_measured_images_keep_every_bit():
    series = np.random.default_rng(1).uniform(0, 1, (1, 2, 3, 3, 6)).astype(np.float32)
    inserted = np.arange(6) == np.array([[[2], [5]]])
    filled = np.asarray(fill_inserted(jnp.asarray(series), jnp.asarray(inserted)))
    measured = np.broadcast_to(~inserted[:, :, None, None], series.shape)
    np.testing.assert_array_equal(filled[measured], series[measured])


def test_slices_with_too_many_missing_images_do_not_count():
    inserted = np.zeros((1, 3, 10), bool)
    inserted[0, 1, :2] = inserted[0, 2, :3] = True
    assert slices_that_count(jnp.asarray(inserted), 0.2).tolist() == [[True, True, False]]
    assert slices_that_count(jnp.asarray(inserted), 0.0).tolist() == [[True, False, False]]
