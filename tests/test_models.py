"""The networks: the paper's layers and counts, Keras's habits, and padding that leaves no trace."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from tmax_jax.models import MODELS, ModelError, build
from tmax_jax.models.blocks import UpConv
from tmax_jax.models.describe import describe, measure

FULL_SIZE = (1, 24, 128, 128, 60)
TINY = {"features": (2, 3, 4, 5), "bottleneck": 6}


@pytest.mark.parametrize(
    ("name", "params", "statistics"), [("one_layer", 61, 0), ("two_layer", 889, 144), ("unet", 13_123_329, 0)]
)
def test_parameters_are_the_papers(name, params, statistics):
    found = measure(build(name), FULL_SIZE)
    assert (found.params, found.statistics) == (params, statistics)


def test_the_layers_of_the_unet_are_the_papers():
    wanted = {
        "down_1/conv_1": (24, 128, 128, 32, 51_872),
        "down_1/conv_2": (24, 128, 128, 32, 27_680),
        "down_2/conv_1": (12, 64, 64, 64, 55_360),
        "down_2/conv_2": (12, 64, 64, 64, 110_656),
        "down_3/conv_1": (6, 32, 32, 128, 221_312),
        "down_3/conv_2": (6, 32, 32, 128, 442_496),
        "down_4/conv_1": (3, 16, 16, 256, 884_992),
        "down_4/conv_2": (3, 16, 16, 256, 1_769_728),
        "bottleneck/conv_1": (3, 16, 16, 512, 131_584),
        "bottleneck/conv_2": (3, 16, 16, 512, 262_656),
        "up_4/conv_1": (3, 16, 16, 256, 5_308_672),
        "up_4/conv_2": (3, 16, 16, 256, 1_769_728),
        "upconv_3": (6, 32, 32, 128, 262_272),
        "up_3/conv_1": (6, 32, 32, 128, 884_864),
        "up_3/conv_2": (6, 32, 32, 128, 442_496),
        "upconv_2": (12, 64, 64, 64, 65_600),
        "up_2/conv_1": (12, 64, 64, 64, 221_248),
        "up_2/conv_2": (12, 64, 64, 64, 110_656),
        "upconv_1": (24, 128, 128, 32, 16_416),
        "up_1/conv_1": (24, 128, 128, 32, 55_328),
        "up_1/conv_2": (24, 128, 128, 32, 27_680),
        "head": (24, 128, 128, 1, 33),
    }
    layers = measure(build("unet"), FULL_SIZE).layers
    assert [(layer.name, (*layer.shape[1:], layer.params)) for layer in layers] == list(wanted.items())


def test_flops_are_those_of_the_convolutions():
    found = measure(build("unet"), FULL_SIZE)
    macs = sum(np.prod(layer.shape[:-1], dtype=float) * (layer.params - layer.shape[-1]) for layer in found.layers)
    macs -= sum(
        7 / 8 * np.prod(layer.shape[:-1], dtype=float) * (layer.params - layer.shape[-1])
        for layer in found.layers
        if layer.kind == "UpConv"
    )
    assert 0.85 < found.forward_flops / (2 * macs) < 1.05  # edges of the image need fewer
    assert 2.5 < found.step_flops / found.forward_flops < 3.1


@pytest.mark.parametrize("name", MODELS)
def test_the_description_fits_a_terminal_and_names_the_total(name):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(describe(build(name), FULL_SIZE))
    found = measure(build(name), FULL_SIZE)
    assert f"{found.params + found.statistics:,}" in capture.get()
    assert all(layer.name in capture.get() for layer in found.layers)
    assert max(map(len, capture.get().splitlines())) <= 100


def test_two_layers_at_inference_are_sixty_weights_and_a_bias():
    model: Any = build("two_layer")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((2, 3, 4, 5, 60), np.float32))
    variables = model.init(jax.random.key(0), x, train=False)
    _, updated = model.apply(variables, x, train=True, mutable=["batch_stats"])
    variables = variables | updated
    p, s = (jax.tree.map(np.asarray, variables[name]) for name in ("params", "batch_stats"))

    def affine(layer: str) -> tuple[np.ndarray, np.ndarray]:
        scale = p[layer]["norm"]["scale"] / np.sqrt(s[layer]["norm"]["var"] + 1e-3)
        return scale, p[layer]["norm"]["bias"] - scale * s[layer]["norm"]["mean"]

    (a, b), (c, d) = affine("norm_1"), affine("norm_2")
    weights = (a[:, None] * p["hidden"]["kernel"] * c[None]) @ p["head"]["kernel"]
    bias = ((b @ p["hidden"]["kernel"] + p["hidden"]["bias"]) * c + d) @ p["head"]["kernel"] + p["head"]["bias"]
    assert weights.size == 60
    expected = np.asarray(x) @ weights[:, 0] + bias
    np.testing.assert_allclose(model.apply(variables, x, train=False), expected, atol=1e-5)


def test_padding_changes_neither_statistics_nor_the_others_outputs():
    model: Any = build("two_layer", features=3)
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.random((3, 2, 4, 4, 10), np.float32))
    padded = jnp.concatenate([x, jnp.full((2, *x.shape[1:]), 1e3)])
    variables = model.init(jax.random.key(0), x, train=False)
    alone, statistics = model.apply(variables, x, train=True, mutable=["batch_stats"])
    valid = jnp.array([True, True, True, False, False])
    together, others = model.apply(variables, padded, train=True, valid=valid, mutable=["batch_stats"])
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), statistics, others)


def test_upconv_is_the_general_transposed_convolution_in_value_and_gradient():
    x = jax.random.normal(jax.random.key(0), (2, 2, 3, 4, 5))
    ours: Any = UpConv(6)
    general: Any = nn.ConvTranspose(6, (2, 2, 2), strides=(2, 2, 2), padding="SAME", transpose_kernel=True)
    variables = ours.init(jax.random.key(1), x)

    def loss(model: Any, params: dict) -> jax.Array:
        return jnp.sum(jnp.sin(model.apply({"params": params}, x)))

    np.testing.assert_allclose(ours.apply(variables, x), general.apply(variables, x), atol=1e-5)
    grads = [
        jax.grad(lambda params, model=model: loss(model, params))(variables["params"]) for model in (ours, general)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *grads)


def test_initial_weights_are_glorot_uniform_and_biases_zero():
    params = jax.jit(build("unet").init, static_argnames="train")(
        jax.random.key(0), jnp.zeros((1, 8, 8, 8, 60)), train=False
    )["params"]
    kernel = np.asarray(params["down_2"]["conv_1"]["kernel"])
    limit = np.sqrt(6 / (27 * (32 + 64)))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)
    assert not np.asarray(params["down_2"]["conv_1"]["bias"]).any()


@pytest.mark.parametrize("head", ["linear", "sigmoid"])
def test_the_head_is_what_the_config_says(head):
    model = build("unet", head_activation=head, **TINY)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 8, 12)) * 100
    output = np.asarray(model.apply(model.init(jax.random.key(1), x, train=False), x, train=False))
    assert output.shape == (1, 8, 8, 8)
    assert (np.abs(output).max() > 1) == (head == "linear")


def test_mistakes_are_named_with_what_would_be_right():
    with pytest.raises(ModelError, match="unknown model 'vnet'; choose one of: one_layer, two_layer, unet"):
        build("vnet")
    with pytest.raises(ModelError, match="'two_layer' has no field 'width'; it has: features"):
        build("two_layer", width=3)
    with pytest.raises(ModelError, match="unknown head_activation 'relu'; choose one of: linear, sigmoid"):
        measure(build("unet", head_activation="relu"), FULL_SIZE)
    with pytest.raises(
        ModelError, match=r"z, y, x = \(20, 128, 128\) does not allow; pad the cohort to \(24, 128, 128\)"
    ):
        measure(build("unet"), (1, 20, 128, 128, 60))
