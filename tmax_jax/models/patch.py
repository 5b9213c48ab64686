"""A regressor of a voxel's value from the curves of the voxels around it."""

import flax.linen as nn
import jax

from tmax_jax.models.blocks import ACTIVATIONS, DTYPES, ModelError, choose
from tmax_jax.models.convolution import KERNEL_INIT
from tmax_jax.models.pointwise import Pointwise


class Patch(nn.Module):
    """One layer over a cube of neighbouring voxels, then pointwise layers.

    Between `Pointwise` and `UNet`: noise is averaged over neighbours, and no voxel farther away plays a part. Beyond
    the edge of the volume neighbours are 0, as they are outside the brain.

    Reference:
      McKinley et al. 2018, doi:10.3389/fneur.2018.00717 (perfusion parameters from local patches).
    """

    neighbourhood: int = 3  # side of the cube, in voxels
    features: tuple[int, ...] = (32, 32)  # of the hidden layers; the first sees the neighbourhood
    activation: str = "relu"
    norm: str = "batch"  # after the first layer, and before each that follows
    dropout: float = 0.0
    outputs: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`, or `[..., output]` where there are several.

        Args:
          perfusion: one channel a frame.
          train: as in `Pointwise`.
          valid: bool `[case]`; False marks padding, which the statistics leave out.

        Raises:
          ModelError: no layer, or an unknown activation, normalisation or type.
        """
        if not self.features:
            raise ModelError("a patch network needs at least one hidden layer; give --config.model.features a width")
        first, *others = self.features
        kernel, dtype = (self.neighbourhood,) * 3, choose("dtype", self.dtype, DTYPES)
        x = nn.Conv(first, kernel, kernel_init=KERNEL_INIT, dtype=dtype, name="neighbourhood")(perfusion)
        x = choose("activation", self.activation, ACTIVATIONS)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        pointwise = Pointwise(
            tuple(others), self.activation, self.norm, self.dropout, self.outputs, self.dtype, name="pointwise"
        )
        return pointwise(x, train=train, valid=valid)
