"""Every form of the 3-D convolution gives the same numbers and gradients; pooling as the windowed maximum."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.models.convolution import Conv, by_slices, convolve, kernel_gradient, max_pool, plain

SIZE = (2, 4, 8, 6, 5)


def draw(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("side", [3, 5])
def test_slices_one_by_one_give_the_plain_convolution_and_its_gradients(side):
    x, kernel, weight = draw(0, *SIZE), draw(1, side, side, side, 5, 7), draw(2, *SIZE[:-1], 7)

    def loss(form, x, kernel):
        return jnp.sum(weight * jnp.tanh(form(x, kernel)))

    np.testing.assert_allclose(by_slices(x, kernel), plain(x, kernel), rtol=1e-5, atol=1e-4)
    wanted, found = (jax.grad(loss, argnums=(1, 2))(form, x, kernel) for form in (plain, by_slices))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * float(jnp.abs(other).max()))


@pytest.mark.parametrize("sides", [(3, 3, 3), (5, 3, 1), (1, 3, 5)])
def test_the_kernels_gradient_slice_by_slice_is_that_of_the_plain_convolution(sides):
    x, kernel, upstream = draw(0, *SIZE), draw(1, *sides, 5, 7), draw(2, *SIZE[:-1], 7)
    (wanted,) = jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](upstream)
    found = kernel_gradient(x, upstream, sides)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(jnp.abs(wanted).max()))


@pytest.mark.parametrize("devices", [1, 8])
def test_large_images_have_it_where_there_is_one_device(devices, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    x, kernel = draw(0, 1, 3, 104, 100, 2), draw(1, 3, 3, 3, 2, 3)

    def loss(form, x, kernel):
        return jnp.sum(jnp.tanh(form(x, kernel)))

    wanted, found = (jax.grad(loss, argnums=(1, 2))(form, x, kernel) for form in (plain, by_slices))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * float(jnp.abs(other).max()))
    assert ("scan" in str(jax.make_jaxpr(jax.grad(lambda k: loss(by_slices, x, k)))(kernel))) == (devices == 1)


def test_the_backend_decides_and_a_kernel_of_one_is_a_matrix_product():
    x, kernel = draw(0, *SIZE), draw(1, 1, 1, 1, 5, 7)
    np.testing.assert_allclose(convolve(x, kernel), plain(x, kernel), rtol=1e-5, atol=1e-5)
    jaxpr = str(jax.make_jaxpr(convolve)(x, draw(1, 3, 3, 3, 5, 7)))
    assert "platform_index" in jaxpr  # both forms are there; lowering keeps one
    lowered = jax.jit(convolve).lower(x, draw(1, 3, 3, 3, 5, 7)).as_text()
    assert lowered.count("stablehlo.convolution") == 3  # on a CPU, the form by slices alone


def test_the_layer_has_the_parameters_of_the_general_one():
    x = draw(0, *SIZE)
    general = nn.Conv(7, (3, 3, 3))
    variables = general.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, Conv(7).init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, variables)
    found, wanted = (np.asarray(layer.apply(variables, x)) for layer in (Conv(7), general))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_pooling_is_the_windowed_maximum_and_so_is_its_gradient():
    x, weight = draw(0, *SIZE), draw(1, 2, 2, 4, 3, 5)

    def windowed(x):
        return nn.max_pool(x, (2, 2, 2), strides=(2, 2, 2))

    np.testing.assert_array_equal(max_pool(x), windowed(x))
    gradients = [jax.grad(lambda x, pool=pool: jnp.sum(weight * pool(x)))(x) for pool in (max_pool, windowed)]
    np.testing.assert_array_equal(*gradients)
