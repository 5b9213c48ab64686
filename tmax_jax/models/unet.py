"""The paper's modified 3-D U-Net."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.blocks import ConvBlock, ModelError, UpConv, head_activation
from tmax_jax.models.convolution import Conv3D, max_pool


class UNet(nn.Module):
    """A U-Net of four levels whose deepest level widens instead of pooling: 13,123,329 parameters for 60 frames.

    Its source pools once more, which 24 slices do not survive (24, 12, 6, 3 and then no half). The paper keeps the
    resolution there: two convolutions with a kernel of 1, concatenated with what they came from. It has neither
    batch normalisation nor dropout.
    """

    features: tuple[int, ...] = (32, 64, 128, 256)  # of each level, from the finest
    bottleneck: int = 512
    head_activation: str = "sigmoid"  # or "linear"; a sigmoid cannot leave 0..1, so the target's scale must fit

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`.

        Args:
          perfusion: one channel a frame; z, y and x divisible by 2 for each level but the deepest.
          train: changes nothing here; every network takes it.
          valid: changes nothing here; cases do not meet.

        Raises:
          ModelError: a size that cannot be halved often enough, or an unknown activation.
        """
        del train, valid
        activation = head_activation(self.head_activation)
        *fine, deepest = self.features
        _check_size(perfusion.shape[1:4], 2 ** len(fine))
        x, skips = perfusion, []
        for level, features in enumerate(fine, start=1):
            skips.append(ConvBlock(features, name=f"down_{level}")(x))
            x = max_pool(skips[-1])
        x = ConvBlock(deepest, name=f"down_{len(self.features)}")(x)
        wide = ConvBlock(self.bottleneck, kernel=1, name="bottleneck")(x)
        x = ConvBlock(deepest, name=f"up_{len(self.features)}")(jnp.concatenate([wide, x], axis=-1))
        for level in range(len(fine), 0, -1):
            larger = UpConv(fine[level - 1], name=f"upconv_{level}")(x)
            x = ConvBlock(fine[level - 1], name=f"up_{level}")(jnp.concatenate([larger, skips[level - 1]], axis=-1))
        x = Conv3D(1, kernel=1, name="head")(x)
        return activation(x)[..., 0]


def _check_size(size: tuple[int, ...], factor: int) -> None:
    if any(side % factor for side in size):
        wanted = tuple(-(-side // factor) * factor for side in size)
        raise ModelError(
            f"the U-Net halves its input until it is {factor} times smaller, which z, y, x = {size} does not allow;"
            f" pad the cohort to {wanted}, or give --config.model.features fewer levels"
        )
