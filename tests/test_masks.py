"""Vessels and fluid of a simulated patient, against what it was made of."""

import jax.numpy as jnp
import numpy as np

from tests.test_selection import patient, timing
from tmax_jax.perfusion.masks import ventricle_mask, vessel_mask
from tmax_jax.perfusion.selection import select_aif, select_vof


def test_fluid_is_where_no_blood_flows_and_vessels_are_where_veins_are_found():
    _, truth, scan, mask = patient()
    fluid = np.asarray(ventricle_mask(scan.curves, scan.baseline, mask))
    vessels = np.asarray(vessel_mask(scan.curves, mask))
    assert fluid.sum() > 20
    assert truth.cbv[fluid].mean() < 0.3 * truth.cbv[truth.brain & ~fluid].mean()
    aif = select_aif(scan.curves, mask, **timing()).curve
    veins = np.asarray(select_vof(scan.curves, mask, aif, **timing()).voxels)
    assert vessels[veins].mean() > 0.9
    assert 5 < vessels.sum() < 0.2 * truth.brain.sum()
    assert not (fluid & vessels).any()
    assert not (fluid | vessels)[~truth.brain].any()


def test_an_empty_mask_marks_nothing():
    nothing = jnp.zeros((2, 2), bool)
    assert not vessel_mask(jnp.ones((2, 2, 5)), nothing).any()
    assert not ventricle_mask(jnp.ones((2, 2, 5)), jnp.ones((2, 2)), nothing).any()
