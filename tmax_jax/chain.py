"""From a case to its curves, its artery and its classical maps: the physics applied to one patient of the store."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax import perfusion
from tmax_jax.cohort.store import Case
from tmax_jax.perfusion import PerfusionError
from tmax_jax.perfusion.arrival import NON_STEADY_FRAMES, Bolus
from tmax_jax.perfusion.masks import ventricle_mask, vessel_mask
from tmax_jax.perfusion.motion import apply_motion, estimate_motion
from tmax_jax.perfusion.sampling import fill_missing
from tmax_jax.perfusion.selection import VascularFunction
from tmax_jax.perfusion.smoothing import smooth_similar

USUAL_ECHO_TIME_S = 0.03
Stage = Callable[[str], AbstractContextManager[object]]  # says what is being done while it is
FindArtery = Callable[["Curves"], VascularFunction]


class Options(NamedTuple):
    """Optional stages before the deconvolution."""

    correct_motion: bool = False
    correct_leakage: bool = False
    smooth: bool = False


NO_OPTIONS = Options()


class Curves(NamedTuple):
    """One scan's concentration, where it counts, and what was assumed or found on the way."""

    concentration: jax.Array  # [z, y, x, time], dR2* in 1/s, at equal intervals
    baseline: jax.Array  # [z, y, x], signal before the bolus
    bolus: Bolus
    dt: float  # seconds between frames
    brain: np.ndarray  # bool [z, y, x], with ventricles and vessels
    tissue: np.ndarray  # bool [z, y, x], brain without ventricles: what maps show
    vessels: np.ndarray  # bool [z, y, x], within the tissue
    spacing_mm: tuple[float, float, float]  # z, y, x
    notes: list[str]


def _no_stage(_: str) -> AbstractContextManager[object]:
    return nullcontext()


def find_curves(case: Case, options: Options = NO_OPTIONS, *, stage: Stage = _no_stage) -> Curves:
    """Turns a case's signal into concentration curves and finds the brain.

    Args:
      case: with its perfusion; missing images are filled in from their neighbours in time.
      options: which optional stages to run.
      stage: of a clock.

    Returns:
      The curves.

    Raises:
      PerfusionError: no bolus is found, or it does not reach the brain.
    """
    assert case.perfusion is not None
    notes = []
    echo_time_ms = case.attributes.get("echo_time_ms")
    if not echo_time_ms:
        notes.append("the echo time is not known: 30 ms taken, on which no map depends but the curves' scale does")
    missing = int(case.inserted.sum())
    if missing:
        notes.append(f"{missing} missing images were interpolated from their neighbours in time")
    spacing_mm: tuple[float, float, float] = tuple(case.attributes["spacing_mm"])
    head = jnp.asarray(case.mask)
    signal = jnp.asarray(case.perfusion)
    inserted = jnp.asarray(case.inserted)[:, None, None, :] if missing else None
    if options.correct_motion:
        with stage("motion correction"):
            if inserted is not None:
                signal = fill_missing(signal.astype(jnp.float32), jnp.broadcast_to(~inserted, signal.shape))
                inserted = None
            signal = apply_motion(signal, estimate_motion(signal, head, spacing_mm=spacing_mm), spacing_mm=spacing_mm)
    with stage("concentration"):
        echo_time_s = echo_time_ms / 1000 if echo_time_ms else USUAL_ECHO_TIME_S
        scan = perfusion.signal_to_concentration(signal, echo_time_s=echo_time_s, mask=head, inserted=inserted)
        perfusion.require_bolus(scan.bolus)
        even = perfusion.resample_evenly(scan.curves, jnp.asarray(case.attributes["frame_times_s"], jnp.float32))
        if bool(even.uneven):
            notes.append(f"the frames were not at equal intervals: resampled to one every {float(even.dt):.3f} s")
        curves = jax.block_until_ready(even.curves if bool(even.uneven) else scan.curves)
    arrival = scan.bolus.arrival
    with stage("brain mask"):
        inside = perfusion.brain_mask(curves, head, arrival_frame=arrival)
        brain = np.asarray(inside)
        if not brain.any():
            raise PerfusionError(
                "no brain found: no connected region in which the curves rise above their noise after the bolus"
                " arrives. Check that this is the series with contrast agent"
            )
        ventricles, vessels = _fluid_and_vessels(curves, scan.baseline, inside)
    if options.correct_leakage:
        with stage("leakage correction"):
            dt = float(even.dt)
            curves = perfusion.leakage_correction(curves, inside, dt=dt, arrival_frame=arrival).corrected
            jax.block_until_ready(curves)
    if options.smooth:
        with stage("smoothing"):
            noise = _noise(curves, arrival)
            curves = jax.block_until_ready(smooth_similar(curves, inside, noise=noise, spacing_mm=spacing_mm))
    tissue = brain & ~np.asarray(ventricles)
    return Curves(
        curves, scan.baseline, scan.bolus, float(even.dt), brain, tissue, np.asarray(vessels), spacing_mm, notes
    )


@jax.jit
def _fluid_and_vessels(curves: jax.Array, baseline: jax.Array, brain: jax.Array) -> tuple[jax.Array, jax.Array]:
    return ventricle_mask(curves, baseline, brain), vessel_mask(curves, brain)


@jax.jit
def _noise(curves: jax.Array, arrival_frame: jax.Array) -> jax.Array:
    frame = jnp.arange(curves.shape[-1]).reshape(1, 1, 1, -1)
    return jnp.std(curves, axis=-1, where=(frame >= NON_STEADY_FRAMES) & (frame <= arrival_frame))


def find_artery(curves: Curves) -> VascularFunction:
    """Chooses the artery automatically.

    Raises:
      PerfusionError: none is found.
    """
    found = perfusion.select_aif(
        curves.concentration, jnp.asarray(curves.brain), dt=curves.dt, arrival_frame=curves.bolus.arrival
    )
    perfusion.require_aif(found)
    return found


def classical_maps(curves: Curves, artery: jax.Array, method: str) -> perfusion.Maps:
    """Makes the maps of one method.

    Args:
      curves: of `find_curves`.
      artery: `[time]`, dR2* in 1/s at the frames of the curves.
      method: one of `perfusion.METHODS`.

    Returns:
      The maps, 0 outside the tissue.
    """
    arrival_s = curves.bolus.arrival * curves.dt
    return _maps(curves.concentration, artery, jnp.asarray(curves.tissue), curves.dt, arrival_s, method)


@functools.partial(jax.jit, static_argnames="method")
def _maps(
    curves: jax.Array, artery: jax.Array, tissue: jax.Array, dt: jax.Array, arrival_s: jax.Array, method: str
) -> perfusion.Maps:
    return perfusion.maps(curves, artery, dt=dt, method=method, mask=tissue, arrival_s=arrival_s)
