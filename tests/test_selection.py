"""Arteries and veins of a simulated patient: found where they are, always the same, or refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion import (
    PerfusionError,
    function_of_voxels,
    maps,
    require_aif,
    scale_to_vein,
    select_aif,
    select_vof,
    signal_to_concentration,
)
from tmax_jax.perfusion.phantom import Phantom, Subject, draw_subject, simulate_patient
from tmax_jax.perfusion.signal import Concentration


@functools.cache
def patient() -> tuple[Subject, Phantom, Concentration, jax.Array]:
    subject = draw_subject(0, 1)
    key = jax.random.fold_in(jax.random.key(0), 1)
    found = jax.device_get(simulate_patient(key, subject, size=(8, 32, 32), frames=60))
    mask = jnp.asarray(found.brain)
    scan = signal_to_concentration(jnp.asarray(found.signal), echo_time_s=subject.echo_time_s, mask=mask)
    return subject, found, scan, mask


def timing() -> dict[str, jax.Array | float]:
    subject, _, scan, _ = patient()
    return {"dt": subject.frame_interval_s, "arrival_frame": scan.bolus.arrival}


def test_the_artery_is_early_high_and_of_good_quality():
    subject, truth, scan, mask = patient()
    aif = select_aif(scan.curves, mask, **timing())
    assert bool(aif.found)
    assert float(aif.quality) >= 0.8
    require_aif(aif)
    peak_s = float(jnp.argmax(aif.curve)) * subject.frame_interval_s
    assert peak_s == pytest.approx(subject.arrival_s + subject.rise_s, abs=2 * subject.frame_interval_s)
    tissue = np.asarray(scan.curves)[truth.brain].mean(axis=0)
    assert float(aif.curve.max()) > 2 * tissue.max()
    np.testing.assert_allclose(aif.curve, np.asarray(scan.curves)[np.asarray(aif.voxels)].mean(axis=0), rtol=1e-4)


def test_the_choice_is_the_same_every_time():
    _, _, scan, mask = patient()
    first, second = (select_aif(scan.curves, mask, **timing()) for _ in range(2))
    np.testing.assert_array_equal(first.voxels, second.voxels)
    np.testing.assert_array_equal(first.curve, second.curve)


def test_the_vein_is_later_and_larger_and_scales_the_artery():
    _, _, scan, mask = patient()
    aif = select_aif(scan.curves, mask, **timing())
    vof = select_vof(scan.curves, mask, aif.curve, **timing())
    assert int(jnp.argmax(vof.curve)) > int(jnp.argmax(aif.curve))
    assert float(vof.curve.sum()) > float(aif.curve.sum())
    scaled = scale_to_vein(aif.curve, vof.curve)
    assert float(scaled.sum()) == pytest.approx(float(vof.curve.sum()), rel=1e-4)
    assert int(jnp.argmax(scaled)) == int(jnp.argmax(aif.curve))


def test_a_region_of_the_users_own_is_averaged_and_judged():
    _, truth, scan, mask = patient()
    tissue = jnp.asarray((truth.cbf > 0) & (truth.cbf < 40))
    region = function_of_voxels(scan.curves, tissue, mask, **timing())
    np.testing.assert_array_equal(region.voxels, tissue)
    artery = select_aif(scan.curves, mask, **timing())
    assert float(region.quality) < float(artery.quality)  # tissue is no artery


def test_noise_has_no_artery_and_says_what_to_do():
    noise = 0.5 * jax.random.normal(jax.random.key(0), (10, 20, 40))
    aif = select_aif(noise, jnp.ones((10, 20), bool), dt=1.5, arrival_frame=10.0)
    assert not bool(aif.found)
    with pytest.raises(PerfusionError, match="no arterial input function found"):
        require_aif(aif)


def test_maps_with_the_found_artery_show_the_lesion_and_healthy_tissue():
    subject, truth, scan, mask = patient()
    aif = select_aif(scan.curves, mask, **timing())
    found = maps(scan.curves, aif.curve, dt=subject.frame_interval_s, method="osvd", mask=mask)
    tissue = truth.cbf > 0
    agreement = np.mean((np.asarray(found.tmax_s) > 6) == (truth.tmax_s > 6), where=tissue)
    assert agreement > 0.95
    assert np.median(np.asarray(found.tmax_s)[truth.lesion > 0]) > 4 > np.median(np.asarray(found.tmax_s)[tissue])


def test_the_gradient_through_the_whole_chain_is_that_of_finite_differences():
    """Signal to concentration, deconvolution and maps at once, by the signal; the artery stays chosen."""
    subject, _, scan, mask = patient()
    aif = select_aif(scan.curves, mask, **timing()).curve
    signal = jnp.asarray(patient()[1].signal)[3, 12:20, 12:20]
    inside = jnp.ones(signal.shape[:-1], bool)

    def objective(signal: jax.Array) -> jax.Array:
        curves = signal_to_concentration(signal, echo_time_s=subject.echo_time_s, mask=inside).curves
        found = maps(curves, aif, dt=subject.frame_interval_s, method="csvd")
        return jnp.sum(found.cbf) + jnp.sum(found.cbv) + jnp.sum(found.mtt_s) + jnp.sum(found.tmax_s)

    gradient = jax.jit(jax.grad(objective))(signal)
    assert np.isfinite(gradient).all()
    along = np.random.default_rng(0).normal(size=signal.shape)
    with jax.enable_x64(True):
        exact, aif = jnp.asarray(signal, jnp.float64), jnp.asarray(aif, jnp.float64)
        ends = [float(objective(exact + step * along)) for step in (1e-4, -1e-4)]
    slope = float(np.vdot(np.asarray(gradient, np.float64), along))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=0.01, abs=0.01)
