"""Networks that see one voxel's curve at a time: the paper's two, and any depth of them.

A convolution with a kernel of 1 x 1 x 1 is a matrix product over the time axis, and is written as one.
"""

from typing import Any

import flax.linen as nn
import jax

from tmax_jax.models.blocks import ACTIVATIONS, DTYPES, Norm, as_maps, choose
from tmax_jax.models.convolution import KERNEL_INIT


class OneLayer(nn.Module):
    """One weight a frame and a bias: 61 parameters for 60 frames."""

    outputs: int = 1  # maps, e.g. Tmax and CBF
    dtype: str = "float32"  # of the computation: "float32" or "bfloat16"; parameters are float32

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`, or `[..., output]` where there are several.

        `train` and `valid` change nothing here; every network takes them.
        """
        del train, valid
        dtype = choose("dtype", self.dtype, DTYPES)
        return as_maps(nn.Dense(self.outputs, kernel_init=KERNEL_INIT, dtype=dtype, name="head")(perfusion))


class TwoLayer(nn.Module):
    """Two layers with batch normalisation before each: 889 parameters and 144 running statistics for 60 frames.

    There is no activation between them, as in the paper: at inference the network is one affine map of the frames,
    the function class of `OneLayer`.
    """

    features: int = 12
    outputs: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`, or `[..., output]` where there are several.

        Args:
          perfusion: one channel a frame.
          train: normalise by the batch and update the running statistics.
          valid: bool `[case]`; False marks padding, which the statistics leave out.
        """
        dtype = choose("dtype", self.dtype, DTYPES)
        norm: Any = Norm
        dense: Any = nn.Dense
        if train and not self.is_initializing():
            # What the biases add before norm_2 it takes off again: their gradient is 0. What would be computed for it
            # is rounding noise, which Adam turns into whole steps, others on every machine, and which inference sees.
            norm, dense = (nn.map_variables(layer, "params", _without_bias_gradient) for layer in (Norm, nn.Dense))
        keras = {"kind": "batch", "dtype": self.dtype, "momentum": 0.99}
        x = norm(**keras, name="norm_1")(perfusion, train=train, valid=valid)
        x = dense(self.features, kernel_init=KERNEL_INIT, dtype=dtype, name="hidden")(x)
        x = Norm(**keras, name="norm_2")(x, train=train, valid=valid)
        return as_maps(nn.Dense(self.outputs, kernel_init=KERNEL_INIT, dtype=dtype, name="head")(x))


def _without_bias_gradient(params: Any) -> Any:
    def hold(path: Any, leaf: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(leaf) if path[-1].key == "bias" else leaf

    return jax.tree_util.tree_map_with_path(hold, params)


class Pointwise(nn.Module):
    """Layers of any number and width, each with normalisation before it, and with activation and dropout after it.

    `features=()` without normalisation is `OneLayer`, and `features=(12,)` with the activation "linear" is `TwoLayer`.
    The last layers of other networks are one of these.
    """

    features: tuple[int, ...] = (32, 32, 32, 32, 32)  # of the hidden layers; the head is one more
    activation: str = "relu"  # "linear", "relu", "gelu" or "silu"
    norm: str = "batch"  # "none", "batch", "group" or "instance"
    dropout: float = 0.0  # share of a voxel's channels that are set to 0 while training, each voxel by itself
    outputs: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`, or `[..., output]` where there are several.

        Args:
          perfusion: one channel a frame.
          train: normalise by the batch, update the running statistics, drop channels (random key "dropout").
          valid: bool `[case]`; False marks padding, which the statistics leave out.

        Raises:
          ModelError: an unknown activation, normalisation or type.
        """
        activation, dtype = choose("activation", self.activation, ACTIVATIONS), choose("dtype", self.dtype, DTYPES)
        x = perfusion
        for number, features in enumerate(self.features, start=1):
            x = Norm(self.norm, self.dtype, name=f"norm_{number}")(x, train=train, valid=valid)
            x = nn.Dense(features, kernel_init=KERNEL_INIT, dtype=dtype, name=f"hidden_{number}")(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(activation(x))
        x = Norm(self.norm, self.dtype, name=f"norm_{len(self.features) + 1}")(x, train=train, valid=valid)
        return as_maps(nn.Dense(self.outputs, kernel_init=KERNEL_INIT, dtype=dtype, name="head")(x))
