"""Between the scanner's signal and the contrast agent's concentration.

Concentration is the change of the transverse relaxation rate, dR2* in 1/s, to which it is proportional.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES, Bolus, bolus_arrival, find_bolus
from tmax_jax.perfusion.sampling import fill_missing

FIRST_PASS_FRAMES = 25  # after the arrival, in which a voxel's peak is looked for
_BOLUS_OVER_NOISE = 3.0  # a bolus falls this much deeper than the deepest frame of the baseline
_SMALLEST_RATIO = 1e-3  # of signal to baseline; below it the logarithm is noise


def concentration_to_signal(
    concentration: jax.Array, baseline: jax.Array, *, echo_time_s: float | jax.Array
) -> jax.Array:
    """Returns the gradient-echo signal `baseline * exp(-echo_time * concentration)`.

    Args:
      concentration: `[..., time]`, dR2* in 1/s.
      baseline: `[...]`, signal without contrast agent.
      echo_time_s: echo time in seconds.

    Returns:
      Signal `[..., time]` in the unit of `baseline`.

    Reference:
      Rosen et al., Magn Reson Med 1990;14:249.
    """
    return baseline[..., None] * jnp.exp(-echo_time_s * concentration)


class Concentration(NamedTuple):
    """A scan's concentration curves, and how far they can be trusted."""

    curves: jax.Array  # float32 [..., time], dR2* in 1/s, 0 outside the mask and before the signal has settled
    baseline: jax.Array  # [...], signal without contrast agent
    clamped: jax.Array  # bool [..., time], where the signal was so low that the logarithm was cut off
    bolus: Bolus  # in the mean signal of the mask


def relaxation_change(signal: jax.Array, baseline: jax.Array, *, echo_time_s: float | jax.Array) -> jax.Array:
    """Returns dR2* = -ln(signal / baseline) / echo_time, finite for every signal.

    Args:
      signal: `[..., time]`.
      baseline: `[...]`, as from `baseline_signal`; where it is not positive there is no tissue and the result is 0.
      echo_time_s: echo time in seconds.

    Returns:
      Concentration `[..., time]`, dR2* in 1/s.

    Example:
      >>> signal = jnp.array([100.0, 100.0, 100.0 * jnp.exp(-0.3)])
      >>> relaxation_change(signal, jnp.array(100.0), echo_time_s=0.03).round(3).tolist()
      [-0.0, -0.0, 10.0]
    """
    return -_log_ratio(signal, baseline) / echo_time_s


@jax.jit
def signal_to_concentration(
    signal: jax.Array,
    *,
    echo_time_s: float | jax.Array,
    mask: jax.Array,
    inserted: jax.Array | None = None,
    second_echo: jax.Array | None = None,
    second_echo_time_s: float | jax.Array | None = None,
) -> Concentration:
    """Turns one scan's signal into concentration, with the baseline and the bolus found in its own mean curve.

    With two echoes the change of R2* needs no baseline of T1, since both echoes share it: where contrast agent leaks,
    one echo reads too little.

    Args:
      signal: `[..., time]`, of all the scan's voxels.
      echo_time_s: echo time in seconds.
      mask: bool `[...]`, True = brain.
      inserted: bool, broadcastable to `[..., time]` with as many axes, True where an image was missing; such frames are
        filled in from their neighbours in time and count for nothing.
      second_echo: `[..., time]`, signal of the later echo.
      second_echo_time_s: its echo time in seconds.

    Returns:
      The curves. Where `bolus.found` is False they hold no bolus, and no map may be made of them; on the host,
      `require_bolus` says so.

    Raises:
      ValueError: one of the second echo and its echo time is missing.

    Example:
      >>> curve = 100.0 - 40.0 * jnp.exp(-0.5 * ((jnp.arange(40.0) - 15.0) / 2.0) ** 2)
      >>> found = signal_to_concentration(curve.reshape(1, -1), echo_time_s=0.03, mask=jnp.array([True]))
      >>> bool(found.bolus.found), round(found.curves.max().item(), 1)
      (True, 16.9)

    References:
      Rosen et al., Magn Reson Med 1990;14:249. Vonken et al., J Magn Reson Imaging 1999;10:109 (two echoes).
    """
    if (second_echo is None) != (second_echo_time_s is None):
        raise ValueError("a second echo needs both its signal and its echo time; one of them is missing")
    signal = signal.astype(jnp.promote_types(signal.dtype, jnp.float32))
    present = jnp.broadcast_to(True if inserted is None else ~inserted, signal.shape)
    if inserted is not None:
        signal = fill_missing(signal, present)
    mean_curve = jnp.sum(jnp.where(mask[..., None], signal, 0.0), axis=range(mask.ndim)) / jnp.maximum(jnp.sum(mask), 1)
    bolus = find_bolus(jax.lax.stop_gradient(mean_curve))
    last = bolus.arrival.astype(jnp.int32)
    baseline = baseline_signal(signal, last, present)
    clamped = _is_clamped(signal, baseline)
    if second_echo is None or second_echo_time_s is None:
        curves = relaxation_change(signal, baseline, echo_time_s=echo_time_s)
    else:
        later = fill_missing(second_echo.astype(signal.dtype), present)
        later_baseline = baseline_signal(later, last, present)
        clamped |= _is_clamped(later, later_baseline)
        change = _log_ratio(signal, baseline) - _log_ratio(later, later_baseline)
        curves = change / (second_echo_time_s - jnp.asarray(echo_time_s))
    steady = jnp.arange(signal.shape[-1]) >= NON_STEADY_FRAMES  # before, brightness is no concentration
    inside = mask[..., None] & steady.reshape((1,) * mask.ndim + (-1,))
    return Concentration(jnp.where(inside, curves, 0.0), baseline, clamped & inside, bolus)


def _safe_ratio(signal: jax.Array, baseline: jax.Array) -> jax.Array:
    tissue = baseline[..., None] > 0
    return jnp.where(tissue, signal / jnp.where(tissue, baseline[..., None], 1.0), 1.0)


def _is_clamped(signal: jax.Array, baseline: jax.Array) -> jax.Array:
    return _safe_ratio(signal, baseline) < _SMALLEST_RATIO


def _log_ratio(signal: jax.Array, baseline: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(_safe_ratio(signal, baseline), _SMALLEST_RATIO))


def baseline_signal(signal: jax.Array, arrival_frame: int | jax.Array, present: jax.Array | None = None) -> jax.Array:
    """Returns the mean of the settled frames before the bolus.

    Args:
      signal: `[..., time]`.
      arrival_frame: integer, scalar or `[...]`: the last frame that still belongs to the baseline.
      present: bool `[..., time]`, False where an image was missing.

    Returns:
      Baseline `[...]`, in the unit of `signal`. At least one frame counts, however early the bolus; 0 if none is there.
    """
    frame = jnp.arange(signal.shape[-1]).reshape((1,) * (signal.ndim - 1) + (-1,))
    last = jnp.broadcast_to(jnp.maximum(arrival_frame, NON_STEADY_FRAMES), signal.shape[:-1])[..., None]
    counts = (frame >= NON_STEADY_FRAMES) & (frame <= last)
    counts = counts if present is None else counts & present
    return jnp.sum(signal, axis=-1, where=counts) / jnp.maximum(jnp.sum(counts, axis=-1), 1)


def time_to_peak_s(signal: jax.Array, mask: jax.Array, *, frame_interval_s: float | jax.Array) -> jax.Array:
    """Measures when each voxel's signal is lowest, from the bolus arrival in the whole brain.

    It needs no arterial input function, so it is the least that a Tmax map must be better than.

    Args:
      signal: `[..., z, y, x, time]`; a frame of 0 is a missing image and is never the peak.
      mask: bool `[..., z, y, x]`, True = brain.
      frame_interval_s: seconds between frames, scalar or `[...]`.

    Returns:
      float32 `[..., z, y, x]`, seconds; 0 outside the mask, and where no bolus is found: the signal falls below its
      baseline by less than three times what it did before the arrival, as noise in scalp and bone does.
    """
    signal = signal.astype(jnp.float32)
    present = mask[..., None] & (signal > 0)
    mean_curve = jnp.sum(jnp.where(present, signal, 0.0), axis=(-4, -3, -2))
    mean_curve = mean_curve / jnp.maximum(jnp.sum(present, axis=(-4, -3, -2)), 1)
    arrival = bolus_arrival(mean_curve)[..., None, None, None]
    frame = jnp.arange(signal.shape[-1]).reshape((1,) * (signal.ndim - 1) + (-1,))
    before = present & (frame >= NON_STEADY_FRAMES) & (frame <= arrival[..., None])
    lowest_before = jnp.min(jnp.where(before, signal, jnp.inf), axis=-1)
    baseline = jnp.sum(jnp.where(before, signal, 0.0), axis=-1) / jnp.maximum(jnp.sum(before, axis=-1), 1)
    threshold = baseline - _BOLUS_OVER_NOISE * (baseline - lowest_before)
    after = present & (frame > arrival[..., None]) & (frame <= arrival[..., None] + FIRST_PASS_FRAMES)
    bolus = jnp.where(after, signal, jnp.inf)
    found = mask & (jnp.min(bolus, axis=-1) < threshold) & jnp.any(before, axis=-1)
    interval_s = jnp.asarray(frame_interval_s, jnp.float32)
    interval_s = jnp.broadcast_to(interval_s, mask.shape[:-3])[..., None, None, None]
    return jnp.where(found, (jnp.argmin(bolus, axis=-1) - arrival) * interval_s, 0.0)


def rician_noise(key: jax.Array, signal: jax.Array, sd: float | jax.Array) -> jax.Array:
    """Returns the magnitude of `signal` after complex Gaussian noise, as a magnitude image has it.

    Args:
      key: of `jax.random`.
      signal: any shape, not negative.
      sd: standard deviation of either channel, in the unit of `signal`.

    Returns:
      Like `signal`.

    Reference:
      Gudbjartsson and Patz, Magn Reson Med 1995;34:910.
    """
    noise = jax.random.normal(key, (2, *signal.shape), signal.dtype) * sd
    return jnp.hypot(signal + noise[0], noise[1])


def approach_to_steady_state(frames: int, *, excess: float | jax.Array) -> jax.Array:
    """Returns the factor by which the first frames are brighter, before the magnetisation has settled.

    Args:
      frames: number of frames.
      excess: extra signal of frame 0 as a fraction; a quarter of it is left a frame later.

    Returns:
      float32 `[time]`, exactly 1 after the first `NON_STEADY_FRAMES`.
    """
    frame = jnp.arange(frames, dtype=jnp.float32)
    return jnp.where(frame < NON_STEADY_FRAMES, 1.0 + excess * 0.25**frame, 1.0)
