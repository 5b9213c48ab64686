"""The phantom of tiles: a tile for every combination, constant inside, its borders out of the score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion import maps
from tmax_jax.perfusion.tiles import TILE_DELAY_S, TILE_MTT_S, pearson, tile_phantom


def test_every_combination_has_its_tile_and_borders_are_not_scored():
    phantom = tile_phantom(jax.random.key(0), tile=8)
    assert phantom.concentration.shape == (5, 56, 56, 60)
    np.testing.assert_allclose(phantom.delay_s[2, 4::8, 10], TILE_DELAY_S)
    np.testing.assert_allclose(phantom.mtt_s[2, 10, 4::8], TILE_MTT_S)
    np.testing.assert_allclose(phantom.cbv[:, 0, 0], [1, 2, 3, 4, 5])
    np.testing.assert_allclose(phantom.cbf, 60 * phantom.cbv / phantom.mtt_s, rtol=1e-5)
    assert int(phantom.scored.sum()) == 5 * 49 * 16
    assert not phantom.scored[:, :2].any()
    with pytest.raises(ValueError, match="'triangle'; choose one of exponential, box, linear, gamma"):
        tile_phantom(jax.random.key(0), residue="triangle")


def test_classical_maps_of_clean_tiles_rise_with_the_truth():
    phantom = tile_phantom(jax.random.key(0), tile=5)
    found = maps(phantom.clean, phantom.aif, dt=phantom.dt, method="csvd")
    assert float(pearson(found.cbv, phantom.cbv, where=phantom.scored)) > 0.97
    assert float(pearson(found.cbf, phantom.cbf, where=phantom.scored)) > 0.9
    assert float(pearson(found.mtt_s, phantom.mtt_s, where=phantom.scored)) > 0.9


def test_correlation_counts_only_what_is_scored_and_is_0_for_a_flat_map():
    a, where = jnp.array([1.0, 2.0, 3.0, 50.0]), jnp.array([True, True, True, False])
    assert float(pearson(a, 2 * a + 1, where=where)) == pytest.approx(1, abs=1e-6)
    assert float(pearson(a, a.at[3].set(-9.0), where=where)) == pytest.approx(1, abs=1e-6)
    assert float(pearson(jnp.ones(4), a, where=where)) == 0
