"""Simulated patients and motion beyond the usual: what a method must also withstand."""

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.motion import rigid
from tmax_jax.perfusion.phantom import Subject, draw_subject


def draw_varied_subject(seed: int, number: int) -> Subject:
    """Draws the patient of `draw_subject` with the scan and the physics spread over all that is published.

    Args:
      seed: of the cohort.
      number: of the patient in it.

    Returns:
      The patient: SNR 10 to 200, a frame every 1 to 2.5 s, echo times of 25 to 45 ms, exponential to box-shaped residue
      functions, half of the patients with a dispersed bolus, a quarter with leakage.

    Example:
      >>> subject = draw_varied_subject(0, 1)
      >>> subject.head == draw_subject(0, 1).head, 10 <= subject.snr <= 200
      (True, True)
    """
    rng = np.random.default_rng((seed, number, 2))
    family = int(rng.integers(0, 4))
    return draw_subject(seed, number)._replace(
        snr=float(10 * 20 ** rng.uniform()),
        frame_interval_s=round(float(rng.uniform(1.0, 2.5)), 3),
        echo_time_s=round(float(rng.uniform(0.025, 0.045)), 4),
        residue_family=max(0, family - 1),
        residue_shape=1.0 if family == 0 else float(rng.uniform(1.5, 6.0)),
        dispersion_s=float(rng.uniform(1.5, 4.5)) if rng.uniform() < 0.5 else 0.0,
        leakage_per_s=float(rng.uniform(0.01, 0.05)) if rng.uniform() < 0.25 else 0.0,
    )


def draw_motion(key: jax.Array, frames: int, *, largest_mm: float = 3.0, largest_rad: float = 0.04) -> jax.Array:
    """Draws how a restless head moves: still at first, then drifting, with a sudden turn now and then.

    Args:
      key: of `jax.random`.
      frames: number of time points.
      largest_mm: about the largest translation.
      largest_rad: about the largest rotation.

    Returns:
      `[time, 4, 4]` as `motion.apply_motion` takes it; the identity in the first six frames.

    Example:
      >>> draw_motion(jax.random.key(0), 40).shape
      (40, 4, 4)
    """
    keys = jax.random.split(key, 3)
    drift = jnp.cumsum(jax.random.normal(keys[0], (frames, 6)), axis=0) / jnp.sqrt(1.0 * frames)
    sudden = (jax.random.uniform(keys[1], (frames, 1)) < 0.08) * jax.random.normal(keys[2], (frames, 6))
    path = 0.5 * drift + 0.4 * jnp.cumsum(sudden, axis=0)
    path = jnp.where(jnp.arange(frames)[:, None] < 6, 0.0, jnp.tanh(path))
    return rigid(largest_rad * path[:, :3], largest_mm * path[:, 3:])
