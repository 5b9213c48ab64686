"""Between the scanner's signal and the contrast agent's concentration, with the noise in between.

Concentration is the change of the transverse relaxation rate, dR2* in 1/s, to which it is proportional.
"""

import jax
import jax.numpy as jnp

NON_STEADY_FRAMES = 2  # frames before the magnetisation has settled; they are no baseline
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


def signal_to_concentration(signal: jax.Array, baseline: jax.Array, *, echo_time_s: float | jax.Array) -> jax.Array:
    """Returns dR2* = -ln(signal / baseline) / echo_time, finite for every signal.

    Args:
      signal: `[..., time]`.
      baseline: `[...]`, as from `baseline_signal`; where it is not positive there is no tissue and the result is 0.
      echo_time_s: echo time in seconds.

    Returns:
      Concentration `[..., time]`, dR2* in 1/s.

    Example:
      >>> signal = jnp.array([100.0, 100.0, 100.0 * jnp.exp(-0.3)])
      >>> signal_to_concentration(signal, jnp.array(100.0), echo_time_s=0.03).round(3).tolist()
      [-0.0, -0.0, 10.0]
    """
    tissue = baseline[..., None] > 0
    ratio = jnp.where(tissue, signal / jnp.where(tissue, baseline[..., None], 1.0), 1.0)
    return -jnp.log(jnp.maximum(ratio, _SMALLEST_RATIO)) / echo_time_s


def baseline_signal(signal: jax.Array, arrival_frame: int | jax.Array) -> jax.Array:
    """Returns the mean of the settled frames before the bolus.

    Args:
      signal: `[..., time]`.
      arrival_frame: integer, scalar or `[...]`: the last frame that still belongs to the baseline.

    Returns:
      Baseline `[...]`, in the unit of `signal`; at least one frame counts, however early the bolus.
    """
    frame = jnp.arange(signal.shape[-1]).reshape((1,) * (signal.ndim - 1) + (-1,))
    last = jnp.broadcast_to(jnp.maximum(arrival_frame, NON_STEADY_FRAMES), signal.shape[:-1])[..., None]
    return jnp.mean(signal, axis=-1, where=(frame >= NON_STEADY_FRAMES) & (frame <= last))


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
