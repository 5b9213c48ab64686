"""Signal and concentration: inverse to each other, finite on noise, and the bolus found in between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion import signal as s

TE_S = 0.03
FRAMES = 40


def bolus(arrival: int, *, depth: float = 0.4) -> np.ndarray:
    """A signal of 100 that falls by `depth` over four frames after `arrival` and comes back."""
    frame = np.arange(FRAMES)
    return 100 * (1 - depth * np.clip(1 - np.abs(frame - arrival - 4) / 4, 0, 1))


def test_signal_and_concentration_are_inverse():
    concentration = jnp.linspace(0.0, 60.0, 12).reshape(2, 6)
    baseline = jnp.array([300.0, 800.0])
    measured = s.concentration_to_signal(concentration, baseline, echo_time_s=TE_S)
    back = s.signal_to_concentration(measured, baseline, echo_time_s=TE_S)
    np.testing.assert_allclose(back, concentration, atol=1e-3)


def test_concentration_is_finite_where_the_signal_or_the_baseline_is_zero():
    measured = jnp.array([[0.0, 50.0, 100.0], [0.0, 5.0, 1.0]])
    back = s.signal_to_concentration(measured, jnp.array([100.0, 0.0]), echo_time_s=TE_S)
    assert np.isfinite(back).all()
    assert not back[1].any()  # no tissue
    gradient = jax.grad(lambda x: s.signal_to_concentration(x, jnp.array([100.0, 0.0]), echo_time_s=TE_S).sum())
    assert np.isfinite(gradient(measured)).all()


def test_noise_of_the_concentration_is_that_of_the_signal_over_signal_and_echo_time():
    noisy = 200.0 + 2.0 * jax.random.normal(jax.random.key(0), (4000,))
    back = s.signal_to_concentration(noisy, jnp.array(200.0), echo_time_s=TE_S)
    assert float(back.std()) == pytest.approx(2.0 / (200.0 * TE_S), rel=0.05)


def test_the_baseline_leaves_out_unsettled_frames_and_the_bolus():
    curve = bolus(10) * np.asarray(s.approach_to_steady_state(FRAMES, excess=0.3))
    np.testing.assert_allclose(s.baseline_signal(jnp.asarray(curve), 10), 100, rtol=1e-5)


def test_the_baseline_has_a_frame_even_when_the_bolus_comes_at_once():
    assert float(s.baseline_signal(jnp.asarray(bolus(0)), 0)) == pytest.approx(bolus(0)[2])


@pytest.mark.parametrize("arrival", [6, 10, 20])
def test_the_bolus_arrives_in_the_last_frame_before_the_fall(arrival):
    assert int(s.bolus_arrival(jnp.asarray(bolus(arrival)))) == arrival


def test_no_bolus_is_reported_as_the_number_of_frames():
    assert int(s.bolus_arrival(jnp.full(FRAMES, 100.0))) == FRAMES


def test_time_to_peak_is_the_lowest_frame_after_the_arrival():
    curves = jnp.asarray(np.stack([bolus(10), bolus(13)])).reshape(1, 1, 2, FRAMES)
    mask = jnp.array([[[True, True]]])
    peak_s = s.time_to_peak_s(curves, mask, frame_interval_s=1.5)
    assert float(peak_s[0, 0, 1] - peak_s[0, 0, 0]) == pytest.approx(4.5)
    arrival = int(s.bolus_arrival(curves.mean((0, 1, 2))))
    assert float(peak_s[0, 0, 0]) == pytest.approx(1.5 * (14 - arrival))


def test_time_to_peak_is_not_drawn_to_missing_images_nor_to_voxels_outside():
    curves = np.stack([bolus(10), bolus(10)]).reshape(1, 1, 2, FRAMES)
    whole = s.time_to_peak_s(jnp.asarray(curves), jnp.array([[[True, False]]]), frame_interval_s=1.5)
    curves[..., 30] = 0  # an inserted image
    curves[0, 0, 1] = 7.0
    broken = s.time_to_peak_s(jnp.asarray(curves), jnp.array([[[True, False]]]), frame_interval_s=1.5)
    np.testing.assert_array_equal(broken, whole)
    assert float(whole[0, 0, 0]) == pytest.approx(6.0)
    assert float(whole[0, 0, 1]) == 0


@pytest.mark.parametrize(("level", "expected"), [(0.0, np.sqrt(np.pi / 2)), (20.0, np.sqrt(20**2 + 1))])
def test_rician_noise_is_rayleigh_in_air_and_nearly_gaussian_in_tissue(level, expected):
    noisy = s.rician_noise(jax.random.key(1), jnp.full(40000, level), 1.0)
    assert float(noisy.min()) >= 0
    assert float(noisy.mean()) == pytest.approx(expected, rel=0.01)


def test_the_magnetisation_has_settled_exactly_after_the_declared_frames():
    factor = s.approach_to_steady_state(10, excess=0.2)
    assert float(factor[0]) == pytest.approx(1.2)
    np.testing.assert_array_equal(factor[s.NON_STEADY_FRAMES :], 1)
