"""What a network may see of a patient instead of the signal: the physics' curves, maps and masks as channels."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tmax_jax.models.blocks import ModelError
from tmax_jax.perfusion.alignment import align
from tmax_jax.perfusion.brain import brain_mask
from tmax_jax.perfusion.deconvolution import deconvolve
from tmax_jax.perfusion.masks import ventricle_mask, vessel_mask
from tmax_jax.perfusion.parametric import maps
from tmax_jax.perfusion.selection import select_aif
from tmax_jax.perfusion.signal import signal_to_concentration

Batch = Mapping[str, Any]  # arrays by name
_ECHO_TIME_S = 0.03  # a unit alone: tissue and artery share it, and it cancels in every channel


class Patient(NamedTuple):
    """One patient's curves in the unit of the artery's peak."""

    concentration: jax.Array  # [z, y, x, time], 0 outside the mask
    aif: jax.Array  # [time]
    baseline: jax.Array  # [z, y, x], signal before the bolus
    mask: jax.Array  # bool [z, y, x], the head
    brain: jax.Array  # bool [z, y, x]
    dt: jax.Array
    arrival_frame: jax.Array


def read_patient(signal: jax.Array, mask: jax.Array, inserted: jax.Array, dt: jax.Array) -> Patient:
    """Turns one patient's signal into concentration, with the artery found in it.

    Args:
      signal: `[z, y, x, time]` as stored.
      mask: bool `[z, y, x]`.
      inserted: bool `[z, time]`, images that were missing; they are filled in.
      dt: seconds between frames.

    Returns:
      The curves; without a bolus they are noise, and a network learns nothing from them.
    """
    signal, missing = signal.astype(jnp.float32), inserted[:, None, None, :]
    scan = signal_to_concentration(signal, echo_time_s=_ECHO_TIME_S, mask=mask, inserted=missing)
    arrival = scan.bolus.arrival
    brain = brain_mask(scan.curves, mask, arrival_frame=arrival)  # the artery is not to be found in the scalp's noise
    aif = select_aif(scan.curves, brain, dt=dt, arrival_frame=arrival).curve
    peak = jnp.maximum(jnp.max(aif), 1e-6)
    return Patient(scan.curves / peak, aif / peak, scan.baseline, mask, brain, dt, arrival)


def _aligned(patient: Patient) -> jax.Array:
    return align(patient.concentration, patient.aif, dt=patient.dt).channels()


def _artery(patient: Patient) -> jax.Array:
    return jnp.broadcast_to(patient.aif, patient.concentration.shape)


def _residue(patient: Patient) -> jax.Array:
    residue = deconvolve(patient.concentration, patient.aif, dt=patient.dt, method="tikhonov", strength=0.1)
    frames = patient.aif.shape[0]
    return residue[..., :frames] * patient.dt


def _maps(patient: Patient) -> jax.Array:
    found = maps(patient.concentration, patient.aif, dt=patient.dt, method="csvd", mask=patient.brain)
    scaled = (found.cbf / 60.0, found.cbv / 4.0, found.mtt_s / 8.0, found.ttp_s / 60.0, found.tmax_s / 10.0)
    return jnp.clip(jnp.stack(scaled, axis=-1), -5.0, 5.0)  # flow and volume of noise have no bound


def _masks(patient: Patient) -> jax.Array:
    found = (
        vessel_mask(patient.concentration, patient.brain),
        ventricle_mask(patient.concentration, patient.baseline, patient.brain),
    )
    return jnp.stack(found, axis=-1).astype(jnp.float32)


INPUTS: dict[str, Callable[[Patient], jax.Array]] = {
    "concentration": lambda patient: patient.concentration,  # a channel a frame, in units of the artery's peak
    "aif": _artery,  # the artery's curve in every voxel
    "aligned": _aligned,  # curve and artery on a grid of seconds around the bolus' arrival: any frame interval
    "residue": _residue,  # deconvolved by Tikhonov's method, a channel a frame
    "maps": _maps,  # classical CBF, CBV, MTT, TTP and Tmax (block-circulant)
    "masks": _masks,  # of vessels, and of ventricles
}


def make_channels(names: Sequence[str]) -> Callable[[Batch], jax.Array] | None:
    """Returns what makes a batch into channels.

    Args:
      names: of `INPUTS`, in the order of the channels; ("signal",) alone is the signal as it is.

    Returns:
      A function of a batch that gives `[case, z, y, x, channel]`, 0 outside the mask; None for the signal.

    Raises:
      ModelError: an unknown name, or the signal together with others.

    Example:
      >>> make_channels(("signal",)) is None
      True
    """
    if tuple(names) == ("signal",):
        return None
    unknown = [name for name in names if name not in INPUTS]
    if unknown or not names:
        raise ModelError(
            f"unknown inputs {', '.join(unknown) or '()'}; choose ('signal',) or any of: {', '.join(INPUTS)}"
        )
    return functools.partial(_channels, names=tuple(names))


def _channels(batch: Batch, *, names: tuple[str, ...]) -> jax.Array:
    def one(*fields: jax.Array) -> jax.Array:
        patient = read_patient(*fields)
        channels = jnp.concatenate([INPUTS[name](patient) for name in names], axis=-1)
        return jnp.where(patient.mask[..., None], channels, 0.0)

    fields = (batch[name] for name in ("perfusion", "mask", "inserted", "frame_interval_s"))
    return jax.lax.stop_gradient(jax.vmap(one)(*fields))
