"""3-D convolution and pooling in the form that is fast where they run: the same parameters, numbers and gradients.

On a GPU the plain convolution goes to cuDNN and stays plain. XLA's own 3-D convolution for CPUs is slow, its 2-D one is
not, so there a kernel of 3 x 3 x 3 is three 2-D convolutions of neighbouring slices, summed.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax

KERNEL_INIT = nn.initializers.glorot_uniform()  # Keras's, which the paper's networks used; Flax's own is LeCun normal
_LARGE_VOXELS = 10_000  # of an image


class Conv(nn.Module):
    """A convolution of odd kernel with bias, padded to keep its size; parameters as `nn.Conv` names them."""

    features: int
    kernel: int = 3
    dtype: Any = jnp.float32  # of the computation; parameters are float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[case, *space, channel]`, of two or three axes of space, to `[case, *space, features]`."""
        sides = (self.kernel,) * (x.ndim - 2)
        kernel = self.param("kernel", KERNEL_INIT, (*sides, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return convolve(x, kernel) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with zeros beyond the edges, by the backend's fast form.

    Args:
      x: `[case, z, y, x, channel]`, or without z.
      kernel: `[z, y, x, channel, feature]`, odd sides; or without z.

    Returns:
      `[case, z, y, x, feature]`, or without z.

    Example:
      >>> convolve(jnp.ones((1, 1, 1, 3, 1)), jnp.ones((3, 3, 3, 1, 1)))[0, 0, 0, :, 0].tolist()
      [2.0, 3.0, 2.0]
    """
    if all(side == 1 for side in kernel.shape[:-2]):
        return x @ kernel.reshape(kernel.shape[-2:])
    if x.ndim == 4:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=by_slices, default=plain)


def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves in one call; arguments and result as `convolve`."""
    space = "DHW"[5 - x.ndim :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(x, kernel, (1,) * len(space), "SAME", dimension_numbers=layout)


def by_slices(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves as a sum of 2-D convolutions, slices being cases; arguments and result as `convolve`.

    Against `plain` on two CPU cores: forward 1.5 to 3.6 times as fast at 24 x 128 x 128, 3 to 10 times at 8 x 32 x 32;
    the kernel's gradient 1.2 to 2.7 and 3 to 7 times. With `kernel_gradient` for large images a full-size train step of
    the U-Net takes two thirds of the time.
    """
    # On several devices the loop over slices would sum over all of them in each of its turns.
    large = x.shape[2] * x.shape[3] >= _LARGE_VOXELS and jax.device_count() == 1
    return _sum_with_kernel_gradient(x, kernel) if large else _sum_of_slices(x, kernel)


def _sum_of_slices(x: jax.Array, kernel: jax.Array) -> jax.Array:
    cases, slices, height, width, channels = x.shape
    middle = kernel.shape[0] // 2

    def of_neighbours(step: int) -> jax.Array:
        """What the slices `step` below give; those beyond the ends give nothing and are not convolved."""
        images = x[:, max(0, step) : slices + min(0, step)].reshape(-1, height, width, channels)
        images = plain(images, kernel[middle + step])
        images = images.reshape(cases, -1, *images.shape[1:])
        return jnp.pad(images, ((0, 0), (max(0, -step), max(0, step)), (0, 0), (0, 0), (0, 0)))

    reach = min(middle, slices - 1)
    return functools.reduce(jnp.add, map(of_neighbours, range(-reach, reach + 1)))


_sum_with_kernel_gradient = jax.custom_vjp(_sum_of_slices)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _sum_of_slices(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], upstream: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    (of_x,) = jax.vjp(lambda x: _sum_of_slices(x, kernel), x)[1](upstream)
    return of_x, kernel_gradient(x, upstream, kernel.shape[:3]).astype(kernel.dtype)


_sum_with_kernel_gradient.defvjp(_forward, _backward)


def kernel_gradient(x: jax.Array, upstream: jax.Array, sides: Sequence[int]) -> jax.Array:
    """Returns the gradient of a convolution's kernel, one product of matrices a slice.

    XLA has the kernel's gradient as a convolution with an image for its kernel, which is slow for large images. Here a
    slice's windows `[voxel, 9 channels]` meet the gradients of the three slices that it reaches, `[voxel, 3 features]`.

    Args:
      x: `[case, z, y, x, channel]`, what was convolved.
      upstream: `[case, z, y, x, feature]`, the gradient of the result.
      sides: of the kernel, odd.

    Returns:
      float32 `[*sides, channel, feature]`.
    """
    _, slices, height, width, channels = x.shape
    depth, rows, columns = sides
    features = upstream.shape[-1]
    none, (above, beside, along) = (0, 0), [(side // 2, side // 2) for side in sides]
    padded = jnp.pad(upstream, (none, above, none, none, none))
    starts = reversed(range(depth))  # the last plane of the kernel makes the slices above of this one
    reached = jnp.concatenate([padded[:, start : start + slices] for start in starts], axis=-1)

    def add_slice(total: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        image = jnp.pad(one[0], (beside, along, none))
        places = itertools.product(range(rows), range(columns))
        windows = jnp.concatenate(
            [image[row : row + height, column : column + width] for row, column in places], axis=-1
        )
        over_voxels = (((0, 1), (0, 1)), ((), ()))
        return total + lax.dot_general(windows, one[1], over_voxels, preferred_element_type=jnp.float32), None

    start = jnp.zeros((rows * columns * channels, depth * features), jnp.float32)
    images = x.reshape(-1, height, width, channels)
    total, _ = lax.scan(add_slice, start, (images, reached.reshape(-1, height, width, depth * features)))
    return jnp.moveaxis(total.reshape(rows, columns, channels, depth, features), 3, 0)


def max_pool(x: jax.Array, window: tuple[int, ...] = (2, 2, 2)) -> jax.Array:
    """Keeps the largest voxel of every window.

    A reduction over a reshaped array: the gradient of a windowed maximum is a scatter, which is slow on a CPU. Where
    voxels are equal they share the gradient.

    Args:
      x: `[case, *space, channel]`.
      window: sides along each axis of space, which they divide.

    Returns:
      `[case, *space, channel]`, smaller by the window.
    """
    split = [part for size, side in zip(x.shape[1:-1], window, strict=True) for part in (size // side, side)]
    return jnp.max(x.reshape(x.shape[0], *split, x.shape[-1]), axis=tuple(range(2, 2 * len(window) + 1, 2)))
