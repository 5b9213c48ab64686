"""Gamma variates: the parameters come back, tails and noise or not, for a thousand curves at once."""

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.aif import arterial_input
from tmax_jax.perfusion.gamma_fit import fit_gamma_variate

COUNT, DT_S = 1000, 1.5


def curves(*, noise: float, recirculation: float) -> tuple[jax.Array, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    truth = {
        "height": rng.uniform(3, 30, COUNT),
        "arrival_s": rng.uniform(10, 20, COUNT),
        "rise_s": rng.uniform(4, 9, COUNT),
        "shape": rng.uniform(1.5, 5, COUNT),
    }
    height, arrival_s, rise_s, shape = (jnp.asarray(values[:, None], jnp.float32) for values in truth.values())
    curve = height * arterial_input(
        DT_S * jnp.arange(60.0).reshape(1, -1), arrival_s=arrival_s, rise_s=rise_s, shape=shape,
        recirculation=recirculation, recirculation_delay_s=14.0,
    )  # fmt: skip
    return curve + noise * height * jnp.asarray(rng.normal(size=curve.shape), jnp.float32), truth


def test_clean_first_passes_give_their_parameters_back_tail_or_not():
    for recirculation in (0.0, 0.2):
        measured, truth = curves(noise=0.0, recirculation=recirculation)
        fit = fit_gamma_variate(measured, dt=DT_S)
        for name, values in truth.items():
            error = np.abs(np.asarray(getattr(fit, name)) - values) / values
            assert np.median(error) < 1e-3, name
            assert np.percentile(error, 95) < 0.1, name


def test_noise_moves_the_peak_little_and_makes_nothing_infinite():
    measured, truth = curves(noise=0.03, recirculation=0.2)
    fit = fit_gamma_variate(measured, dt=DT_S)
    assert all(np.isfinite(values).all() for values in fit)
    peak_s = np.asarray(fit.arrival_s + fit.rise_s)
    assert np.abs(peak_s - truth["arrival_s"] - truth["rise_s"]).mean() < 0.2 * DT_S
    assert np.median(fit.residual) < 0.035


def test_the_area_is_that_of_the_whole_first_pass():
    measured, _ = curves(noise=0.0, recirculation=0.0)
    area = DT_S * np.asarray(measured).sum(axis=1)
    np.testing.assert_allclose(np.median(np.asarray(fit_gamma_variate(measured, dt=DT_S).area()) / area), 1, atol=1e-3)


def test_an_empty_curve_has_no_height_and_gradients_are_finite():
    assert float(fit_gamma_variate(jnp.zeros(40), dt=DT_S).height) == 0
    measured, _ = curves(noise=0.02, recirculation=0.2)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(fit_gamma_variate(x, dt=DT_S).height)))(measured[:4])
    assert np.isfinite(gradient).all()
