"""What a network is made of and what it costs, found by tracing: nothing is computed, no memory is taken."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text


class Layer(NamedTuple):
    """One layer that has parameters."""

    name: str  # where it is in the network, e.g. "down_1/conv_1"
    kind: str
    shape: tuple[int, ...]  # of its output
    params: int  # trained
    statistics: int  # running statistics
    input_bytes: int  # which the backward pass needs again


class Description(NamedTuple):
    """A network at one input shape."""

    layers: list[Layer]
    forward_flops: float  # a prediction
    step_flops: float  # forward and backward
    activation_bytes: int  # of all layers' inputs: what the backward pass needs again

    @property
    def params(self) -> int:
        """Trained parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def statistics(self) -> int:
        """Running statistics of normalisation layers."""
        return sum(layer.statistics for layer in self.layers)


def measure(model: nn.Module, shape: tuple[int, ...]) -> Description:
    """Traces a network.

    Args:
      model: of `models.build`.
      shape: `(case, z, y, x, time)`.

    Returns:
      Its layers in the order in which they run, and its costs; FLOPs are the compiler's estimate before it
      optimises, a multiplication and an addition being two.

    Raises:
      ModelError: the network cannot take this shape.

    Example:
      >>> from tmax_jax.models import build
      >>> measure(build("one_layer"), (1, 24, 128, 128, 60)).params
      61
    """
    perfusion = jax.ShapeDtypeStruct(shape, jnp.float32)
    layers: list[Layer] = []

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        params, statistics = (_own_parameters(context.module, name) for name in ("params", "batch_stats"))
        if context.method_name == "__call__" and params:
            name = "/".join(context.module.path).removesuffix("/norm")
            kept = math.prod(args[0].shape) * args[0].dtype.itemsize
            layers.append(Layer(name, type(context.module).__name__, output.shape, params, statistics, kept))
        return output

    def initialise(key: jax.Array, perfusion: jax.Array) -> Any:
        with nn.intercept_methods(record):
            return model.init(key, perfusion, train=False)

    variables = jax.eval_shape(initialise, jax.random.key(0), perfusion)

    def predict(variables: Any, perfusion: jax.Array) -> Any:
        return model.apply(variables, perfusion, train=False)

    def gradient(variables: Any, perfusion: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            output, _ = model.apply(
                variables | {"params": params},
                perfusion,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            return jnp.sum(output**2)

        return jax.grad(loss)(variables["params"])

    return Description(
        layers=layers,
        forward_flops=_flops(predict, variables, perfusion),
        step_flops=_flops(gradient, variables, perfusion),
        activation_bytes=sum(layer.input_bytes for layer in layers),
    )


def describe(model: nn.Module, shape: tuple[int, ...]) -> Group:
    """Lays out what `measure` finds, for a terminal.

    Args:
      model: of `models.build`.
      shape: `(case, z, y, x, time)`.

    Returns:
      A table of the layers and the totals below it.
    """
    found = measure(model, shape)
    case, z, y, x, time = shape
    title = f"{type(model).__name__} · input [{case} case, {z} x {y} x {x} voxels, {time} frames]"
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("layer", "kind", "output"):
        table.add_column(column, no_wrap=True)
    table.add_column("parameters", justify="right")
    for layer in found.layers:
        size = " x ".join(map(str, layer.shape[1:]))
        table.add_row(layer.name, layer.kind, size, f"{layer.params + layer.statistics:,}")
    totals = Table.grid(padding=(0, 2))
    totals.add_column(justify="left")
    totals.add_column(justify="right")
    for label, value in (
        ("Parameters", f"{found.params + found.statistics:,}"),
        ("  trained", f"{found.params:,}"),
        ("  running statistics", f"{found.statistics:,}"),
        ("Activations kept", _bytes(found.activation_bytes)),
        ("FLOPs, prediction", _flops_text(found.forward_flops)),
        ("FLOPs, training step", _flops_text(found.step_flops)),
    ):
        totals.add_row(label, value)
    return Group(Text(title, style="bold"), table, totals)


def _own_parameters(module: nn.Module, collection: str) -> int:
    """Counts a module's own arrays, not those of the modules inside it."""
    values = module.variables.get(collection, {}).values()
    return sum(math.prod(value.shape) for value in values if not isinstance(value, Mapping))


def _flops(function: Any, *arguments: Any) -> float:
    # As a GPU would be given it: there convolutions are plain, and no loop hides work, whose body is counted once.
    costs = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).cost_analysis()
    return costs["flops"] if costs else math.nan


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"


def _flops_text(count: float) -> str:
    return f"{count / 1e9:,.2f} G"
