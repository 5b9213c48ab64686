"""Arteries and veins found in the curves themselves, or taken where the user says."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES, PerfusionError

_LARGEST_AREAS = 0.10  # of the brain's curves may be arterial
_REGULAR = 0.75  # of those are kept, the most regular ones
_CLUSTERS = 5
_ITERATIONS = 30
_FRAMES_BEFORE, _FRAMES_AFTER = 1, 12  # of the bolus arrival, in which curves are compared
_VENOUS = 0.001  # of the brain's voxels are taken for the venous output function
_LEAST_VOXELS = 3
_WIDTH_S = (3.0, 12.0)  # at half maximum
_PEAK_OVER_TISSUE = 2.0
_PEAK_OVER_NOISE = 10.0
LEAST_QUALITY = 0.6


class VascularFunction(NamedTuple):
    """A curve of blood, where it was measured, and how much it looks like one."""

    curve: jax.Array  # [time], dR2* in 1/s
    voxels: jax.Array  # bool [...]
    quality: jax.Array  # 0 to 1: how many of five properties of a good curve it has
    found: jax.Array  # bool: quality and number of voxels are enough


@jax.jit
def select_aif(
    concentration: jax.Array, mask: jax.Array, *, dt: float | jax.Array, arrival_frame: float | jax.Array
) -> VascularFunction:
    """Finds the arterial input function automatically, always the same for the same scan.

    Of the curves with the largest areas the irregular ones are dropped; the rest are clustered by shape, twice, and the
    cluster that comes first is averaged. A clustering that leaves fewer than three voxels is not followed.

    Args:
      concentration: `[..., time]`, of one scan's voxels, dR2* in 1/s.
      mask: bool `[...]`, True = brain.
      dt: seconds between frames.
      arrival_frame: of the bolus in the brain's mean curve, as `find_bolus` returns it.

    Returns:
      The artery. Where `found` is False no map may be made with it; on the host, `require_aif` says so.

    Example:
      `select_aif(scan.curves, mask, dt=1.5, arrival_frame=scan.bolus.arrival).curve`

    Reference:
      Mouridsen et al., Magn Reson Med 2006;55:524.
    """
    frames = concentration.shape[-1]
    curves = concentration.reshape(-1, frames)
    place, kept = _regular_with_large_areas(curves, mask.reshape(-1))
    chosen = curves[place]
    window = min(frames, _FRAMES_BEFORE + _FRAMES_AFTER + 1)
    start = jnp.clip(jnp.asarray(arrival_frame).astype(jnp.int32) - _FRAMES_BEFORE, 0, frames - window)
    shapes = _unit_area(jax.lax.dynamic_slice_in_dim(chosen, start, window, axis=1))
    for _ in range(2):
        earliest = _earliest_cluster(shapes, kept)
        kept = jnp.where(jnp.sum(earliest) >= _LEAST_VOXELS, earliest, kept)  # a voxel or two are noise, not a cluster
    voxels = jnp.zeros(curves.shape[0], bool).at[jnp.where(kept, place, curves.shape[0])].set(True, mode="drop")
    return function_of_voxels(concentration, voxels.reshape(mask.shape), mask, dt=dt, arrival_frame=arrival_frame)


@jax.jit
def select_vof(
    concentration: jax.Array,
    mask: jax.Array,
    aif: jax.Array,
    *,
    dt: float | jax.Array,
    arrival_frame: float | jax.Array,
) -> VascularFunction:
    """Finds the venous output function: the largest areas among the regular curves that peak after the artery.

    Args:
      concentration: `[..., time]`, of one scan's voxels, dR2* in 1/s.
      mask: bool `[...]`, True = brain.
      aif: `[time]`, the artery.
      dt: seconds between frames.
      arrival_frame: of the bolus in the brain's mean curve.

    Returns:
      The vein.
    """
    curves = concentration.reshape(-1, concentration.shape[-1])
    place, kept = _regular_with_large_areas(curves, mask.reshape(-1))
    kept &= jnp.argmax(curves[place], axis=-1) > jnp.argmax(aif)
    wanted = jnp.maximum(_VENOUS * jnp.sum(mask), 1.0 * _LEAST_VOXELS)
    kept &= jnp.cumsum(kept) <= wanted  # they are in order of their areas
    voxels = jnp.zeros(curves.shape[0], bool).at[jnp.where(kept, place, curves.shape[0])].set(True, mode="drop")
    return function_of_voxels(concentration, voxels.reshape(mask.shape), mask, dt=dt, arrival_frame=arrival_frame)


def function_of_voxels(
    concentration: jax.Array,
    voxels: jax.Array,
    mask: jax.Array,
    *,
    dt: float | jax.Array,
    arrival_frame: float | jax.Array,
) -> VascularFunction:
    """Returns the mean curve of given voxels, such as a region that the user drew, with its quality.

    The five properties: a peak ten times the noise before the bolus; twice the brain's mean peak; 3 to 12 s wide at
    half maximum; a rise no later than the brain's, within two frames; a tail below half of the peak.

    Args:
      concentration: `[..., time]`, of one scan's voxels, dR2* in 1/s.
      voxels: bool `[...]`.
      mask: bool `[...]`, True = brain.
      dt: seconds between frames.
      arrival_frame: of the bolus in the brain's mean curve.

    Returns:
      Curve, voxels and quality.
    """
    curve = _mean_curve(concentration, voxels)
    tissue = _mean_curve(concentration, mask)
    frame = jnp.arange(curve.shape[0])
    before = (frame >= NON_STEADY_FRAMES) & (frame <= arrival_frame)
    peak = jnp.argmax(curve)
    height = curve[peak]
    noise = jnp.std(jax.lax.stop_gradient(curve), where=before)
    above = curve > 0.5 * height
    first = jnp.max(jnp.where(~above & (frame < peak), frame + 1, 0))
    last = jnp.min(jnp.where(~above & (frame > peak), frame - 1, frame[-1]))
    width_s = (last - first + 1) * dt
    tissue_half = jnp.argmax(tissue > 0.5 * jnp.max(tissue))
    tail = jnp.mean(curve[-5:])
    properties = jnp.stack(
        [
            height >= _PEAK_OVER_NOISE * noise,
            height >= _PEAK_OVER_TISSUE * jnp.max(tissue),
            (width_s >= _WIDTH_S[0]) & (width_s <= _WIDTH_S[1]),
            first <= tissue_half + 2,
            tail < 0.5 * height,
        ]
    )
    quality = jnp.where(height > 0, jnp.mean(properties.astype(jnp.float32)), 0.0)
    found = (quality >= LEAST_QUALITY) & (jnp.sum(voxels) >= _LEAST_VOXELS) & properties[0]
    return VascularFunction(curve, voxels, quality, found)


def scale_to_vein(aif: jax.Array, vof: jax.Array) -> jax.Array:
    """Corrects an artery for partial volume: its area becomes the vein's, through which all the contrast agent comes.

    Args:
      aif: `[time]`.
      vof: `[time]`, from voxels that lie wholly in a vein.

    Returns:
      `[time]`.

    Example:
      >>> scale_to_vein(jnp.array([0.0, 2.0, 0.0]), jnp.array([0.0, 3.0, 1.0])).tolist()
      [0.0, 4.0, 0.0]
    """
    area = jnp.sum(aif)
    return aif * jnp.where(area > 0, jnp.sum(vof) / jnp.where(area > 0, area, 1.0), 1.0)


def require_aif(aif: VascularFunction) -> None:
    """Refuses, on the host, to go on without an artery.

    Args:
      aif: of one scan.

    Raises:
      PerfusionError: none was found; the message says what was, and what to do.
    """
    if not bool(aif.found):
        raise PerfusionError(
            f"no arterial input function found: {int(aif.voxels.sum())} voxels with quality {float(aif.quality):.1f};"
            f" wanted at least {_LEAST_VOXELS} with {LEAST_QUALITY}. Give a curve or a region of your own"
        )


def _mean_curve(concentration: jax.Array, voxels: jax.Array) -> jax.Array:
    weight = voxels.astype(concentration.dtype)
    total = jnp.sum(jnp.where(voxels[..., None], concentration, 0.0), axis=range(voxels.ndim))
    return total / jnp.maximum(jnp.sum(weight), 1.0)


def _unit_area(curves: jax.Array) -> jax.Array:
    area = jnp.sum(curves, axis=-1, keepdims=True)
    return curves / jnp.where(area > 0, area, 1.0)


def _regular_with_large_areas(curves: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns places `[candidate]` in order of their areas, the largest first, and which of them count."""
    area = jnp.where(mask, jnp.sum(curves, axis=-1), -jnp.inf)
    largest, place = jax.lax.top_k(area, max(1, round(_LARGEST_AREAS * curves.shape[0])))
    kept = (jnp.arange(place.shape[0]) < _LARGEST_AREAS * jnp.sum(mask)) & (largest > 0)
    bends = jnp.sum(jnp.diff(_unit_area(curves[place]), n=2, axis=-1) ** 2, axis=-1)
    limit = jnp.sort(jnp.where(kept, bends, jnp.inf))[(_REGULAR * jnp.sum(kept)).astype(jnp.int32)]
    return place, kept & (bends <= limit)


def _earliest_cluster(shapes: jax.Array, kept: jax.Array) -> jax.Array:
    """Clusters the kept curves `[candidate, time]` by k-means and returns which ones are in the earliest cluster."""
    frame = jnp.arange(shapes.shape[1], dtype=shapes.dtype)
    moment = jnp.matmul(shapes, frame, precision=jax.lax.Precision.HIGHEST)
    rank = jnp.argsort(jnp.argsort(jnp.where(kept, moment, jnp.inf)))
    label = (rank * _CLUSTERS) // jnp.maximum(jnp.sum(kept), 1)  # bins of equal size by first moment

    def members(label: jax.Array) -> jax.Array:
        return ((label.reshape(-1, 1) == jnp.arange(_CLUSTERS).reshape(1, -1)) & kept[:, None]).astype(shapes.dtype)

    def centres_of(member: jax.Array) -> tuple[jax.Array, jax.Array]:
        size = jnp.sum(member, axis=0)
        total = jnp.matmul(member.T, shapes, precision=jax.lax.Precision.HIGHEST)
        return total / jnp.maximum(size, 1.0)[:, None], size

    def move(_: jax.Array, label: jax.Array) -> jax.Array:
        centres, size = centres_of(members(label))
        cross = jnp.matmul(shapes, centres.T, precision=jax.lax.Precision.HIGHEST)
        distance = jnp.sum(centres**2, axis=-1).reshape(1, -1) - 2.0 * cross
        return jnp.argmin(jnp.where(size.reshape(1, -1) > 0, distance, jnp.inf), axis=-1).astype(label.dtype)

    label = jax.lax.fori_loop(0, _ITERATIONS, move, label)
    centres, size = centres_of(members(label))
    first = jnp.argmin(jnp.where(size > 0, jnp.matmul(centres, frame), jnp.inf))
    return kept & (label == first)
