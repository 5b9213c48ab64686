"""Deconvolution with a learned filter, and a network on top that starts as the classical map."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.pointwise import Pointwise
from tmax_jax.models.voxelwise import (
    QUANTITIES,
    UNIT_S,
    Estimate,
    as_estimate,
    check_channels,
    read,
    scalar_channels,
    with_negative_times,
)
from tmax_jax.perfusion.alignment import POINTS, Aligned
from tmax_jax.perfusion.fourier import irfft, rfft
from tmax_jax.perfusion.parametric import tmax_s


class LearnedFilter(nn.Module):
    """Division by the artery's spectrum, damped as much as a small network says for each frequency.

    The damping starts as Tikhonov's: the learned factor is 1 before the first step.
    """

    features: int = 16
    strength: float = 0.1  # of Tikhonov's damping, as a fraction of the artery's largest singular value

    @nn.compact
    def __call__(self, found: Aligned) -> jax.Array:
        """Returns the residue function of aligned curves, `[..., 2 * POINTS]`, negative times in its second half."""
        artery = rfft(found.artery, 2 * POINTS)
        power = jnp.abs(artery) ** 2
        largest = jnp.max(power, axis=-1, keepdims=True)
        tikhonov = jnp.conj(artery) / jnp.maximum(power + self.strength**2 * largest, jnp.finfo(power.dtype).tiny)
        relative = 0.5 * jnp.log10(power / jnp.maximum(largest, 1e-12) + 1e-8)
        frequency = jnp.linspace(0.0, 1.0, POINTS + 1).reshape((1,) * (power.ndim - 1) + (-1,))
        noise = jnp.log(found.noise + 1e-3)[..., None]
        seen = jnp.stack(jnp.broadcast_arrays(relative, frequency, noise), axis=-1)
        hidden = nn.gelu(nn.Dense(self.features, name="hidden")(seen))
        factor = jnp.exp(nn.Dense(1, kernel_init=nn.initializers.zeros, name="log_gain")(hidden)[..., 0])
        return irfft(rfft(found.curve, 2 * POINTS) * tikhonov * factor, 2 * POINTS)


class Filtered(nn.Module):
    """A learned filter, the classical reading of its residue function, and layers that correct the reading.

    Before the first step the correction is 0, and the map is that of `deconvolve(..., method="tikhonov")`.

    Reference:
      Bachlechner et al. 2020, arXiv:2003.04887 (a gate that starts at 0).
    """

    features: tuple[int, ...] = (256, 256, 256)
    strength: float = 0.1
    activation: str = "gelu"
    reads: str = "classical"  # as in `Voxelwise`
    dtype: str = "float32"

    def setup(self) -> None:
        """Makes the layers."""
        outputs = 2 * len(QUANTITIES)
        self.filter = LearnedFilter(strength=self.strength, name="filter")
        self.layers = Pointwise(self.features, self.activation, "none", 0.0, outputs, self.dtype, name="layers")
        self.gate = self.param("gate", nn.initializers.zeros, (outputs,))

    def __call__(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> jax.Array:
        """Maps channels `[case, z, y, x, CHANNELS]` to Tmax in seconds, `[case, z, y, x]`.

        Args:
          perfusion: as `Aligned.channels` returns them.
          train: changes nothing here; every network takes it.
          valid: changes nothing here.

        Raises:
          ModelError: another number of channels, or an unknown quantity to read.
        """
        return read(self.estimate(perfusion, train=train, valid=valid), self.reads)

    def estimate(self, perfusion: jax.Array, *, train: bool, valid: jax.Array | None = None) -> Estimate:
        """Returns all that the network says of each voxel; `model.apply(..., method="estimate")` calls it.

        Args:
          perfusion: as for `__call__`.
          train: as for `__call__`.
          valid: as for `__call__`.
        """
        check_channels(perfusion)
        found = Aligned.from_channels(perfusion)
        residue = self.filter(found)
        curves = [4.0 * found.curve, 8.0 * found.artery, with_negative_times(residue), scalar_channels(perfusion)]
        correction = self.layers(jnp.concatenate(curves, axis=-1), train=train, valid=valid)
        correction = correction * self.gate.reshape((1,) * (correction.ndim - 1) + (-1,))
        classical = tmax_s(residue, dt=1.0) / UNIT_S
        start = jnp.stack([classical, classical, *[jnp.zeros_like(classical)] * (correction.shape[-1] - 2)], axis=-1)
        return as_estimate(start + correction, found)
