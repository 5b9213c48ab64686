"""The paper's two small networks: they see one voxel's curve at a time.

A convolution with a kernel of 1 x 1 x 1 is a matrix product over the time axis, and is written as one.
"""

import flax.linen as nn
import jax

from tmax_jax.models.blocks import BatchNorm
from tmax_jax.models.convolution import KERNEL_INIT


class OneLayer(nn.Module):
    """One weight a frame and a bias: 61 parameters for 60 frames."""

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`.

        `train` and `valid` change nothing here; every network takes them.
        """
        del train, valid
        return nn.Dense(1, kernel_init=KERNEL_INIT, name="head")(perfusion)[..., 0]


class TwoLayer(nn.Module):
    """Two layers with batch normalisation before each: 889 parameters and 144 running statistics for 60 frames.

    There is no activation between them, as in the paper: at inference the network is one affine map of the frames,
    the function class of `OneLayer`.
    """

    features: int = 12

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`.

        Args:
          perfusion: one channel a frame.
          train: normalise by the batch and update the running statistics.
          valid: bool `[case]`; False marks padding, which the statistics leave out.
        """
        x = BatchNorm(name="norm_1")(perfusion, train=train, valid=valid)
        x = nn.Dense(self.features, kernel_init=KERNEL_INIT, name="hidden")(x)
        x = BatchNorm(name="norm_2")(x, train=train, valid=valid)
        return nn.Dense(1, kernel_init=KERNEL_INIT, name="head")(x)[..., 0]
