"""The maps that clinicians read, from curves and from flow-scaled residue functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.deconvolution import deconvolve

# Plasma fraction of large vessels over that of capillaries, and grams of brain in a millilitre.
HEMATOCRIT_RATIO = 0.73
BRAIN_DENSITY = 1.04
ML_PER_GRAM = HEMATOCRIT_RATIO / BRAIN_DENSITY
_BLOCK = 32768  # voxels whose residue functions are in memory at a time


class Maps(NamedTuple):
    """Parametric maps, each float32 `[...]`, 0 outside the mask."""

    cbf: jax.Array  # ml/100 g/min
    cbv: jax.Array  # ml/100 g
    mtt_s: jax.Array
    ttp_s: jax.Array  # of the tissue curve, from the bolus arrival
    tmax_s: jax.Array  # of the residue function; never negative
    early: jax.Array  # bool: tissue fed before the artery measured, whose negative Tmax was set to 0


def maps(
    concentration: jax.Array,
    aif: jax.Array,
    *,
    dt: float | jax.Array,
    method: str = "osvd",
    mask: jax.Array | None = None,
    arrival_s: float | jax.Array = 0.0,
    scale: float = ML_PER_GRAM,
    matched_areas: bool = False,
    **parameters: Any,
) -> Maps:
    """Makes all maps of a scan, in blocks of voxels so that memory is bounded.

    Args:
      concentration: `[..., time]`, tissue curves, dR2* in 1/s.
      aif: `[time]`, or `[..., time]` with an artery a voxel, in the same unit.
      dt: seconds between frames.
      method: of `deconvolve`.
      mask: bool `[...]`, True = brain; None means everywhere. Outside, curves may be anything, NaN included.
      arrival_s: bolus arrival in seconds from the first frame; TTP is counted from it.
      scale: millilitres a gram, kH/rho = 0.73/1.04; 1 for curves that are calibrated already.
      matched_areas: CBV compares the areas of the same part of the bolus, as `cbv_ml_100g` says.
      **parameters: of the method.

    Returns:
      The maps.

    Raises:
      ValueError: the method or a parameter is unknown, or the curves do not fit together.

    Example:
      >>> aif = jnp.array([0.0, 1.0, 4.0, 2.0, 1.0, 0.0, 0.0, 0.0])
      >>> maps(0.02 * jnp.roll(aif, 2), aif, dt=1.0, method="csvd").tmax_s.round(2).item()
      2.0

    Reference:
      Calamante et al., Stroke 2010;41:1169 (what Tmax is).
    """
    if mask is not None:
        concentration = jnp.where(mask[..., None], concentration, 0.0)

    def block(curves: jax.Array, aif: jax.Array) -> Maps:
        residue = deconvolve(curves, aif, dt=dt, method=method, **parameters)
        tmax = tmax_s(residue, dt=dt)
        cbf = cbf_ml_100g_min(residue, scale=scale)
        cbv = cbv_ml_100g(curves, aif, delay_s=jnp.maximum(tmax, 0.0) if matched_areas else None, dt=dt, scale=scale)
        found = Maps(cbf, cbv, mtt_s(cbv, cbf), peak_s(curves, dt=dt) - arrival_s, jnp.maximum(tmax, 0.0), tmax < 0)
        seen = jnp.max(jnp.abs(curves), axis=-1) > 0
        return jax.tree.map(lambda values: jnp.where(seen, values, jnp.zeros_like(values)), found)

    return _in_blocks(block, concentration, aif)


def _in_blocks(function: Callable[[jax.Array, jax.Array], Maps], curves: jax.Array, aif: jax.Array) -> Maps:
    """Calls a function of curves `[..., time]` and artery on a bounded number of voxels at a time."""
    shape, time = curves.shape[:-1], curves.shape[-1]
    flat = curves.reshape(-1, time)
    count = flat.shape[0]
    if count <= _BLOCK:
        return function(curves, aif)
    blocks = -(-count // _BLOCK)

    def split(flat: jax.Array) -> jax.Array:
        return jnp.pad(flat, ((0, blocks * _BLOCK - count), (0, 0))).reshape(blocks, _BLOCK, time)

    if aif.size == time:
        found = jax.lax.map(lambda block: function(block, aif.reshape(time)), split(flat))
    else:
        arteries = split(jnp.broadcast_to(aif, curves.shape).reshape(-1, time))
        found = jax.lax.map(lambda block: function(*block), (split(flat), arteries))
    return jax.tree.map(lambda values: values.reshape(-1)[:count].reshape(shape), found)


def _parabola(curve: jax.Array, peak: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns shift in frames and height of the parabola's top through a peak and its neighbours; the ends meet."""
    around = (
        jnp.take_along_axis(curve, ((peak + shift) % curve.shape[-1])[..., None], axis=-1)[..., 0]
        for shift in (-1, 0, 1)
    )
    before, top, after = around
    curvature = before - 2.0 * top + after
    shift = jnp.where(curvature < 0, 0.5 * (before - after) / jnp.where(curvature < 0, curvature, 1.0), 0.0)
    return shift, top - 0.25 * (before - after) * shift


def tmax_s(residue: jax.Array, *, dt: float | jax.Array) -> jax.Array:
    """Returns when the residue function peaks, between frames by a parabola through the peak.

    Args:
      residue: `[..., 2 * time]`, as `deconvolve` returns it; its second half holds negative times.
      dt: seconds between frames.

    Returns:
      Seconds `[...]`; negative where tissue is fed before the artery measured.

    Example:
      >>> tmax_s(jnp.array([0.0, 1.0, 3.0, 3.0, 1.0, 0.0, 0.0, 0.0]), dt=2.0).item()
      5.0
    """
    length = residue.shape[-1]
    peak = jnp.argmax(residue, axis=-1)
    index = jnp.where(peak >= length // 2, peak - length, peak)
    return (index + _parabola(residue, peak)[0]) * dt


def peak_s(concentration: jax.Array, *, dt: float | jax.Array) -> jax.Array:
    """Returns when a tissue curve peaks, between frames by a parabola, in seconds from the first frame.

    Args:
      concentration: `[..., time]`.
      dt: seconds between frames.

    Returns:
      Seconds `[...]`.
    """
    peak = jnp.argmax(concentration, axis=-1)
    inside = (peak > 0) & (peak < concentration.shape[-1] - 1)  # the first frame is no neighbour of the last
    return (peak + jnp.where(inside, _parabola(concentration, peak)[0], 0.0)) * dt


def cbf_ml_100g_min(residue: jax.Array, *, scale: float = ML_PER_GRAM) -> jax.Array:
    """Returns cerebral blood flow, the peak of the flow-scaled residue function.

    Like Tmax it is read between frames: the highest frame alone is up to 3 % lower, depending on where frames fall.

    Args:
      residue: `[..., 2 * time]` in 1/s, as `deconvolve` returns it.
      scale: millilitres a gram.

    Returns:
      `[...]` in ml/100 g/min.
    """
    return scale * 6000.0 * _parabola(residue, jnp.argmax(residue, axis=-1))[1]


def cbv_ml_100g(
    concentration: jax.Array,
    aif: jax.Array,
    *,
    delay_s: jax.Array | None = None,
    dt: float | jax.Array = 1.0,
    scale: float = ML_PER_GRAM,
) -> jax.Array:
    """Returns cerebral blood volume, the ratio of the areas under the curves.

    Args:
      concentration: `[..., time]`, tissue curves.
      aif: `[time]` or `[..., time]`, arterial curve in the same unit and with the same frames.
      delay_s: `[...]`, how late the tissue is. If given, the artery's area ends so much before the scan does: of what
        came later the tissue has not yet seen anything, and late tissue in a short scan would seem to have less blood.
      dt: seconds between frames; only needed with `delay_s`.
      scale: millilitres a gram.

    Returns:
      `[...]` in ml/100 g; 0 where the artery has no area.
    """
    frames = aif.shape[-1]
    if delay_s is None:
        arterial = jnp.sum(aif, axis=-1)
    else:
        total = jnp.cumsum(aif, axis=-1)
        last = jnp.clip(frames - 1 - delay_s / dt, 0.0, frames - 1.0)
        below = jnp.minimum(last.astype(jnp.int32), frames - 2)
        total = jnp.broadcast_to(total, concentration.shape)
        pair = (jnp.take_along_axis(total, (below + step)[..., None], axis=-1)[..., 0] for step in (0, 1))
        low, high = pair
        arterial = low + (last - below) * (high - low)
    arterial = jnp.broadcast_to(arterial, concentration.shape[:-1])
    area = jnp.sum(concentration, axis=-1)
    return jnp.where(arterial > 0, 100.0 * scale * area / jnp.where(arterial > 0, arterial, 1.0), 0.0)


def mtt_s(cbv: jax.Array, cbf: jax.Array) -> jax.Array:
    """Returns the mean transit time in seconds from volume (ml/100 g) and flow (ml/100 g/min); 0 without flow."""
    return jnp.where(cbf > 0, 60.0 * cbv / jnp.where(cbf > 0, cbf, 1.0), 0.0)
