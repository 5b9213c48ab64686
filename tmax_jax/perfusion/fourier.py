"""Fourier transforms of short real curves as products of matrices.

A scan has some sixty frames. At such lengths two products are as fast as a transform, and XLA splits them over devices
with the voxels; its own transform it does not split, and on some meshes of CPU devices refuses to compile.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_EXACT = jax.lax.Precision.HIGHEST


def rfft(values: jax.Array, length: int) -> jax.Array:
    """Transforms real curves that are filled up with zeros; what `jnp.fft.rfft` gives.

    Args:
      values: `[..., time]`, no longer than `length`.
      length: of the filled curves, even.

    Returns:
      Complex `[..., length / 2 + 1]`.

    Example:
      >>> rfft(jnp.array([1.0, 0.0]), 4).tolist()
      [(1+0j), (1+0j), (1+0j)]
    """
    cosine, sine = (part[: values.shape[-1]] for part in _waves(length))
    product = functools.partial(jnp.matmul, values, precision=_EXACT)
    return jax.lax.complex(product(jnp.asarray(cosine, values.dtype)), product(jnp.asarray(-sine, values.dtype)))


def irfft(spectrum: jax.Array, length: int) -> jax.Array:
    """Transforms back; what `jnp.fft.irfft` gives.

    Args:
      spectrum: complex `[..., length / 2 + 1]`.
      length: of the curves, even.

    Returns:
      Real `[..., length]`.

    Example:
      >>> irfft(jnp.ones(3, jnp.complex64), 4).tolist()
      [1.0, 0.0, 0.0, 0.0]
    """
    pairs = np.full((length // 2 + 1, 1), 2.0)  # a real curve's frequencies come twice, but the first and the last
    pairs[[0, -1]] = 1.0
    cosine, sine = (jnp.asarray(pairs / length * part.T, spectrum.real.dtype) for part in _waves(length))
    product = functools.partial(jnp.matmul, precision=_EXACT)
    return product(spectrum.real, cosine) - product(spectrum.imag, sine)


@functools.cache
def _waves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosine and sine `[time, frequency]`, of whole numbers of turns taken off so that they are exact."""
    turns = np.outer(np.arange(length), np.arange(length // 2 + 1)) % length
    angle = 2.0 * np.pi * turns / length
    return np.cos(angle), np.sin(angle)
