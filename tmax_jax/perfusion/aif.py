"""The arterial input function: what arrives with the blood."""

import jax
import jax.numpy as jnp


def gamma_variate(
    time_s: jax.Array, *, arrival_s: float | jax.Array, rise_s: float | jax.Array, shape: float | jax.Array = 3.0
) -> jax.Array:
    """Returns the first pass of a bolus, 1 at its peak.

    Args:
      time_s: seconds, any shape.
      arrival_s: when the bolus arrives.
      rise_s: seconds from arrival to peak.
      shape: exponent; larger is narrower at the same rise.

    Returns:
      Like `time_s`; 0 before the arrival.

    Example:
      >>> gamma_variate(jnp.array([9.0, 14.5]), arrival_s=10.0, rise_s=4.5).tolist()
      [0.0, 1.0]

    Reference:
      Madsen, Phys Med Biol 1992;37:1597.
    """
    after = time_s > arrival_s
    phase = jnp.where(after, (time_s - arrival_s) / rise_s, 1.0)  # 1 keeps value and gradient finite before arrival
    return jnp.where(after, jnp.exp(shape * (jnp.log(phase) + 1.0 - phase)), 0.0)


def arterial_input(
    time_s: jax.Array,
    *,
    arrival_s: float | jax.Array,
    rise_s: float | jax.Array,
    shape: float | jax.Array,
    recirculation: float | jax.Array,
    recirculation_delay_s: float | jax.Array,
) -> jax.Array:
    """Returns a first pass followed by the tail of blood that comes round again.

    The tail is the running integral of a first pass that comes later and twice as wide: contrast agent mixes into the
    blood pool and stays.

    Args:
      time_s: seconds, any shape.
      arrival_s: when the bolus arrives.
      rise_s: seconds from arrival to first peak.
      shape: exponent of the gamma variate.
      recirculation: height of the tail as a fraction of the first peak; 0.13 to 0.41 is published.
      recirculation_delay_s: seconds from first arrival to the second.

    Returns:
      Like `time_s`, in units of the first peak.
    """
    first = gamma_variate(time_s, arrival_s=arrival_s, rise_s=rise_s, shape=shape)
    phase = jnp.maximum(time_s - arrival_s - recirculation_delay_s, 0.0) / (2.0 * rise_s)
    mixed = jax.scipy.special.gammainc(jnp.full_like(phase, shape + 1.0), shape * phase)
    return first + recirculation * mixed


def simpson(aif: jax.Array) -> jax.Array:
    """Returns an artery smoothed by Simpson's rule, which takes curve and residue function as straight between frames.

    Args:
      aif: `[..., time]`.

    Returns:
      Like `aif`, for use in its place in a deconvolution; the ends stay as they are.

    Example:
      >>> simpson(jnp.array([0.0, 6.0, 0.0, 0.0])).tolist()
      [0.0, 4.0, 1.0, 0.0]

    Reference:
      Ostergaard et al., Magn Reson Med 1996;36:715.
    """
    inner = (aif[..., :-2] + 4.0 * aif[..., 1:-1] + aif[..., 2:]) / 6.0
    return jnp.concatenate([aif[..., :1], inner, aif[..., -1:]], axis=-1)
