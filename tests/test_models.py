"""The networks: the paper's layers and counts, Keras's habits, and padding that leaves no trace."""

import dataclasses
import functools
import importlib
import inspect
import itertools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from tmax_jax import models
from tmax_jax.models import MODELS, ModelError, build
from tmax_jax.models.blocks import NORMS, ConvBlock, Norm, UpConv
from tmax_jax.models.describe import describe, measure
from tmax_jax.perfusion.alignment import CHANNELS

FULL_SIZE = (1, 24, 128, 128, 60)
FAST = {"xla_backend_optimization_level": 0}  # compiles the initialisers' random numbers ten times faster
TINY = {"features": (2, 3, 4, 5), "bottleneck": 6}
PARAMETERS = {  # of each model's defaults: trained, and running statistics
    "one_layer": (61, 0),
    "two_layer": (889, 144),
    "pointwise": (6_649, 440),
    "temporal": (1_969, 176),
    "patch": (53_089, 128),
    "unet": (13_123_329, 0),
    "voxelwise": (204_296, 0),
    "filtered": (185_953, 0),
}
ALIGNED: dict[str, dict[str, Any]] = {  # the models that take aligned curves, not the signal
    "voxelwise": {"features": (4, 3)},
    "filtered": {"features": (4, 3)},
}
SMALL: dict[str, dict[str, Any]] = {  # every model, and the U-Net in its kinds, at a size that compiles fast
    "one_layer": {},
    "two_layer": {"features": 3},
    "pointwise": {"features": (4, 3)},
    "temporal": {"features": (2, 3), "hidden": (4,)},
    "patch": {"features": (3, 2), "activation": "gelu"},
    "unet": {"features": (2, 3), "bottleneck": 4},
    "unet, batch norm": {"features": (2, 3), "bottleneck": 4, "norm": "batch"},
    "unet, slice-wise": {"features": (2,), "bottleneck": 4, "norm": "batch", "slice_wise": True},
    "unet, residual": {"features": (2, 3), "bottleneck": 4, "norm": "group", "residual": True, "keep_z": (1,)},
}
X = jnp.asarray(np.random.default_rng(1).random((3, 4, 4, 8, 12), np.float32))


def small(kind: str, **fields: Any) -> tuple[Any, Any]:
    """A model of `SMALL` and its variables."""
    model: Any = build(kind.split(",")[0], **SMALL[kind] | fields)
    return model, jax.jit(functools.partial(model.init, train=False), compiler_options=FAST)(jax.random.key(0), X)


def full_size(name: str) -> tuple[int, ...]:
    """The shape of what a model takes of a full-size patient."""
    return (*FULL_SIZE[:-1], CHANNELS) if name in ALIGNED else FULL_SIZE


def apply(model: Any, variables: Any, x: jax.Array, *, train: bool = False, valid: Any = None, seed: int = 0) -> Any:
    """Compiles and runs a model; returns its output and its statistics."""
    rngs = {"dropout": jax.random.key(seed)}
    call = functools.partial(model.apply, train=train, mutable=["batch_stats"], rngs=rngs)
    return jax.jit(call, compiler_options=FAST)(variables, x, valid=valid)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_were_counted(name):
    assert name in PARAMETERS, f"count the parameters of {name} and enter them in PARAMETERS"
    found = measure(build(name), full_size(name))
    assert (found.params, found.statistics) == PARAMETERS[name]


def test_every_network_is_in_the_registry():
    """A network is a module that takes perfusion."""
    for path in Path(models.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"tmax_jax.models.{path.stem}")
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == module.__name__:
                takes = list(inspect.signature(kind.__call__).parameters)
                if "perfusion" in takes:
                    assert kind in MODELS.values(), f"enter {kind.__name__} in MODELS (tmax_jax/models/__init__.py)"
                    assert takes == ["self", "perfusion", "train", "valid"]
                    fields = {field.name for field in dataclasses.fields(kind)}
                    assert "dtype" in fields
                    assert fields & {"outputs", "reads"}  # how many maps, or which of those that it knows


def test_the_parent_has_a_fourth_pooling_and_its_up_convolution():
    widths, kernels = (60, 32, 64, 128, 256, 512), 27
    down = sum(kernels * (a * b + b * b) + 2 * b for a, b in itertools.pairwise(widths))
    up = sum(8 * a * b + b + kernels * (2 * b * b + b * b) + 2 * b for b, a in itertools.pairwise(widths[1:]))
    parent = build("unet", pool_bottleneck=True)
    found = measure(parent, (1, 32, 128, 128, 60))
    assert found.params == down + up + 33 == 22_626_305
    assert next(layer.shape for layer in found.layers if layer.name == "bottleneck/conv_2") == (1, 2, 8, 8, 512)
    with pytest.raises(ModelError, match=r"16, 16, 16 times smaller.*pad the cohort to \(32, 128, 128\)"):
        measure(parent, FULL_SIZE)
    flat = measure(build("unet", pool_bottleneck=True, keep_z=(4,)), FULL_SIZE)
    assert next(layer.shape for layer in flat.layers if layer.name == "bottleneck/conv_2") == (1, 3, 8, 8, 512)


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
        console.print(describe(build(name), full_size(name)))
    found = measure(build(name), full_size(name))
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


@pytest.mark.parametrize("kind", SMALL)
def test_padding_changes_neither_statistics_nor_the_others_outputs(kind):
    model, variables = small(kind)
    padded = jnp.concatenate([X, jnp.full((2, *X.shape[1:]), 1e3)])
    alone, statistics = apply(model, variables, X, train=True)
    valid = jnp.array([True, True, True, False, False])
    together, others = apply(model, variables, padded, train=True, valid=valid)
    np.testing.assert_allclose(together[:3], alone, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), statistics, others)


@pytest.mark.parametrize("kind", SMALL)
def test_several_outputs_are_a_last_axis_and_one_is_none(kind):
    for outputs, shape in ((1, X.shape[:4]), (3, (*X.shape[:4], 3))):
        model: Any = build(kind.split(",")[0], **SMALL[kind], outputs=outputs)
        made, _ = jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), X)
        assert made.shape == shape


@pytest.mark.parametrize("kind", SMALL)
def test_bfloat16_computes_in_bfloat16_but_keeps_parameters_and_maps_in_float32(kind):
    model, variables = small(kind)
    half: Any = build(kind.split(",")[0], **SMALL[kind], dtype="bfloat16")
    made = jax.eval_shape(functools.partial(half.init, train=False), jax.random.key(0), X)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(made))
    exact, rounded = (np.asarray(apply(net, variables, X)[0]) for net in (model, half))
    assert rounded.dtype == np.float32
    error = np.abs(rounded - exact).max()
    assert 0 < error < 0.05 * max(1, np.abs(exact).max())


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind not in ("one_layer", "two_layer")])
def test_dropout_is_drawn_from_its_key_and_absent_at_inference(kind):
    model, variables = small(kind, dropout=0.5)

    first, again, other = (apply(model, variables, X, train=True, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    without: Any = build(kind.split(",")[0], **SMALL[kind])
    np.testing.assert_array_equal(apply(model, variables, X)[0], apply(without, variables, X)[0])


def test_dropout_of_the_unet_takes_whole_channels_of_a_case():
    block: Any = ConvBlock(64, kernel=1, dropout=0.5)
    x = jnp.ones((2, 2, 2, 2, 3))
    variables = block.init(jax.random.key(0), x, train=False)
    kept = np.asarray(block.apply(variables, x, train=False)) > 0
    left = np.asarray(block.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})) > 0
    assert (left == left[:, :1, :1, :1]).all()  # a channel is there in all voxels or in none
    assert 0.3 < left.sum() / kept.sum() < 0.7
    assert (left[0] != left[1]).any()


@pytest.mark.parametrize("norm", NORMS)
def test_normalised_layers_have_no_mean_and_unit_variance_over_what_they_normalise(norm):
    x = 3 + 5 * jax.random.normal(jax.random.key(0), (2, 4, 4, 4, 16))
    layer: Any = Norm(norm)
    y, _ = layer.init_with_output(jax.random.key(0), x, train=True)
    groups = {"batch": y.reshape(-1, 16), "instance": y.reshape(2, 64, 16), "group": y.reshape(2, 64, 8, 2)}
    if norm == "none":
        np.testing.assert_array_equal(y, x)
    else:
        axes = {"batch": 0, "instance": 1, "group": (1, 3)}[norm]
        np.testing.assert_allclose(groups[norm].mean(axes), 0, atol=1e-4)
        np.testing.assert_allclose(groups[norm].std(axes), 1, atol=1e-3)


def test_pointwise_holds_the_papers_two_networks():
    one, two = (small(name, **fields) for name, fields in (("one_layer", {}), ("two_layer", {})))
    shallow: Any = build("pointwise", features=(), norm="none")
    deeper: Any = build("pointwise", features=(3,), activation="linear")
    np.testing.assert_array_equal(shallow.apply(one[1], X, train=False), one[0].apply(one[1], X, train=False))
    renamed = jax.tree.map(lambda leaf: leaf, two[1])
    renamed["params"]["hidden_1"] = renamed["params"].pop("hidden")
    np.testing.assert_array_equal(deeper.apply(renamed, X, train=False), two[0].apply(two[1], X, train=False))


def test_the_temporal_network_takes_any_number_of_frames_and_knows_when_the_bolus_passed():
    model, variables = small("temporal", norm="none")
    curve = 1 - 0.6 * np.exp(-((np.arange(60) - 20.0) ** 2) / 18)
    early, late = (jnp.asarray(np.roll(curve, shift), jnp.float32).reshape(1, 1, 1, 1, 60) for shift in (0, 12))

    def predict(x: jax.Array) -> float:
        return float(apply(model, variables, x)[0][0, 0, 0, 0])

    assert abs(predict(late) - predict(early)) > 1e-3  # a mean or a maximum over time could not tell them apart
    assert np.isfinite(predict(early[..., :41]))


def test_the_ends_of_a_curve_do_not_look_like_a_bolus():
    _, variables = small("temporal", norm="none")
    model: Any = build("temporal", **SMALL["temporal"] | {"norm": "none", "hidden": ()})
    variables["params"].pop("pointwise")
    head = {"kernel": jnp.array([0.0, 0, 0, 1, 0, 0])[:, None], "bias": jnp.zeros(1)}  # when the first channel was high
    variables["params"]["pointwise"] = {"head": head}
    when, _ = apply(model, variables, jnp.full((1, 1, 1, 1, 60), 0.7))
    np.testing.assert_allclose(when, np.mean(np.arange(0, 60, 4)) / 60, rtol=1e-5)  # flat: no time stands out


def test_a_patch_network_sees_its_neighbourhood_and_nothing_else():
    model, variables = small("patch", norm="none", activation="gelu")
    seen = jax.jit(jax.grad(lambda x: model.apply(variables, x, train=False)[0, 2, 2, 4]))(X)
    reached = np.asarray(jnp.abs(seen).max(-1) > 0)
    wanted = np.zeros(X.shape[:4], bool)
    wanted[0, 1:4, 1:4, 3:6] = True
    np.testing.assert_array_equal(reached, wanted)


def test_a_slice_wise_network_sees_one_slice_and_takes_any_number_of_them():
    model, variables = small("unet, slice-wise", norm="instance", dropout=0.0)
    seen = jax.jit(jax.grad(lambda x: model.apply(variables, x, train=False)[0, 2].sum()))(X)
    assert {tuple(place) for place in np.argwhere(np.abs(seen).max((2, 3, 4)) > 0).tolist()} == {(0, 2)}
    assert apply(model, variables, X[:, :3])[0].shape == (3, 3, 4, 8)


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


@pytest.mark.parametrize("window", [(1, 2, 2), (2, 2)])
def test_upconv_spreads_over_the_axes_of_its_window_alone(window):
    x = jax.random.normal(jax.random.key(0), (*(2, 3, 4, 2)[: len(window) + 1], 5))
    ours: Any = UpConv(6, window)
    general: Any = nn.ConvTranspose(6, window, strides=window, padding="SAME", transpose_kernel=True)
    variables = ours.init(jax.random.key(1), x)
    np.testing.assert_allclose(ours.apply(variables, x), general.apply(variables, x), atol=1e-5)


def test_initial_weights_are_glorot_uniform_and_biases_zero():
    initialise = jax.jit(build("unet").init, static_argnames="train", compiler_options=FAST)
    params = initialise(jax.random.key(0), jnp.zeros((1, 8, 8, 8, 60)), train=False)["params"]
    kernel = np.asarray(params["down_2"]["conv_1"]["kernel"])
    limit = np.sqrt(6 / (27 * (32 + 64)))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)
    assert not np.asarray(params["down_2"]["conv_1"]["bias"]).any()


@pytest.mark.parametrize("head", ["linear", "sigmoid"])
def test_the_head_is_what_the_config_says(head):
    model = build("unet", head_activation=head, **TINY)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 8, 12)) * 100
    initialise = jax.jit(functools.partial(model.init_with_output, train=False), compiler_options=FAST)
    output = np.asarray(initialise(jax.random.key(1), x)[0])
    assert output.shape == (1, 8, 8, 8)
    assert (np.abs(output).max() > 1) == (head == "linear")


def test_mistakes_are_named_with_what_would_be_right():
    with pytest.raises(ModelError, match="unknown model 'vnet'; choose one of: one_layer, two_layer, pointwise"):
        build("vnet")
    with pytest.raises(ModelError, match="'two_layer' has no field 'width'; it has: features, outputs, dtype"):
        build("two_layer", width=3)
    with pytest.raises(ModelError, match="unknown head_activation 'relu'; choose one of: linear, sigmoid"):
        measure(build("unet", head_activation="relu"), FULL_SIZE)
    with pytest.raises(
        ModelError, match=r"z, y, x = \(20, 128, 128\) does not allow; pad the cohort to \(24, 128, 128\)"
    ):
        measure(build("unet"), (1, 20, 128, 128, 60))
    with pytest.raises(ModelError, match="unknown norm 'layer'; choose one of: none, batch, group, instance"):
        measure(build("unet", norm="layer"), FULL_SIZE)
    with pytest.raises(ModelError, match="unknown activation 'tanh'; choose one of: linear, relu, gelu, silu"):
        measure(build("pointwise", activation="tanh"), FULL_SIZE)
    with pytest.raises(ModelError, match="unknown dtype 'float16'; choose one of: float32, bfloat16"):
        measure(build("one_layer", dtype="float16"), FULL_SIZE)
    with pytest.raises(ModelError, match=r"dropout is 1\.0; it must be at least 0 and below 1"):
        build("pointwise", dropout=1.0)
    for name in ("unet", "patch"):
        with pytest.raises(ModelError, match="needs at least one"):
            measure(build(name, features=()), FULL_SIZE)
