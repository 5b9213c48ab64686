"""Sums of losses."""

import functools

import numpy as np
import pytest

from tmax_jax import losses

rng = np.random.default_rng(0)
PREDICTIONS, TARGETS = rng.gamma(2, 3, (2, 2, 3, 8, 8)).astype(np.float32)
MASK = rng.random(TARGETS.shape) > 0.5


def test_terms_add_up_with_their_weights_and_the_mask_reaches_each():
    ssim = functools.partial(losses.ssim, data_range=20.0)
    together = losses.weighted_sum(PREDICTIONS, TARGETS, terms=[(1.0, losses.absolute_error), (0.3, ssim)], where=MASK)
    apart = losses.absolute_error(PREDICTIONS, TARGETS, where=MASK) + 0.3 * ssim(PREDICTIONS, TARGETS, where=MASK)
    np.testing.assert_allclose(together, apart, rtol=1e-6)


def test_no_term_is_an_error():
    with pytest.raises(ValueError, match="terms is empty"):
        losses.weighted_sum(PREDICTIONS, TARGETS, terms=[])
