"""Deconvolution on a circle of twice the scan's length, which also sees tissue that is fed before the artery.

The singular values of a circulant matrix are the magnitudes of its column's Fourier coefficients. So what is published
as a truncated singular value decomposition is a division in Fourier space here, by gains of one number a frequency.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.fourier import irfft, rfft

CSVD_THRESHOLD = 0.10  # of the largest singular value
OSVD_THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))  # from 0 it would accept blown-up solutions
OSVD_OSCILLATION = 0.095  # largest oscillation index accepted
_STRENGTHS = tuple(0.02 * 1.15**step for step in range(28))  # of Tikhonov's damping, 0.02 to 0.87 of the largest
_BLOCK = 4096  # curves worked on at a time, so that memory stays bounded and a block stays in cache
_EXACT = jax.lax.Precision.HIGHEST  # an accelerator's default would round the products to 10 bits


def csvd(
    concentration: jax.Array, aif: jax.Array, *, dt: float | jax.Array, threshold: float | jax.Array = CSVD_THRESHOLD
) -> jax.Array:
    """Deconvolves by block-circulant singular values, dropping the small ones.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[time]`, or `[..., time]` with an artery a voxel.
      dt: seconds between frames.
      threshold: fraction of the largest singular value below which one is dropped; scalar or `[...]`.

    Returns:
      The flow-scaled residue function in 1/s, `[..., 2 * time]`, as `deconvolve` says.

    Reference:
      Wu et al., Magn Reson Med 2003;50:164.
    """
    artery = _artery(concentration, aif, dt)
    threshold = jnp.asarray(threshold)
    if threshold.ndim:
        threshold = threshold[..., None]
    return _apply(concentration, _truncated_inverse(artery, threshold))


def tikhonov(
    concentration: jax.Array, aif: jax.Array, *, dt: float | jax.Array, strength: float | jax.Array | None = None
) -> jax.Array:
    """Deconvolves with a damping that grows smoothly as the artery's spectrum falls.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[time]`, or `[..., time]` with an artery a voxel.
      dt: seconds between frames.
      strength: of the damping, as a fraction of the largest singular value; None finds each voxel's by generalised
        cross-validation.

    Returns:
      The flow-scaled residue function in 1/s, `[..., 2 * time]`, as `deconvolve` says.

    References:
      Calamante et al., Magn Reson Med 2003;50:1237. Golub, Heath and Wahba, Technometrics 1979;21:215.
    """
    artery = _artery(concentration, aif, dt)
    largest = jnp.max(jnp.abs(artery), axis=-1, keepdims=True)
    if strength is None:
        found = _cross_validated(concentration, jax.lax.stop_gradient(artery / jnp.where(largest > 0, largest, 1.0)))
        strength = jax.lax.stop_gradient(found)
    damping = (jnp.asarray(strength)[..., None] if jnp.ndim(strength) else strength) * largest
    power = jnp.real(artery) ** 2 + jnp.imag(artery) ** 2 + damping**2
    return _apply(concentration, jnp.where(power > 0, jnp.conj(artery) / jnp.where(power > 0, power, 1.0), 0.0))


def osvd(
    concentration: jax.Array,
    aif: jax.Array,
    *,
    dt: float | jax.Array,
    oscillation: float | jax.Array = OSVD_OSCILLATION,
    thresholds: Sequence[float] = OSVD_THRESHOLDS,
) -> jax.Array:
    """Deconvolves by block-circulant singular values with the lowest threshold at which each voxel does not oscillate.

    Where even the highest threshold leaves an oscillating solution, that one is given.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[time]`, or `[..., time]` with an artery a voxel, which is several times slower.
      dt: seconds between frames.
      oscillation: largest oscillation index that is accepted. 0.035 suits a signal-to-noise ratio of 20.
      thresholds: to try, rising. Ones below 5 % find more of the flow in curves with little noise, and make it depend
        on the frame interval, since a curve that is sampled faster oscillates less from frame to frame.

    Returns:
      The flow-scaled residue function in 1/s, `[..., 2 * time]`, as `deconvolve` says. The gradient is that of the
      threshold that was found.

    Reference:
      Wu et al., Magn Reson Med 2003;50:164.
    """
    scalars = (jnp.asarray(value, concentration.dtype) for value in (dt, oscillation))
    return _osvd(concentration, aif, *scalars, jnp.asarray(thresholds, concentration.dtype))


def oscillation_index(residue: jax.Array) -> jax.Array:
    """Returns the mean second difference of a curve, relative to its largest value.

    Args:
      residue: `[..., time]`.

    Returns:
      `[...]`; 0 for a straight line or an empty curve.
    """
    peak = jnp.max(residue, axis=-1)
    bends = jnp.abs(residue[..., 2:] - 2.0 * residue[..., 1:-1] + residue[..., :-2])
    total = jnp.matmul(bends, jnp.ones(bends.shape[-1], bends.dtype), precision=_EXACT)  # twice as fast as a sum
    return total / (residue.shape[-1] * jnp.where(peak > 0, peak, 1.0))


def _artery(concentration: jax.Array, aif: jax.Array, dt: float | jax.Array) -> jax.Array:
    """Returns the singular values with their phases, `[..., frequency]`, of the rank of the tissue."""
    artery = rfft(aif, 2 * aif.shape[-1]) * dt
    return artery.reshape((1,) * (concentration.ndim - artery.ndim) + artery.shape)


def _truncated_inverse(artery: jax.Array, threshold: float | jax.Array) -> jax.Array:
    magnitude = jnp.abs(artery)
    kept = (magnitude >= threshold * jnp.max(magnitude, axis=-1, keepdims=True)) & (magnitude > 0)
    return jnp.where(kept, 1.0 / jnp.where(kept, artery, 1.0), 0.0)


def _apply(concentration: jax.Array, gain: jax.Array) -> jax.Array:
    """Multiplies the spectra `[..., frequency]` of zero-padded curves by a gain."""
    length = 2 * concentration.shape[-1]
    return irfft(rfft(concentration, length) * gain, length)


def _cross_validated(concentration: jax.Array, artery: jax.Array) -> jax.Array:
    """Returns the strength `[...]` that predicts each frame best from all others; the artery's largest value is 1."""
    length = 2 * concentration.shape[-1]
    strengths = jnp.asarray(_STRENGTHS, concentration.dtype)
    squares = (strengths**2).reshape((1,) * artery.ndim + (-1,))
    spectrum = rfft(concentration, length)
    pairs = jnp.full(spectrum.shape[-1], 2.0).at[jnp.array([0, -1])].set(1.0)  # a real curve's mirrored frequencies
    lost = squares / (jnp.abs(artery)[..., None] ** 2 + squares)
    misfit = jnp.einsum("...f,f,...fs->...s", jnp.abs(spectrum) ** 2, pairs, lost**2, precision=_EXACT)
    score = misfit / jnp.einsum("f,...fs->...s", pairs, lost) ** 2
    return strengths[jnp.argmin(score, axis=-1)]


@jax.custom_jvp
def _osvd(
    concentration: jax.Array, aif: jax.Array, dt: jax.Array, oscillation: jax.Array, thresholds: jax.Array
) -> jax.Array:
    return _search(concentration, aif, dt, oscillation, thresholds)[0]


@_osvd.defjvp
def _osvd_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    """The search is a choice between linear maps: its derivative is that of the map chosen."""
    residue, threshold = _search(*primals)

    def chosen(concentration: jax.Array, aif: jax.Array, dt: jax.Array) -> jax.Array:
        return csvd(concentration, aif, dt=dt, threshold=threshold)

    return residue, jax.jvp(chosen, primals[:3], tangents[:3])[1]


def _search(
    concentration: jax.Array, aif: jax.Array, dt: jax.Array, oscillation: jax.Array, thresholds: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns residues `[..., 2 * time]` and the thresholds `[...]` that they were found with."""
    time = concentration.shape[-1]
    shape = concentration.shape[:-1]
    if aif.size == time:
        residue, index = _search_one_artery(
            concentration.reshape(-1, time), aif.reshape(time), dt, oscillation, thresholds
        )
    else:
        arteries = jnp.broadcast_to(aif, concentration.shape).reshape(-1, time)
        search = functools.partial(_search_own_artery, dt=dt, oscillation=oscillation, thresholds=thresholds)
        curves = (concentration.reshape(-1, time), arteries)
        residue, index = jax.lax.map(lambda curve: search(*curve), curves, batch_size=_BLOCK)
    return residue.reshape(*shape, 2 * time), thresholds[index].reshape(shape)


def _search_own_artery(
    curve: jax.Array, aif: jax.Array, dt: jax.Array, oscillation: jax.Array, thresholds: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns one curve's residue `[2 * time]` and the index of its threshold."""
    artery = _artery(curve, aif, dt)

    def solve(index: jax.Array) -> jax.Array:
        return _apply(curve, _truncated_inverse(artery, thresholds[index]))

    def oscillates(index: jax.Array) -> jax.Array:
        return (index < thresholds.size - 1) & (oscillation_index(solve(index)) > oscillation)

    index = jax.lax.while_loop(oscillates, lambda index: index + 1, jnp.int32(0))
    return solve(index), index


def _search_one_artery(
    curves: jax.Array, aif: jax.Array, dt: jax.Array, oscillation: jax.Array, thresholds: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns residues `[curve, 2 * time]` and indices of thresholds, for curves `[curve, time]` of one artery.

    With one artery, each threshold is one fixed matrix from curve to residue: a product, several times faster than the
    transforms. Each threshold is tried, block by block, on the curves that all lower ones left. It must be each: the
    oscillation index does not fall steadily with the threshold, so that halving intervals would miss solutions.
    """
    count, time = curves.shape
    block = min(_BLOCK, count)
    gains = _truncated_inverse(_artery(aif, aif, dt).reshape(1, -1), thresholds.reshape(-1, 1))
    lag = (jnp.arange(2 * time).reshape(1, -1) - jnp.arange(time).reshape(-1, 1)) % (2 * time)
    matrices = irfft(gains, 2 * time)[:, lag]  # [threshold, time, 2 * time]
    differs = jnp.any(gains[1:] != gains[:-1], axis=-1)  # from the threshold below; else there is nothing new to try
    tried = jnp.nonzero(jnp.insert(differs, 0, True), size=thresholds.size)[0].astype(jnp.int32)
    tries = 1 + jnp.sum(differs)

    def unsolved(found: jax.Array) -> jax.Array:
        """Returns the places of curves without a threshold, and after them the number of curves as a filler."""
        return jnp.nonzero(found < 0, size=count + block, fill_value=count)[0].astype(jnp.int32)

    def solve_block(state: _Search) -> _Search:
        place = jax.lax.dynamic_slice_in_dim(state.places, state.start, block)
        residue = jnp.matmul(curves.at[place].get(mode="clip"), matrices[tried[state.attempt]], precision=_EXACT)
        calm = (oscillation_index(residue) <= oscillation) | (state.attempt == tries - 1)
        place = jnp.where(calm, place, count)  # a place past the end is dropped
        state = state._replace(
            start=state.start + block,
            residues=state.residues.at[place].set(residue, mode="drop"),
            found=state.found.at[place].set(tried[state.attempt], mode="drop"),
        )
        done = state.start >= state.left
        again = jax.lax.cond(done, lambda: unsolved(state.found), lambda: state.places)
        left = jnp.where(done, jnp.sum(state.found < 0, dtype=jnp.int32), state.left)
        start = jnp.where(done, 0, state.start)
        return state._replace(attempt=state.attempt + done, start=start, left=left, places=again)

    found = jnp.full(count, -1, jnp.int32)
    residues = jnp.zeros((count, 2 * time), curves.dtype)
    state = _Search(jnp.int32(0), jnp.int32(0), jnp.int32(count), unsolved(found), residues, found)
    state = jax.lax.while_loop(lambda state: state.left > 0, solve_block, state)
    return state.residues, state.found


class _Search(NamedTuple):
    """How far the search for thresholds is: the next block of the current attempt, and what was found."""

    attempt: jax.Array  # index of the threshold among those that differ
    start: jax.Array  # of the next block in `places`
    left: jax.Array  # number of curves to try in this attempt
    places: jax.Array  # int32 [curve + block], of these curves
    residues: jax.Array  # [curve, 2 * time]
    found: jax.Array  # int32 [curve], index of the threshold, -1 until it is found
