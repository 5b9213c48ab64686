"""Layers that several networks share, with the defaults of Keras that the paper's networks were built with."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from tmax_jax.models.convolution import KERNEL_INIT, Conv

Function = Callable[[jax.Array], jax.Array]
T = TypeVar("T")

ACTIVATIONS: dict[str, Function] = {"linear": lambda x: x, "relu": nn.relu, "gelu": nn.gelu, "silu": nn.silu}
HEAD_ACTIVATIONS: dict[str, Function] = {"linear": lambda x: x, "sigmoid": nn.sigmoid}
NORMS = ("none", "batch", "group", "instance")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class ModelError(ValueError):
    """A network that cannot be built, or cannot take its input."""


def choose(field: str, name: str, choices: Mapping[str, T]) -> T:
    """Returns what a field of a network names.

    Raises:
      ModelError: the name is unknown; the known ones are listed.

    Example:
      >>> choose("dtype", "bfloat16", DTYPES).__name__
      'bfloat16'
    """
    if name not in choices:
        raise ModelError(f"unknown {field} {name!r}; choose one of: {', '.join(choices)}")
    return choices[name]


def as_maps(x: jax.Array) -> jax.Array:
    """Gives the output of every network its form: float32, without the last axis where there is one output.

    Args:
      x: `[case, z, y, x, output]`, in the type that the network computes in.

    Returns:
      `[case, z, y, x]` for one output, else `[case, z, y, x, output]`.
    """
    x = x.astype(jnp.float32)
    return x[..., 0] if x.shape[-1] == 1 else x


class Norm(nn.Module):
    """Normalisation of the last axis, the channels; `none` is the identity.

    Epsilon is Keras's 1e-3 throughout. `batch` is over cases and voxels; `group` (eight groups, or the most that divide
    the channels) and `instance` (each channel alone) are over the voxels of a case, so that a batch of one trains and
    predicts alike.

    Reference:
      Ioffe and Szegedy 2015, arXiv:1502.03167; Wu and He 2018, arXiv:1803.08494; Ulyanov et al. 2016, arXiv:1607.08022.
    """

    kind: str = "batch"
    dtype: str = "float32"
    # Of the running statistics of `batch`. Keras's 0.99 remembers the initial ones for hundreds of steps, all that a
    # cohort of this size has; where activations vary little, inference is then scaled down many times.
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Normalises `[case, ..., channel]`; cases whose `valid` (bool `[case]`) is False enter no statistics."""
        choose("norm", self.kind, dict.fromkeys(NORMS))
        dtype = choose("dtype", self.dtype, DTYPES)
        if self.kind == "none":
            return x
        # The fast form of the variance loses it where mean / sd is in the thousands.
        if self.kind == "batch":
            mask = None if valid is None else valid.reshape(-1, *[1] * (x.ndim - 1))
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=1e-3,
                use_fast_variance=False,
                dtype=dtype,
                name="norm",
            )(x, mask=mask)
        groups = math.gcd(8, x.shape[-1]) if self.kind == "group" else x.shape[-1]
        return nn.GroupNorm(groups, epsilon=1e-3, use_fast_variance=False, dtype=dtype, name="norm")(x)


class ConvBlock(nn.Module):
    """Two convolutions of equal width, each followed by normalisation and ReLU, and dropout after both.

    Dropout drops whole channels of a case: neighbouring voxels are alike, so that single ones would hide nothing.
    A residual block adds its input, projected where the width changes, before the last ReLU.

    Reference:
      Tompson et al. 2015, arXiv:1411.4280 (spatial dropout); He et al. 2016, arXiv:1512.03385 (residuals).
    """

    features: int
    kernel: int = 3
    norm: str = "none"
    dropout: float = 0.0
    residual: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps `[case, *space, channel]`, of two or three axes of space, to `[case, *space, features]`."""
        space = x.ndim - 2

        def conv(x: jax.Array, kernel: int, name: str) -> jax.Array:
            return Conv(self.features, kernel, choose("dtype", self.dtype, DTYPES), name=name)(x)

        shortcut = x
        if self.residual and x.shape[-1] != self.features:
            shortcut = conv(x, 1, "shortcut")
        x = conv(x, self.kernel, "conv_1")
        x = nn.relu(Norm(self.norm, self.dtype, name="norm_1")(x, train=train, valid=valid))
        x = conv(x, self.kernel, "conv_2")
        x = Norm(self.norm, self.dtype, name="norm_2")(x, train=train, valid=valid)
        x = nn.relu(x + shortcut if self.residual else x)
        return nn.Dropout(self.dropout, broadcast_dims=range(1, space + 1), deterministic=not train)(x)


class UpConv(nn.Module):
    """Transposed convolution whose stride is its kernel: every voxel becomes a block of them, of eight for 2 x 2 x 2.

    Blocks do not overlap, so it is one matrix product and a reshape: the same parameters, numbers and gradients as
    the general layer, which is many times slower on a CPU.
    """

    features: int
    window: Sequence[int] = (2, 2, 2)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[case, *space, channel]` to `[case, *(space * window), features]`."""
        kernel = self.param("kernel", KERNEL_INIT, (*self.window, self.features, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=choose("dtype", self.dtype, DTYPES))
        space, window = "zyx"[-len(self.window) :], "kji"[-len(self.window) :]
        woven = "".join(map("".join, zip(space, window, strict=True)))
        blocks = jnp.einsum(f"b{space}c,{window}oc->b{woven}o", x, kernel)
        sides = [side * factor for side, factor in zip(x.shape[1:-1], self.window, strict=True)]
        return blocks.reshape(x.shape[0], *sides, self.features) + bias.reshape(*[1] * (x.ndim - 1), -1)
