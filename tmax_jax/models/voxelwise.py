"""A network that reads a voxel's curve beside the artery's, on the grid of `perfusion.alignment`."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tmax_jax.models.blocks import ModelError
from tmax_jax.models.pointwise import Pointwise
from tmax_jax.perfusion.alignment import BEFORE_S, CHANNELS, POINTS, SCALARS, Aligned
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.parametric import ML_PER_GRAM

QUANTITIES = ("delay", "classical", "cbf", "mtt")  # in the order of the outputs
UNIT_S, _MTT_S = 10.0, 8.0  # which an output of 1, and of 0, mean


class Estimate(NamedTuple):
    """What is known of a voxel: medians, and the scales of the Laplace distributions about them; each `[...]`.

    An interval that holds a share p of the distribution reaches `-scale * log(1 - p)` to either side: 2.30 scales for
    90 %.
    """

    delay_s: jax.Array  # true arterial delay
    classical_s: jax.Array  # Tmax as block-circulant deconvolution (10 %) would read it without noise
    log_cbf: jax.Array  # of ml/100 g/min
    log_mtt: jax.Array  # of seconds
    scales: jax.Array  # [..., 4], of the four above, in their units

    @property
    def cbf(self) -> jax.Array:
        """Cerebral blood flow in ml/100 g/min."""
        return jnp.exp(self.log_cbf)

    @property
    def mtt_s(self) -> jax.Array:
        """Mean transit time in seconds."""
        return jnp.exp(self.log_mtt)

    @property
    def cbv(self) -> jax.Array:
        """Cerebral blood volume in ml/100 g, by the central volume theorem."""
        return self.cbf * self.mtt_s / 60.0


class Voxelwise(nn.Module):
    """Layers on a voxel's curve, the artery's, and what fixed deconvolutions make of them.

    It does not see how high the curve is beside the artery's: delay and transit time do not depend on it, and partial
    volume spoils it. Flow is scaled by it at the end.
    """

    features: tuple[int, ...] = (256, 256, 256)
    strengths: tuple[float, ...] = (0.1, 0.3)  # of the Tikhonov deconvolutions that it sees; () for none
    activation: str = "gelu"
    reads: str = "classical"  # what a call returns: "classical" Tmax, as a package would print, or the "delay"
    dtype: str = "float32"

    def setup(self) -> None:
        """Makes the layers."""
        outputs = 2 * len(QUANTITIES)
        self.layers = Pointwise(self.features, self.activation, "none", 0.0, outputs, self.dtype, name="layers")

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
        deconvolved = functools.partial(deconvolve, found.curve, found.artery, dt=1.0, method="tikhonov")
        residues = [with_negative_times(deconvolved(strength=strength)) for strength in self.strengths]
        curves = [4.0 * found.curve, 8.0 * found.artery, *residues, scalar_channels(perfusion)]
        return as_estimate(self.layers(jnp.concatenate(curves, axis=-1), train=train, valid=valid), found)


def check_channels(perfusion: jax.Array) -> None:
    """Raises a ModelError unless these are the channels of aligned curves."""
    if perfusion.shape[-1] != CHANNELS:
        raise ModelError(
            f"the network takes the {CHANNELS} channels of aligned curves and got {perfusion.shape[-1]}; set"
            " config.data.inputs = ('aligned',)"
        )


def read(estimate: Estimate, name: str) -> jax.Array:
    """Returns the Tmax that is asked for, in seconds.

    Raises:
      ModelError: an unknown quantity.
    """
    if name not in ("classical", "delay"):
        raise ModelError(f"unknown quantity to read {name!r}; choose one of: classical, delay")
    return getattr(estimate, f"{name}_s")


def scalar_channels(perfusion: jax.Array) -> jax.Array:
    """Returns the channels after the curves without the height of the tissue's curve beside the artery's."""
    return jnp.delete(perfusion[..., -SCALARS:], 1, axis=-1, assume_unique_indices=True)


def with_negative_times(residue: jax.Array) -> jax.Array:
    """Returns a residue function `[..., 2 * POINTS]` in order of time, `-BEFORE_S` to the end of the grid."""
    return jnp.concatenate([residue[..., -BEFORE_S:], residue[..., :POINTS]], axis=-1)


def as_estimate(output: jax.Array, found: Aligned) -> Estimate:
    """Gives the eight outputs of a network their meanings and units."""
    median, log_scale = output[..., : len(QUANTITIES)], output[..., len(QUANTITIES) :]
    delay, classical, flow, transit = jnp.moveaxis(median, -1, 0)
    units = jnp.array([UNIT_S, UNIT_S, 1.0, 1.0], median.dtype)
    scales = jnp.exp(log_scale) * units.reshape((1,) * (log_scale.ndim - 1) + (-1,))
    return Estimate(
        UNIT_S * delay,
        UNIT_S * classical,
        flow + jnp.log(6000.0 * ML_PER_GRAM / 4.0 * (found.flow_unit + 1e-6)),
        transit + jnp.log(_MTT_S),
        scales,
    )
