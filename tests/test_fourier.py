"""Transforms as products of matrices: those of `jnp.fft`, on every mesh, with the same derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tmax_jax.perfusion.fourier import irfft, rfft


def draw(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(("time", "length"), [(60, 120), (64, 128), (120, 240), (300, 600), (7, 7 * 2), (2, 2), (1, 4)])
def test_they_are_the_transforms_of_numpy_to_the_last_digits(time, length):
    curves = draw(0, 20, time)
    wanted = np.fft.rfft(np.asarray(curves, np.float64), length)
    found = rfft(curves, length)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-7 * np.abs(wanted).max() * np.sqrt(time))
    np.testing.assert_allclose(irfft(found, length)[:, :time], curves, atol=3e-6)
    assert np.abs(irfft(found, length)[:, time:]).max(initial=0) < 3e-6


def test_imaginary_parts_of_the_first_and_the_last_frequency_are_left_out_as_numpy_does():
    spectrum = jax.lax.complex(draw(0, 3, 9), draw(1, 3, 9))
    np.testing.assert_allclose(irfft(spectrum, 16), np.fft.irfft(np.asarray(spectrum), 16), atol=1e-6)


def test_the_derivative_is_that_of_the_transform():
    curves, weight = draw(0, 5, 60), draw(1, 5, 120)

    def filtered(forward, backward):
        return jax.grad(lambda c: jnp.sum(weight * backward(forward(c, 120) ** 2, 120)))(curves)

    np.testing.assert_allclose(filtered(rfft, irfft), filtered(jnp.fft.rfft, jnp.fft.irfft), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 4), (8, 1), (1, 8)])
def test_voxels_on_several_devices_are_transformed_where_they_lie(shape):
    mesh = jax.make_mesh(shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    curves = draw(0, 8, 2, 8, 3, 60)
    split = jax.device_put(curves, NamedSharding(mesh, PartitionSpec("data", None, "space")))
    program = jax.jit(lambda c: irfft(rfft(c, 120) * 2.0, 120))
    np.testing.assert_allclose(program(split), program(curves), atol=1e-5)
    text = program.lower(split).compile().as_text()
    assert text
    assert not any(word in text for word in ("all-gather", "all-to-all", "collective-permute", "all-reduce"))
