"""Vessels and fluid of a simulated patient, against the anatomy that it was made of."""

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion import anatomy
from tmax_jax.perfusion.masks import ventricle_mask, vessel_mask
from tmax_jax.perfusion.phantom import draw_subject, simulate_patient
from tmax_jax.perfusion.signal import signal_to_concentration

SIZE = (8, 32, 32)


def test_vessels_and_fluid_lie_where_the_anatomy_has_them():
    subject = draw_subject(0, 1)
    key = jax.random.fold_in(jax.random.key(0), 1)
    patient = jax.device_get(simulate_patient(key, subject, size=SIZE, frames=60))
    fractions = np.asarray(anatomy.tissue_fractions(jax.random.split(key, 5)[0], SIZE, subject.head))
    mask = jnp.asarray(patient.brain)
    scan = signal_to_concentration(jnp.asarray(patient.signal), echo_time_s=subject.echo_time_s, mask=mask)
    fluid = np.asarray(ventricle_mask(scan.curves, scan.baseline, mask))
    vessels = np.asarray(vessel_mask(scan.curves, mask))
    blood = fractions[anatomy.ARTERY] + fractions[anatomy.VEIN]
    assert fluid.sum() > 20
    assert fractions[anatomy.CSF][fluid].mean() > 0.6
    assert fractions[anatomy.CSF][patient.brain & ~fluid].mean() < 0.3
    assert vessels.sum() > 5
    assert blood[vessels].mean() > 5 * blood[patient.brain & ~vessels].mean()
    assert not (fluid & vessels).any()
    assert not (fluid | vessels)[~patient.brain].any()


def test_an_empty_mask_marks_nothing():
    nothing = jnp.zeros((2, 2), bool)
    assert not vessel_mask(jnp.ones((2, 2, 5)), nothing).any()
    assert not ventricle_mask(jnp.ones((2, 2, 5)), jnp.ones((2, 2)), nothing).any()
