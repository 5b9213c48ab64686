"""When the bolus arrives, and whether there is one at all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

NON_STEADY_FRAMES = 2  # frames before the magnetisation has settled; they are no baseline
LEAST_BASELINE_FRAMES = 3  # settled ones, before the bolus
LEAST_FALL = 0.03  # of the mean signal of the head, scalp included; a brain's alone falls by 10 % and more
LEAST_PEAK_OVER_NOISE = 5.0
_STEPS = 4  # a frame, in which the arrival is sought


class PerfusionError(ValueError):
    """A scan of which no perfusion map can be made."""


class Bolus(NamedTuple):
    """The bolus in a mean signal; each `[...]`."""

    found: jax.Array  # bool
    arrival: jax.Array  # float32, frames, of the last moment before the fall
    peak: jax.Array  # int32, frame of the lowest signal
    fall: jax.Array  # fraction of the baseline by which the signal falls
    peak_over_noise: jax.Array  # of -ln(signal), in standard deviations of the baseline
    early: jax.Array  # bool: it comes before there is a baseline
    late: jax.Array  # bool: the scan ends before it has passed


def bolus_arrival(curve: jax.Array, *, tolerance: float = 0.05) -> jax.Array:
    """Finds the last frame before the bolus: the next one leaves the running mean of the baseline.

    Meant for the mean curve of a brain; a single voxel's noise leaves its baseline earlier than the bolus does.

    Args:
      curve: `[..., time]`, signal.
      tolerance: fraction of the running mean within which a frame still is baseline.

    Returns:
      Frame index, int32 `[...]`; the number of frames where no bolus is found.

    Example:
      >>> bolus_arrival(jnp.array([130.0, 110.0, 100, 101, 99, 100, 100, 90, 70, 60, 80])).item()
      6
    """
    frames = curve.shape[-1]
    settled = curve[..., NON_STEADY_FRAMES:-1]
    count = jnp.arange(1, settled.shape[-1] + 1, dtype=curve.dtype).reshape((1,) * (curve.ndim - 1) + (-1,))
    running_mean = jnp.cumsum(settled, axis=-1) / count
    leaves = jnp.abs(curve[..., NON_STEADY_FRAMES + 1 :] - running_mean) > tolerance * running_mean
    first = jnp.argmax(leaves, axis=-1) + NON_STEADY_FRAMES
    return jnp.where(jnp.any(leaves, axis=-1), first, frames).astype(jnp.int32)


def piecewise_arrival(curve: jax.Array, peak: jax.Array) -> jax.Array:
    """Finds the bolus arrival as the bend of a level line into a rising one, by least squares.

    It uses all frames up to the peak and so finds the bend between frames, where `bolus_arrival` waits for the signal
    to leave the noise.

    Args:
      curve: `[..., time]`, rising with the bolus: concentration, or -ln(signal).
      peak: int `[...]`, frame up to which the curve is looked at.

    Returns:
      float32 `[...]`, frames, to a quarter of a frame.

    Example:
      >>> curve = jnp.maximum(0.0, jnp.arange(20.0) - 8.5)
      >>> piecewise_arrival(curve, jnp.array(14)).item()
      8.5

    Reference:
      Cheong et al., Phys Med Biol 2003;48:N83 (the bend, for arrival times of contrast agent).
    """
    frames = curve.shape[-1]
    frame = jnp.arange(frames, dtype=curve.dtype)
    bends = jnp.arange(NON_STEADY_FRAMES * _STEPS, (frames - 1) * _STEPS, dtype=curve.dtype) / _STEPS
    ramp = jnp.maximum(0.0, frame.reshape(-1, 1) - bends.reshape(1, -1))  # [time, bend]
    at = frame.reshape((1,) * (curve.ndim - 1) + (-1,))
    seen = (at >= NON_STEADY_FRAMES) & (at <= peak[..., None].astype(curve.dtype))
    weight = seen.astype(curve.dtype)
    count = jnp.maximum(jnp.sum(weight, axis=-1, keepdims=True), 1.0)
    centred = weight * (curve - jnp.sum(weight * curve, axis=-1, keepdims=True) / count)
    exact = jax.lax.Precision.HIGHEST
    covariance = jnp.matmul(centred, ramp, precision=exact)
    mean_ramp = jnp.matmul(weight, ramp, precision=exact)
    variance = jnp.matmul(weight, ramp**2, precision=exact) - mean_ramp**2 / count
    bent = variance > 1e-3  # else no frame lies after the bend
    explained = jnp.where(bent & (covariance > 0), covariance**2 / jnp.where(bent, variance, 1.0), -1.0)
    return bends[jnp.argmax(explained, axis=-1)]


@jax.jit
def find_bolus(mean_signal: jax.Array) -> Bolus:
    """Looks for a bolus in the mean signal of a head.

    Args:
      mean_signal: `[..., time]`, falling with the bolus; without missing frames.

    Returns:
      What was found. A bolus falls by at least `LEAST_FALL` and five times the noise, and passes within the scan.

    Example:
      >>> bool(find_bolus(jnp.full(40, 100.0)).found)
      False
    """
    frames = mean_signal.shape[-1]
    frame = jnp.arange(frames).reshape((1,) * (mean_signal.ndim - 1) + (-1,))
    settled = frame >= NON_STEADY_FRAMES
    fall = -jnp.log(jnp.maximum(mean_signal, jnp.finfo(jnp.float32).tiny))
    peak = jnp.argmax(jnp.where(settled, fall, -jnp.inf), axis=-1).astype(jnp.int32)
    arrival = piecewise_arrival(fall, peak)
    before = settled & (frame <= arrival[..., None])
    level = jnp.mean(fall, axis=-1, where=before)
    noise = jnp.std(fall, axis=-1, where=before)
    height = jnp.take_along_axis(fall, peak[..., None], axis=-1)[..., 0] - level
    after = frame > peak[..., None]
    recovered = jnp.max(jnp.where(after, level[..., None] + height[..., None] - fall, 0.0), axis=-1)
    early = arrival < NON_STEADY_FRAMES + LEAST_BASELINE_FRAMES - 1
    late = recovered < 0.25 * height
    over_noise = height / jnp.maximum(noise, 1e-6)
    depth = 1.0 - jnp.exp(-height)
    found = (depth >= LEAST_FALL) & (over_noise >= LEAST_PEAK_OVER_NOISE) & ~early & ~late
    return Bolus(found, arrival, peak, depth, over_noise, early, late)


def require_bolus(bolus: Bolus) -> None:
    """Refuses, on the host, to go on with a scan that shows no bolus.

    Args:
      bolus: of one scan, as `find_bolus` returns it.

    Raises:
      PerfusionError: no bolus was found; the message says what was seen instead, and what to do.
    """
    if bool(bolus.found):
        return
    seen = f"the mean signal falls by {float(bolus.fall):.1%}, {float(bolus.peak_over_noise):.1f} times its noise"
    if float(bolus.fall) < LEAST_FALL or float(bolus.peak_over_noise) < LEAST_PEAK_OVER_NOISE:
        raise PerfusionError(
            f"no bolus found: {seen}; wanted at least {LEAST_FALL:.0%} and {LEAST_PEAK_OVER_NOISE:g} times. Check that"
            " this is the series with contrast agent and that the mask covers the brain"
        )
    if bool(bolus.early):
        raise PerfusionError(
            f"no baseline before the bolus: it arrives at frame {float(bolus.arrival):.1f}; wanted at least"
            f" {LEAST_BASELINE_FRAMES} settled frames after the first {NON_STEADY_FRAMES}. The scan started too late"
        )
    raise PerfusionError(
        f"the scan ends before the bolus has passed: {seen} at frame {int(bolus.peak)} and does not recover. Check that"
        " all frames are there"
    )
