"""Fourier transforms of short real curves as products of matrices.

XLA splits products over devices with the voxels. Its own transform it does not split, and on some meshes of CPU devices
refuses to compile. On a CPU the products take about a third more time, at sixty frames.
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
      >>> rfft(jnp.array([1.0, 0.0]), 4).real.tolist()
      [1.0, 1.0, 1.0]
    """
    cosine, sine = (part[: values.shape[-1]] for part in _waves(length))
    both = jnp.matmul(values, jnp.asarray(np.concatenate([cosine, -sine], axis=1), values.dtype), precision=_EXACT)
    return jax.lax.complex(*jnp.split(both, 2, axis=-1))


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
    cosine, sine = (pairs / length * part.T for part in _waves(length))
    both = jnp.concatenate([spectrum.real, spectrum.imag], axis=-1)
    return jnp.matmul(both, jnp.asarray(np.concatenate([cosine, -sine]), both.dtype), precision=_EXACT)


@functools.cache
def _waves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosine and sine `[time, frequency]`, of whole numbers of turns taken off so that they are exact."""
    turns = np.outer(np.arange(length), np.arange(length // 2 + 1)) % length
    angle = 2.0 * np.pi * turns / length
    return np.cos(angle), np.sin(angle)
