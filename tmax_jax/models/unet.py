"""The paper's modified 3-D U-Net and its relatives."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.blocks import (
    DTYPES,
    HEAD_ACTIVATIONS,
    ConvBlock,
    ModelError,
    UpConv,
    as_maps,
    choose,
)
from tmax_jax.models.convolution import Conv, max_pool


class UNet(nn.Module):
    """A U-Net; by default of four levels whose deepest one widens instead of pooling: 13,123,329 parameters.

    The network that the paper started from pools once more (`pool_bottleneck`), which 24 slices do not survive (24, 12,
    6, 3 and then no half). The paper keeps the resolution there: two convolutions with a kernel of 1, concatenated with
    what they came from. It has neither normalisation nor dropout.

    Reference:
      Çiçek et al. 2016, arXiv:1606.06650 (3-D U-Net); https://github.com/mrkolarik/3D-brain-segmentation (the parent).
    """

    features: tuple[int, ...] = (32, 64, 128, 256)  # of each level, from the finest
    bottleneck: int = 512
    pool_bottleneck: bool = False  # pool before the bottleneck too and give it a kernel of 3, as the parent does
    keep_z: tuple[int, ...] = ()  # levels, the finest being 1, whose pooling halves y and x alone
    slice_wise: bool = False  # a 2-D network: each slice by itself
    norm: str = "none"  # "none", "batch", "group" or "instance", after every convolution but the head
    dropout: float = 0.0  # share of each block's channels that are set to 0 while training
    residual: bool = False
    head_activation: str = "sigmoid"  # or "linear"; a sigmoid cannot leave 0..1, so the target's scale must fit
    outputs: int = 1  # maps, e.g. Tmax and CBF
    dtype: str = "float32"  # of the computation: "float32" or "bfloat16"; parameters are float32

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`, or `[..., output]` where there are several.

        Args:
          perfusion: one channel a frame; z, y and x divisible by 2 for each pooling.
          train: normalise by the batch, update the running statistics, drop channels (random key "dropout").
          valid: bool `[case]`; False marks padding, which the statistics leave out.

        Raises:
          ModelError: no level, a size that cannot be halved often enough, or an unknown activation, normalisation or
            type.
        """
        activation = choose("head_activation", self.head_activation, HEAD_ACTIVATIONS)
        dtype = choose("dtype", self.dtype, DTYPES)
        block = functools.partial(
            ConvBlock, norm=self.norm, dropout=self.dropout, residual=self.residual, dtype=self.dtype
        )
        x = perfusion
        if self.slice_wise:
            x = x.reshape(-1, *x.shape[2:])
            valid = None if valid is None else jnp.repeat(valid, perfusion.shape[1])
        windows = self._windows(x.ndim - 2)
        _check_size(x.shape[1:-1], windows)
        skips = []
        for level, (features, window) in enumerate(zip(self.features, windows, strict=True), start=1):
            skips.append(block(features, name=f"down_{level}")(x, train=train, valid=valid))
            x = max_pool(skips[-1], window) if window else skips[-1]
        kernel = 3 if self.pool_bottleneck else 1
        x = block(self.bottleneck, kernel=kernel, name="bottleneck")(x, train=train, valid=valid)
        for level in range(len(self.features), 0, -1):
            features, window = self.features[level - 1], windows[level - 1]
            larger = UpConv(features, window, self.dtype, name=f"upconv_{level}")(x) if window else x
            x = jnp.concatenate([larger, skips[level - 1]], axis=-1)
            x = block(features, name=f"up_{level}")(x, train=train, valid=valid)
        x = activation(Conv(self.outputs, 1, dtype, name="head")(x))
        return as_maps(x.reshape(*perfusion.shape[:-1], self.outputs))

    def _windows(self, space: int) -> list[tuple[int, ...]]:
        """The pooling window after each level over so many axes of space; empty where there is none."""
        if not self.features:
            raise ModelError("a U-Net needs at least one level; give --config.model.features a width")
        levels = range(1, len(self.features) + 1)
        windows = [(1 if level in self.keep_z else 2, 2, 2)[-space:] for level in levels]
        return windows if self.pool_bottleneck else [*windows[:-1], ()]


def _check_size(size: tuple[int, ...], windows: list[tuple[int, ...]]) -> None:
    factors = [1] * len(size)
    for window in filter(None, windows):
        factors = [factor * side for factor, side in zip(factors, window, strict=True)]
    if any(side % factor for side, factor in zip(size, factors, strict=True)):
        axes = ", ".join("zyx"[-len(size) :])
        wanted = tuple(-(-side // factor) * factor for side, factor in zip(size, factors, strict=True))
        raise ModelError(
            f"the U-Net halves its input until {axes} are {', '.join(map(str, factors))} times smaller, which"
            f" {axes} = {size} does not allow; pad the cohort to {wanted}, give --config.model.features fewer levels,"
            " or let levels pool without z (--config.model.keep_z)"
        )
