"""A network of convolutions over time: it knows what a bolus looks like wherever in the series it passes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.blocks import ACTIVATIONS, DTYPES, Norm, choose
from tmax_jax.models.convolution import KERNEL_INIT
from tmax_jax.models.pointwise import Pointwise

_FRAMES = 60.0  # of the paper's series: times go to the last layers in units of it, however long the series at hand


class TimeConv(nn.Module):
    """A convolution over time with stride 2, as one product of matrices a voxel.

    A library's convolution over one axis folds all others into its batch, rows among them; where rows are split over
    devices, every device would be sent all of them.
    """

    features: int
    kernel_frames: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., time, channel]` to `[..., (time - kernel_frames) // 2 + 1, features]`."""
        kernel = self.param("kernel", KERNEL_INIT, (self.kernel_frames, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        last = x.shape[-2] - self.kernel_frames
        windows = jnp.stack([x[..., k : k + last + 1 : 2, :] for k in range(self.kernel_frames)], axis=-2)
        product = jnp.einsum("...kc,kcf->...f", windows.astype(self.dtype), kernel.astype(self.dtype))
        return product + bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Temporal(nn.Module):
    """Convolutions over the curve of each voxel, a summary of what they find and when, then pointwise layers.

    The summary is what lets one set of parameters take any number of frames: of each channel its maximum over time,
    and the mean frame number weighted by the channel's softmax. A mean or a maximum alone forgets when something
    happened, which for Tmax is the question.
    """

    features: tuple[int, ...] = (8, 16)  # of the convolutions; each halves the number of frames
    kernel_frames: int = 5
    hidden: tuple[int, ...] = (32,)  # of the pointwise layers after them
    activation: str = "relu"
    norm: str = "batch"
    dropout: float = 0.0
    outputs: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps perfusion `[case, z, y, x, time]` to `[case, z, y, x]`, or `[..., output]` where there are several.

        Args:
          perfusion: any number of frames at about the interval that it was trained with.
          train: as in `Pointwise`.
          valid: bool `[case]`; False marks padding, which the statistics leave out.

        Raises:
          ModelError: an unknown activation, normalisation or type.
        """
        activation, dtype = choose("activation", self.activation, ACTIVATIONS), choose("dtype", self.dtype, DTYPES)
        x = perfusion[..., None]
        for number, features in enumerate(self.features, start=1):
            x = activation(x) if number > 1 else x
            # The ends are held: zeros beyond them would look like the bolus, which is a drop of the signal.
            reach = self.kernel_frames // 2
            x = jnp.pad(x, [(0, 0)] * 4 + [(reach, reach), (0, 0)], mode="edge")
            x = TimeConv(features, self.kernel_frames, dtype=dtype, name=f"conv_{number}")(x)
            x = Norm(self.norm, self.dtype, name=f"norm_{number}")(x, train=train, valid=valid)
        frames = jnp.arange(x.shape[-2], dtype=jnp.float32) * (2 ** len(self.features) / _FRAMES)
        weights = nn.softmax(x.astype(jnp.float32), axis=-2)
        when = jnp.einsum("...tc,t->...c", weights, frames)
        x = nn.Dropout(self.dropout, deterministic=not train)(jnp.concatenate([jnp.max(x, axis=-2), when], axis=-1))
        pointwise = Pointwise(
            self.hidden, self.activation, self.norm, self.dropout, self.outputs, self.dtype, name="pointwise"
        )
        return pointwise(x, train=train, valid=valid)
