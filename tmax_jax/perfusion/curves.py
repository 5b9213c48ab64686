"""Simulated tissue curves with their truth: exact convolutions, and scans drawn at random inside a compiled function.

Nothing here touches a file, so that a network can be trained on curves that it has never seen before, made in its step.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.perfusion.aif import arterial_input
from tmax_jax.perfusion.parametric import ML_PER_GRAM
from tmax_jax.perfusion.signal import (
    approach_to_steady_state,
    baseline_signal,
    concentration_to_signal,
    relaxation_change,
    rician_noise,
)

FAMILIES = ("exponential", "box", "linear", "gamma")  # of residue functions; `gamma` has a whole number as its shape
LARGEST_SHAPE = 12  # that can be simulated
_OVERSAMPLING = 4  # of the frames, for the convolution
_ARTERIAL_VOXELS = 8  # whose mean is the measured artery
_BLOOD_VISIBLE = 0.12  # of the blood's concentration: the signal of a pure vessel saturates

Range = tuple[float, float]


class Bolus(NamedTuple):
    """An artery's curve by its parameters, each a scalar."""

    arrival_s: float | jax.Array
    rise_s: float | jax.Array
    shape: float | jax.Array
    peak: float | jax.Array  # dR2* of arterial blood, 1/s
    recirculation: float | jax.Array
    recirculation_delay_s: float | jax.Array

    def curve(self, time_s: jax.Array) -> jax.Array:
        """Returns dR2* in 1/s at times of any shape."""
        parameters = self._asdict()
        return parameters.pop("peak") * arterial_input(time_s, **parameters)


class Tissue(NamedTuple):
    """What a curve is made of, each `[curve]`."""

    delay_s: jax.Array
    mtt_s: jax.Array
    cbv: jax.Array  # ml/100 g
    family: jax.Array  # int, index into `FAMILIES`
    shape: jax.Array  # int, of the gamma family
    dispersion_s: jax.Array  # mean of the exponential spread of the bolus on its way

    @property
    def cbf(self) -> jax.Array:
        """Cerebral blood flow in ml/100 g/min."""
        return 60.0 * self.cbv / self.mtt_s


class Ranges(NamedTuple):
    """Between which values scans and tissue are drawn; a pair of equal numbers fixes one."""

    dt_s: Range = (1.0, 2.5)
    echo_time_s: Range = (0.025, 0.045)
    snr: Range = (10.0, 200.0)  # logarithmic
    baseline_s: Range = (10.0, 25.0)  # from the first frame to the bolus
    rise_s: Range = (3.0, 7.0)
    aif_shape: Range = (2.0, 4.5)
    aif_peak: Range = (200.0, 450.0)
    recirculation: Range = (0.10, 0.41)
    recirculation_delay_s: Range = (8.0, 15.0)
    artery_share: Range = (1.0, 1.0)  # of the voxels that the artery is measured in; the rest is tissue
    delay_s: Range = (0.0, 12.0)  # below 0: tissue that is fed before the artery measured
    mtt_s: Range = (2.0, 24.0)  # logarithmic
    cbv: Range = (0.5, 6.0)  # logarithmic
    dispersion_s: Range = (0.0, 4.5)
    dispersed: float = 0.5  # fraction of the curves that are dispersed at all
    families: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # relative weights
    shape: tuple[int, int] = (2, 6)  # of the gamma family; the larger, the nearer to the box


class Scan(NamedTuple):
    """Curves of one scan, measured and true."""

    bolus: Bolus  # of the artery
    signal: jax.Array  # [curve, time], noisy, in units of the tissue's baseline
    concentration: jax.Array  # [curve, time], dR2* in 1/s, from the signal
    clean: jax.Array  # [curve, time], without noise
    aif: jax.Array  # [time], measured, in true proportion to the tissue
    clean_aif: jax.Array  # [time]
    dt: jax.Array  # seconds between frames
    echo_time_s: jax.Array
    snr: jax.Array
    tissue: Tissue


@functools.partial(jax.jit, static_argnames="frames")
def tissue_curves(
    bolus: Bolus, tissue: Tissue, *, dt: float | jax.Array, frames: int, earliest_s: float | jax.Array = 0.0
) -> jax.Array:
    """Convolves an artery with residue functions, each step of the convolution integrated in closed form.

    Args:
      bolus: of the artery.
      tissue: of each curve.
      dt: seconds between frames.
      frames: number of time points.
      earliest_s: at most 0; no delay is below it.

    Returns:
      Concentration `[curve, time]`, dR2* in 1/s.

    Example:
      >>> bolus = Bolus(10.0, 4.5, 3.0, 300.0, 0.0, 10.0)
      >>> one = jnp.ones(1)
      >>> curve = tissue_curves(bolus, Tissue(2 * one, 4 * one, 4 * one, 0 * one, one, 0 * one), dt=1.0, frames=60)
      >>> round(float(curve.sum() / bolus.curve(jnp.arange(60.0)).sum()) * 70.19, 2)  # CBV, in ml/100 g
      4.0
    """
    bolus = bolus._replace(arrival_s=bolus.arrival_s + earliest_s)
    tissue = tissue._replace(delay_s=tissue.delay_s - earliest_s)
    step = dt / _OVERSAMPLING
    length = frames * _OVERSAMPLING
    edge = (jnp.arange(length + 1) * step).reshape(1, -1)
    column = jax.tree.map(lambda values: values.reshape(-1, 1), tissue)
    passed = _area(jnp.maximum(edge - column.delay_s, 0.0), column)
    kernel = jnp.diff(passed, axis=1) / column.mtt_s
    artery = bolus.curve((jnp.arange(length) - 0.5) * step)  # in the middle of the kernel's steps
    spread = 1.0 - jnp.exp(-jnp.maximum(edge - 0.5 * step, 0.0) / jnp.maximum(column.dispersion_s, 1e-3 * step))
    transforms = (jnp.fft.rfft(values, 2 * length) for values in (kernel, jnp.diff(spread, axis=1), artery))
    residue, dispersion, arterial = transforms
    curves = jnp.fft.irfft(residue * dispersion * arterial.reshape(1, -1), 2 * length)
    return column.cbv / (100.0 * ML_PER_GRAM) * curves[:, :length:_OVERSAMPLING]


def _area(time_s: jax.Array, tissue: Tissue) -> jax.Array:
    """Returns the residue function's integral from 0 to `time_s`, `[curve, time]`."""
    m = tissue.mtt_s
    exponential = m * -jnp.expm1(-time_s / m)
    box = jnp.minimum(time_s, m)
    inside = jnp.minimum(time_s, 2.0 * m)
    linear = inside - inside**2 / (4.0 * m)
    x = tissue.shape * time_s / m
    term = left = jnp.exp(-x)  # of the Poisson series: a gamma distribution's survival, for whole shapes
    gamma = jnp.zeros_like(time_s)
    for k in range(1, LARGEST_SHAPE + 1):
        gamma = gamma + jnp.where(k <= tissue.shape, 1.0 - left, 0.0)
        term = term * x / k
        left = left + term
    gamma = gamma * m / tissue.shape
    return jnp.select([tissue.family == i for i in range(3)], [exponential, box, linear], gamma)


@functools.partial(jax.jit, static_argnames=("curves", "frames"))
def draw_scan(key: jax.Array, *, curves: int, frames: int, ranges: Ranges = Ranges()) -> Scan:  # noqa: B008 (immutable)
    """Draws a scan with its curves at random; everything runs inside jit, and vmap over keys draws many scans.

    Args:
      key: of `jax.random`.
      curves: number of tissue curves.
      frames: number of time points.
      ranges: between which values to draw.

    Returns:
      The scan.

    Example:
      >>> scan = draw_scan(jax.random.key(0), curves=3, frames=40)
      >>> scan.concentration.shape, scan.aif.shape, scan.tissue.delay_s.shape
      ((3, 40), (40,), (3,))
    """
    keys = iter(jax.random.split(key, 24))
    dt = _uniform(next(keys), ranges.dt_s)
    echo_time_s = _uniform(next(keys), ranges.echo_time_s)
    snr = _logarithmic(next(keys), ranges.snr)
    baseline_s = _uniform(next(keys), ranges.baseline_s)
    arrival_s = jnp.maximum(baseline_s, 6.0 * dt)  # some settled frames, however slow the scan
    bolus = Bolus(
        arrival_s=arrival_s,
        rise_s=_uniform(next(keys), ranges.rise_s),
        shape=_uniform(next(keys), ranges.aif_shape),
        peak=_uniform(next(keys), ranges.aif_peak),
        recirculation=_uniform(next(keys), ranges.recirculation),
        recirculation_delay_s=_uniform(next(keys), ranges.recirculation_delay_s),
    )
    tissue = draw_tissue(keys, curves=curves, ranges=ranges)
    earliest_s = jnp.minimum(ranges.delay_s[0], 0.0)
    clean = tissue_curves(bolus, tissue, dt=dt, frames=frames, earliest_s=earliest_s)
    clean_aif = bolus.curve(jnp.arange(frames) * dt)
    steady = approach_to_steady_state(frames, excess=_uniform(next(keys), (0.0, 0.3)))
    last = jnp.floor((arrival_s + earliest_s) / dt).astype(jnp.int32)

    def measured(key: jax.Array, concentration: jax.Array) -> tuple[jax.Array, jax.Array]:
        ideal = concentration_to_signal(concentration, jnp.ones(concentration.shape[0]), echo_time_s=echo_time_s)
        signal = rician_noise(key, ideal * steady.reshape(1, -1), 1.0 / snr)
        return signal, relaxation_change(signal, baseline_signal(signal, last), echo_time_s=echo_time_s)

    signal, concentration = measured(next(keys), clean)
    share = _uniform(next(keys), ranges.artery_share)
    mixed = share * _BLOOD_VISIBLE * clean_aif + (1.0 - share) * clean[0]
    visible = jnp.tile(mixed.reshape(1, -1), (_ARTERIAL_VOXELS, 1))
    aif = jnp.mean(measured(next(keys), visible)[1], axis=0) / _BLOOD_VISIBLE
    return Scan(bolus, signal, concentration, clean, aif, clean_aif, dt, echo_time_s, snr, tissue)


def draw_tissue(keys: Iterator[jax.Array], *, curves: int, ranges: Ranges) -> Tissue:
    """Draws tissue at random.

    Args:
      keys: of `jax.random`; seven are taken.
      curves: how many.
      ranges: between which values to draw.

    Returns:
      The tissue of each curve.

    Example:
      >>> draw_tissue(iter(jax.random.split(jax.random.key(0), 7)), curves=3, ranges=Ranges()).delay_s.shape
      (3,)
    """
    weights = jnp.log(jnp.asarray(ranges.families))
    dispersed = _uniform(next(keys), (0.0, 1.0), (curves,)) < ranges.dispersed
    return Tissue(
        delay_s=_uniform(next(keys), ranges.delay_s, (curves,)),
        mtt_s=_logarithmic(next(keys), ranges.mtt_s, (curves,)),
        cbv=_logarithmic(next(keys), ranges.cbv, (curves,)),
        family=jax.random.categorical(next(keys), weights, shape=(curves,)),
        shape=jax.random.randint(next(keys), (curves,), ranges.shape[0], ranges.shape[1] + 1),
        dispersion_s=jnp.where(dispersed, _uniform(next(keys), ranges.dispersion_s, (curves,)), 0.0),
    )


def _uniform(key: jax.Array, bounds: Range, shape: tuple[int, ...] = ()) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, *bounds)


def _logarithmic(key: jax.Array, bounds: Range, shape: tuple[int, ...] = ()) -> jax.Array:
    """Draws values whose logarithm is uniform between the bounds'."""
    low, high = bounds
    return low * (high / low) ** _uniform(key, (0.0, 1.0), shape)
