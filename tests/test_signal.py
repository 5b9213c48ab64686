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
    back = s.relaxation_change(measured, baseline, echo_time_s=TE_S)
    np.testing.assert_allclose(back, concentration, atol=1e-3)


def test_concentration_is_finite_where_the_signal_or_the_baseline_is_zero():
    measured = jnp.array([[0.0, 50.0, 100.0], [0.0, 5.0, 1.0]])
    back = s.relaxation_change(measured, jnp.array([100.0, 0.0]), echo_time_s=TE_S)
    assert np.isfinite(back).all()
    assert not back[1].any()  # no tissue
    gradient = jax.grad(lambda x: s.relaxation_change(x, jnp.array([100.0, 0.0]), echo_time_s=TE_S).sum())
    assert np.isfinite(gradient(measured)).all()


def test_noise_of_the_concentration_is_that_of_the_signal_over_signal_and_echo_time():
    noisy = 200.0 + 2.0 * jax.random.normal(jax.random.key(0), (4000,))
    back = s.relaxation_change(noisy, jnp.array(200.0), echo_time_s=TE_S)
    assert float(back.std()) == pytest.approx(2.0 / (200.0 * TE_S), rel=0.05)


def test_the_baseline_leaves_out_unsettled_frames_and_the_bolus():
    curve = bolus(10) * np.asarray(s.approach_to_steady_state(FRAMES, excess=0.3))
    np.testing.assert_allclose(s.baseline_signal(jnp.asarray(curve), 10), 100, rtol=1e-5)


def test_the_baseline_has_a_frame_even_when_the_bolus_comes_at_once():
    assert float(s.baseline_signal(jnp.asarray(bolus(0)), 0)) == pytest.approx(bolus(0)[2])


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


def scan(*, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Four voxels with a bolus of their own depth, unsettled at first; and their concentration."""
    depths = np.array([[0.2, 0.3], [0.4, 0.5]])
    concentration = np.stack([[-np.log(bolus(10, depth=d) / 100) / TE_S for d in row] for row in depths])
    signal = 500 * np.exp(-TE_S * concentration) * np.asarray(s.approach_to_steady_state(FRAMES, excess=0.3))
    return signal + noise * np.random.default_rng(0).normal(size=signal.shape), concentration


def test_a_scan_becomes_concentration_with_its_own_baseline():
    signal, concentration = scan()
    mask = jnp.array([[True, True], [True, False]])
    found = s.signal_to_concentration(jnp.asarray(signal), echo_time_s=TE_S, mask=mask)
    assert bool(found.bolus.found)
    assert float(found.bolus.arrival) == pytest.approx(10, abs=0.5)
    np.testing.assert_allclose(found.curves[0][:, 2:], concentration[0][:, 2:], atol=0.15)
    assert not found.curves[1, 1].any()  # outside the mask
    assert not found.clamped.any()


def test_clamped_signals_are_reported():
    signal, _ = scan()
    signal[0, 0, 15] = 0.01
    found = s.signal_to_concentration(jnp.asarray(signal), echo_time_s=TE_S, mask=jnp.ones((2, 2), bool))
    assert np.argwhere(np.asarray(found.clamped)).tolist() == [[0, 0, 15]]
    assert np.isfinite(found.curves).all()


def test_inserted_frames_change_neither_baseline_nor_neighbours():
    signal, _ = scan()
    whole = s.signal_to_concentration(jnp.asarray(signal), echo_time_s=TE_S, mask=jnp.ones((2, 2), bool))
    broken = signal.copy()
    inserted = np.zeros((2, 1, FRAMES), bool)
    inserted[0, 0, 5] = inserted[0, 0, 20] = True
    broken[0, :, [5, 20]] = 0
    found = s.signal_to_concentration(
        jnp.asarray(broken), echo_time_s=TE_S, mask=jnp.ones((2, 2), bool), inserted=jnp.asarray(inserted)
    )
    np.testing.assert_allclose(found.curves, whole.curves, atol=0.3)
    assert not found.clamped.any()


def test_two_echoes_are_free_of_the_brightening_by_leaked_contrast_agent():
    _, concentration = scan()
    brighter = np.exp(0.02 * np.cumsum(concentration, axis=-1) * TE_S)
    first, second = (500 * np.exp(-te * concentration) * brighter for te in (0.015, 0.035))
    mask = jnp.ones((2, 2), bool)
    both = s.signal_to_concentration(
        jnp.asarray(first), echo_time_s=0.015, mask=mask, second_echo=jnp.asarray(second), second_echo_time_s=0.035
    )
    np.testing.assert_allclose(both.curves, concentration, atol=0.1)
    one = s.signal_to_concentration(jnp.asarray(first), echo_time_s=0.015, mask=mask)
    assert np.abs(one.curves - concentration).max() > 0.5
    with pytest.raises(ValueError, match="both its signal and its echo time"):
        s.signal_to_concentration(jnp.asarray(first), echo_time_s=0.015, mask=mask, second_echo=jnp.asarray(second))


def test_the_gradient_of_a_whole_scan_is_finite_where_there_is_no_noise_at_all():
    signal, _ = scan()
    mask = jnp.ones((2, 2), bool)
    gradient = jax.grad(lambda x: s.signal_to_concentration(x, echo_time_s=TE_S, mask=mask).curves.sum())
    assert np.isfinite(gradient(jnp.asarray(signal))).all()
