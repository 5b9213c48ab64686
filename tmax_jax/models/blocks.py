"""Layers that several networks share, with the defaults of Keras that the paper's networks were built with."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.convolution import KERNEL_INIT, Conv3D

HEAD_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"linear": lambda x: x, "sigmoid": nn.sigmoid}


class ModelError(ValueError):
    """A network that cannot be built, or cannot take its input."""


def head_activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Returns the last layer's activation by name.

    Raises:
      ModelError: the name is unknown.
    """
    if name not in HEAD_ACTIVATIONS:
        raise ModelError(f"unknown head_activation {name!r}; choose one of: {', '.join(HEAD_ACTIVATIONS)}")
    return HEAD_ACTIVATIONS[name]


class BatchNorm(nn.Module):
    """Batch normalisation of the last axis over all others, as in Keras: epsilon 1e-3, momentum 0.99.

    Cases whose `valid` is False pad a batch: they are normalised, but do not enter the statistics.
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Normalises `[case, ..., channel]`; `valid` is bool `[case]`."""
        mask = None if valid is None else valid.reshape(-1, *[1] * (x.ndim - 1))
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.99,
            epsilon=1e-3,
            use_fast_variance=False,  # the fast form loses the variance where mean / sd is in the thousands
            name="norm",
        )
        return norm(x, mask=mask)


class ConvBlock(nn.Module):
    """Two 3-D convolutions of equal width, each followed by ReLU."""

    features: int
    kernel: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[case, z, y, x, channel]` to `[case, z, y, x, features]`."""
        for name in ("conv_1", "conv_2"):
            x = nn.relu(Conv3D(self.features, self.kernel, name=name)(x))
        return x


class UpConv(nn.Module):
    """Transposed convolution of kernel 2 and stride 2: every voxel becomes a block of eight.

    Blocks do not overlap, so it is one matrix product and a reshape: the same parameters, numbers and gradients as
    the general layer, which is many times slower on a CPU.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[case, z, y, x, channel]` to `[case, 2z, 2y, 2x, features]`."""
        kernel = self.param("kernel", KERNEL_INIT, (2, 2, 2, self.features, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        blocks = jnp.einsum("bzyxc,ijkoc->bziyjxko", x, kernel)
        cases, z, y, width = x.shape[:4]
        return blocks.reshape(cases, 2 * z, 2 * y, 2 * width, self.features) + bias.reshape(1, 1, 1, 1, -1)
