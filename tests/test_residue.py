"""Residue functions: a whole bolus at the start, its mean transit time as the area, nothing before the delay."""

import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion.residue import RESIDUES, box, exponential, gamma, residue

STEP_S = 0.01
TIME_S = jnp.arange(0.0, 120.0, STEP_S)
MTT_S = jnp.array([4.0])


@pytest.mark.parametrize("name", RESIDUES)
def test_the_area_is_the_mean_transit_time(name):
    curve = residue(name, TIME_S, MTT_S)
    area = STEP_S * (float(curve.sum()) - 0.5 * float(curve[0]))  # trapezoids
    assert area == pytest.approx(4.0, abs=STEP_S)


@pytest.mark.parametrize("name", RESIDUES)
def test_everything_is_there_at_the_start_and_only_leaves(name):
    curve = residue(name, TIME_S, MTT_S)
    assert float(curve[0]) == pytest.approx(1)
    assert float(jnp.diff(curve).max()) <= 1e-6
    assert float(curve[-1]) < 1e-6


@pytest.mark.parametrize("name", RESIDUES)
def test_a_delay_shifts_the_curve_and_leaves_nothing_before_it(name):
    late = residue(name, TIME_S, MTT_S, delay_s=3.0)
    assert not late[TIME_S < 2.99].any()
    np.testing.assert_allclose(late[301:], residue(name, TIME_S, MTT_S)[1:-300], atol=0.01)


def test_the_gamma_family_runs_from_exponential_to_box():
    np.testing.assert_allclose(gamma(TIME_S, MTT_S, shape=1.0), exponential(TIME_S, MTT_S), atol=1e-5)
    away = jnp.abs(TIME_S - 4.0) > 1.5  # from the edge of the box
    np.testing.assert_allclose(gamma(TIME_S, MTT_S, shape=100.0)[away], box(TIME_S, MTT_S)[away], atol=1e-3)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'triangle'; choose one of exponential, box, linear, gamma"):
        residue("triangle", TIME_S, MTT_S)
