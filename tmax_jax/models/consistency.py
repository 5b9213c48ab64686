"""The curve that a voxel's estimates predict, and how far the measured one is from it: a loss without a target."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.blocks import ModelError
from tmax_jax.models.voxelwise import Estimate
from tmax_jax.perfusion.alignment import BEFORE_S, POINTS, Aligned
from tmax_jax.perfusion.fourier import irfft, rfft
from tmax_jax.perfusion.parametric import ML_PER_GRAM

_LEAST_NOISE = 0.02  # of a curve of unit norm: what the exponential residue function does not explain


def predicted_curve(estimate: Estimate, found: Aligned) -> jax.Array:
    """Convolves the artery with the residue function that delay, flow and transit time describe.

    The residue function is exponential and each second of it is integrated in closed form, so that the curve moves
    smoothly with the delay.

    Args:
      estimate: fields `[...]`; delay, flow and transit time are used.
      found: the artery and its units, `[..., point]` and `[...]`.

    Returns:
      `[..., point]`, in the unit of `found.curve`.
    """
    mtt_s = estimate.mtt_s[..., None]
    flow = estimate.cbf / (6000.0 * ML_PER_GRAM * (found.flow_unit + 1e-6))
    edges = (jnp.arange(2 * POINTS + 1) - POINTS - 0.5).reshape((1,) * flow.ndim + (-1,))
    since_s = jnp.maximum(edges - estimate.delay_s[..., None], 0.0)
    kernel = flow[..., None] * jnp.diff(mtt_s * -jnp.expm1(-since_s / mtt_s), axis=-1)
    spectrum = rfft(jnp.roll(kernel, -POINTS, axis=-1), 2 * POINTS) * rfft(found.artery, 2 * POINTS)
    return irfft(spectrum, 2 * POINTS)[..., :POINTS]


def curve_misfit(estimate: Estimate, found: Aligned) -> jax.Array:
    """Returns the mean squared difference of predicted and measured curve, in units of the curve's noise.

    Args:
      estimate: of each voxel.
      found: what was measured.

    Returns:
      `[...]`, about 1 where the estimates explain the curve. Seconds after the end of the scan do not count.
    """
    second = (jnp.arange(POINTS) - BEFORE_S).reshape((1,) * found.seen_s.ndim + (-1,))
    seen = second <= found.seen_s[..., None]
    difference = jnp.where(seen, predicted_curve(estimate, found) - found.curve, 0.0)
    variance = found.noise**2 + _LEAST_NOISE**2
    return jnp.sum(difference**2, axis=-1) / (jnp.maximum(jnp.sum(seen, axis=-1), 1) * variance)


def make_penalty(model: nn.Module, weight: float) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """Returns a loss of a patient that needs no target.

    Args:
      model: with a method `estimate`.
      weight: of the loss.

    Returns:
      A function of variables, channels `[case, z, y, x, CHANNELS]` and mask that gives `[case]`: the mean over the mask
      of log(1 + misfit), which a vessel or an artefact cannot govern.

    Raises:
      ModelError: the network gives a map alone.
    """
    if not hasattr(model, "estimate"):
        raise ModelError(
            f"config.loss.consistency needs a network that estimates flow and transit time ('voxelwise', 'filtered');"
            f" {type(model).__name__} gives a map alone"
        )

    def penalty(variables: Any, channels: jax.Array, mask: jax.Array) -> jax.Array:
        estimate: Any = model.apply(variables, channels, train=True, method="estimate")
        misfit = jnp.log1p(curve_misfit(estimate, Aligned.from_channels(channels)))
        total = jnp.sum(misfit, axis=(1, 2, 3), where=mask)
        return weight * total / jnp.maximum(jnp.sum(mask, axis=(1, 2, 3)), 1)

    return penalty
