"""One test for every known way of getting perfusion maps wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion import clinical_summary, leakage_correction, maps, signal_to_concentration
from tmax_jax.perfusion.curves import Bolus, Tissue, tissue_curves
from tmax_jax.perfusion.deconvolution import METHODS, deconvolve
from tmax_jax.perfusion.parametric import HEMATOCRIT_RATIO, ML_PER_GRAM, cbf_ml_100g_min, cbv_ml_100g, tmax_s
from tmax_jax.perfusion.signal import approach_to_steady_state

BOLUS = Bolus(15.0, 4.5, 3.0, 300.0, 0.2, 11.0)
DT_S = 1.5


def tissue(
    mtt_s: list[float], delay_s: float = 0.0, *, family: int = 0, dt: float = DT_S, frames: int = 60
) -> tuple[jax.Array, jax.Array]:
    """Curves of 4 ml/100 g, and their artery."""
    one = jnp.ones(len(mtt_s))
    parts = Tissue(delay_s * one, jnp.array(mtt_s), 4 * one, jnp.full(len(mtt_s), family), 3 * one, 0 * one)
    return tissue_curves(BOLUS, parts, dt=dt, frames=frames), BOLUS.curve(dt * jnp.arange(frames))


@pytest.mark.parametrize(
    ("method", "parameters", "tolerance"),
    [("csvd", {}, 0.01), ("tikhonov", {"strength": 0.2}, 0.01), ("osvd", {}, 0.04), ("ssvd", {}, 0.06)],
)
@pytest.mark.parametrize("delay_s", [0.0, 3.0])
def test_a_forgotten_frame_interval_would_change_flow_with_sampling(method, parameters, tolerance, delay_s):
    """The first two are linear with a smooth or moderate cut: under 1 %. The others cut where sampling itself shows."""
    flows = []
    for dt, frames in ((1.5, 80), (0.75, 160)):
        curves, aif = tissue([4.0, 6.0, 9.0, 14.0], delay_s, dt=dt, frames=frames)
        flows.append(cbf_ml_100g_min(deconvolve(curves, aif, dt=dt, method=method, **parameters)))
    np.testing.assert_allclose(flows[1], flows[0], rtol=tolerance)


@pytest.mark.parametrize("method", ["csvd", "osvd", "tikhonov"])
def test_wrapped_around_times_are_negative_delays_not_late_ones(method):
    early, aif = tissue([4.0], delay_s=0.0)
    late_artery = jnp.concatenate([jnp.zeros(4), aif[:-4]])  # measured downstream of the tissue
    residue = deconvolve(early, late_artery, dt=DT_S, method=method)
    assert float(tmax_s(residue, dt=DT_S)[0]) == pytest.approx(-4 * DT_S, abs=3.0)  # every method reads late
    found = maps(early, late_artery, dt=DT_S, method=method)
    assert float(found.tmax_s[0]) == 0
    assert bool(found.early[0])
    assert not bool(maps(early, aif, dt=DT_S, method=method).early[0])


def test_frames_that_are_not_yet_steady_do_not_enter_the_baseline():
    curves, _ = tissue([4.0])
    signal = 100 * jnp.exp(-0.03 * curves)
    unsettled = signal * approach_to_steady_state(60, excess=0.4).reshape(1, -1)
    mask = jnp.array([True])
    found = signal_to_concentration(unsettled, echo_time_s=0.03, mask=mask)
    np.testing.assert_allclose(found.baseline, 100, rtol=0.002)
    np.testing.assert_allclose(found.curves[:, 2:], curves[:, 2:], atol=0.1)


def test_different_haematocrit_of_artery_and_tissue_is_one_factor_on_flow_and_volume_alone():
    curves, aif = tissue([4.0])
    plain, scaled = (maps(curves, aif, dt=DT_S, scale=scale) for scale in (1.0, ML_PER_GRAM))
    assert pytest.approx(HEMATOCRIT_RATIO / 1.04) == ML_PER_GRAM
    for name in ("cbf", "cbv"):
        ratio = getattr(scaled, name) / getattr(plain, name)
        np.testing.assert_allclose(ratio, ML_PER_GRAM, rtol=1e-5)
    np.testing.assert_allclose(scaled.mtt_s, plain.mtt_s, rtol=1e-5)
    np.testing.assert_allclose(scaled.tmax_s, plain.tmax_s, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_box_shaped_residue_reads_near_delay_plus_half_its_width(method):
    """Its flat top has no peak: the reading lies on it, and past the delay alone."""
    curves, aif = tissue([6.0], delay_s=3.0, family=1)
    found_s = float(tmax_s(deconvolve(curves, aif, dt=DT_S, method=method), dt=DT_S)[0])
    assert found_s == pytest.approx(3.0 + 6.0 / 2, abs=2.0)


@pytest.mark.parametrize("delay_s", [0.0, 6.0, 12.0])
def test_a_truncated_tail_takes_volume_from_late_tissue_unless_areas_are_matched(delay_s):
    """What is still in transit when the scan ends, one mean transit time, stays lost."""
    curves, aif = tissue([4.0], delay_s, frames=40)
    truth = 4.0
    plain = float(cbv_ml_100g(curves, aif)[0])
    matched = float(cbv_ml_100g(curves, aif, delay_s=jnp.array([delay_s]), dt=DT_S)[0])
    assert abs(matched - truth) < 0.08 * truth
    assert abs(matched - truth) <= abs(plain - truth) + 1e-4
    if delay_s == 12:
        assert plain < 0.85 * truth


def test_volumes_are_voxels_times_their_size_in_all_three_directions():
    late = np.zeros((4, 20, 20), np.float32)
    late[1:3, 5:15, 5:15] = 9.0
    flow = np.full(late.shape, 50.0)
    brain = np.ones(late.shape, bool)
    for spacing in ((5.0, 1.8, 1.8), (6.5, 1.8, 1.8), (5.0, 0.9, 1.8)):
        found = clinical_summary(cbf=flow, cbv=flow / 10, tmax_s=late, brain=brain, spacing_mm=spacing)
        assert found.late_ml["6"] == pytest.approx(200 * np.prod(spacing) / 1000)


@pytest.mark.parametrize("method", METHODS)
def test_nan_outside_the_mask_reaches_no_map_and_no_gradient(method):
    curves, aif = tissue([4.0, 6.0])
    broken = jnp.concatenate([curves, jnp.full((1, 60), jnp.nan)])
    mask = jnp.array([True, True, False])
    found = maps(broken, aif, dt=DT_S, method=method, mask=mask)
    for values in found:
        assert np.isfinite(values).all()
        assert not float(values[2])
    np.testing.assert_allclose(found.cbf[:2], maps(curves, aif, dt=DT_S, method=method).cbf, rtol=1e-5)
    gradient = jax.grad(lambda c: jnp.sum(maps(c, aif, dt=DT_S, method=method, mask=mask).cbf))(broken)
    assert np.isfinite(gradient[:2]).all()
    assert not gradient[2].any()


def test_leakage_is_estimated_and_taken_out():
    curves, _ = tissue([4.0] * 8)
    mean = curves[0]
    k2 = np.array([0.0] * 6 + [0.02, 0.04])
    leaking = curves - jnp.asarray(k2[:, None] * np.cumsum(mean)[None] * DT_S, jnp.float32)
    leaking = leaking + 0.05 * jax.random.normal(jax.random.key(0), leaking.shape)
    found = leakage_correction(leaking, jnp.ones(8, bool), dt=DT_S, arrival_frame=9)
    np.testing.assert_allclose(found.k2, k2, atol=0.003)
    np.testing.assert_allclose(found.k1, 1.0, atol=0.05)
    before, after = (float(jnp.abs(c[-1] - mean).max()) for c in (leaking, found.corrected))
    assert after < 0.15 * before
