"""Residue functions: the fraction of a tracer impulse that is still in the tissue after a time.

Each is 1 at time 0 and has the mean transit time as its integral.
"""

import jax
import jax.numpy as jnp


def exponential(time_s: jax.Array, mtt_s: jax.Array) -> jax.Array:
    """One well-mixed compartment."""
    return jnp.exp(-time_s / mtt_s)


def box(time_s: jax.Array, mtt_s: jax.Array) -> jax.Array:
    """Plug flow: everything leaves after the mean transit time."""
    return jnp.where(time_s < mtt_s, 1.0, 0.0)


def linear(time_s: jax.Array, mtt_s: jax.Array) -> jax.Array:
    """Transit times spread evenly between 0 and twice their mean."""
    return jnp.maximum(0.0, 1.0 - time_s / (2.0 * mtt_s))


def gamma(time_s: jax.Array, mtt_s: jax.Array, *, shape: float = 3.0) -> jax.Array:
    """Transit times of a gamma distribution: shape 1 is `exponential`, shape 100 nearly `box`.

    Reference:
      Mouridsen et al., NeuroImage 2006;33:570.
    """
    shapes = jnp.full(jnp.broadcast_shapes(time_s.shape, mtt_s.shape), shape, time_s.dtype)
    return jax.scipy.special.gammaincc(shapes, shape * time_s / mtt_s)


RESIDUES = {"exponential": exponential, "box": box, "linear": linear, "gamma": gamma}


def residue(name: str, time_s: jax.Array, mtt_s: jax.Array, delay_s: jax.Array | float = 0.0) -> jax.Array:
    """Returns a residue function by its name, arriving late by `delay_s`.

    Args:
      name: one of `RESIDUES`.
      time_s: seconds since the impulse in the artery; of the same rank as `mtt_s`.
      mtt_s: mean transit time in seconds, broadcastable with `time_s`.
      delay_s: arterial delay in seconds, broadcastable with `time_s`.

    Returns:
      Fraction left in the tissue; 0 before the delay has passed.

    Raises:
      ValueError: the name is unknown.

    Example:
      >>> residue("linear", jnp.array([0.0, 1.0, 3.0]), jnp.array([2.0]), delay_s=1.0).tolist()
      [0.0, 1.0, 0.5]
    """
    if name not in RESIDUES:
        raise ValueError(f"unknown residue function {name!r}; choose one of {', '.join(RESIDUES)}")
    since_s = time_s - delay_s
    return jnp.where(since_s < 0, 0.0, RESIDUES[name](jnp.maximum(since_s, 0.0), mtt_s))
