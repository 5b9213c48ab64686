"""Deconvolution: from a tissue curve and the artery's curve to the flow-scaled residue function.

Circulant deconvolution by singular values is division in Fourier space: the singular values of a circulant matrix are
the magnitudes of its column's Fourier coefficients. So both methods here are FFTs.
"""

import jax
import jax.numpy as jnp

CSVD_THRESHOLD = 0.10  # of the largest singular value
OSVD_THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))  # from 0 it would accept blown-up solutions
OSVD_OSCILLATION = 0.095  # largest oscillation index accepted


def deconvolve(concentration: jax.Array, aif: jax.Array, *, dt: float | jax.Array, method: str = "csvd") -> jax.Array:
    """Solves `concentration = dt * sum(aif(t - u) * f(u))` for the flow-scaled residue function f.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[..., time]` with fewer or equally many leading axes, arterial curve in the same unit.
      dt: seconds between frames.
      method: one of `METHODS`.

    Returns:
      f in 1/s, `[..., 2 * time]`: CBF times the residue function. The second half holds the negative times, tissue that
      is fed before the artery measured, in wrap-around order.

    Raises:
      ValueError: the method is unknown or the curves differ in length.

    Example:
      >>> aif = jnp.array([0.0, 1.0, 4.0, 2.0, 1.0, 0.0, 0.0, 0.0])
      >>> deconvolve(0.02 * aif, aif, dt=1.0, method="csvd").argmax().item()
      0

    References:
      Wu et al., Magn Reson Med 2003;50:164 (block-circulant, oscillation index).
    """
    if method not in METHODS:
        raise ValueError(f"unknown deconvolution {method!r}; choose one of {', '.join(METHODS)}")
    time = concentration.shape[-1]
    if aif.shape[-1] != time:
        raise ValueError(
            f"the arterial curve has {aif.shape[-1]} frames, the tissue {time}; they must be sampled alike"
        )
    artery = jnp.fft.rfft(aif, 2 * time)
    artery = artery.reshape((1,) * (concentration.ndim - artery.ndim) + artery.shape) * dt
    return METHODS[method](jnp.fft.rfft(concentration, 2 * time), artery, 2 * time)


def _truncated(tissue: jax.Array, artery: jax.Array, length: int, threshold: float | jax.Array) -> jax.Array:
    """Divides where the artery's spectrum is at least `threshold` of its largest value."""
    magnitude = jnp.abs(artery)
    kept = (magnitude >= threshold * jnp.max(magnitude, axis=-1, keepdims=True)) & (magnitude > 0)
    return jnp.fft.irfft(jnp.where(kept, tissue / jnp.where(kept, artery, 1.0), 0.0), length)


def _csvd(tissue: jax.Array, artery: jax.Array, length: int) -> jax.Array:
    return _truncated(tissue, artery, length, CSVD_THRESHOLD)


def _osvd(tissue: jax.Array, artery: jax.Array, length: int) -> jax.Array:
    """Each voxel takes the lowest threshold whose solution does not oscillate, else the highest."""

    def raise_threshold(
        best: tuple[jax.Array, jax.Array], threshold: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        found, accepted = best
        candidate = _truncated(tissue, artery, length, threshold)
        found = jnp.where(accepted, found, candidate)
        return (found, accepted | (oscillation_index(candidate)[..., None] <= OSVD_OSCILLATION)), None

    shape = jnp.broadcast_shapes(tissue.shape, artery.shape)[:-1]
    nothing = jnp.zeros((*shape, length), tissue.real.dtype), jnp.zeros((*shape, 1), bool)
    return jax.lax.scan(raise_threshold, nothing, jnp.asarray(OSVD_THRESHOLDS, tissue.real.dtype))[0][0]


METHODS = {"csvd": _csvd, "osvd": _osvd}


def oscillation_index(residue: jax.Array) -> jax.Array:
    """Returns the mean second difference of a curve, relative to its largest value.

    Args:
      residue: `[..., time]`.

    Returns:
      `[...]`; 0 for a straight line or an empty curve.
    """
    peak = jnp.max(residue, axis=-1)
    total = jnp.sum(jnp.abs(jnp.diff(residue, n=2, axis=-1)), axis=-1)
    return total / (residue.shape[-1] * jnp.where(peak > 0, peak, 1.0))
