"""One patient's DICOM files to one case of the store."""

import dataclasses
from pathlib import Path

import numpy as np

from tmax_jax.cohort.reading import Outcome, Reading, check_missing, convert_case
from tmax_jax.cohort.scan import Patient
from tmax_jax.cohort.select import SECONDS, Rules, choose, find_unit, match_map
from tmax_jax.dicom.assemble import read_stored, to_real
from tmax_jax.dicom.frame_times import frame_times_s
from tmax_jax.dicom.geometry import affine_ras
from tmax_jax.dicom.header import DicomError
from tmax_jax.dicom.series import Series


def convert_patient(patient: Patient, case_id: str, store: str | Path, rules: Rules) -> Outcome:
    """Converts one patient, or says why not.

    Args:
      patient: of `scan`.
      case_id: the pseudonym.
      store: of the cohort.
      rules: see there.

    Returns:
      The outcome; errors of this patient are in it, so that the others go on.
    """
    images = len(patient.frames)
    return convert_case(store, case_id, patient.fingerprint(), rules, images, lambda: read_patient(patient, rules))


def read_patient(patient: Patient, rules: Rules) -> Reading:
    """Reads a patient's perfusion and Tmax map.

    Raises:
      DicomError: no series, or several, would do; or one of them cannot be used.
      TooFewError: too many images are missing.
    """
    choice = choose(patient, rules)
    perfusion = choice.perfusion
    check_missing(~perfusion.there(), perfusion.slices, rules)
    stored, inserted, damaged = read_stored(perfusion)
    check_missing(inserted, perfusion.slices, rules, tuple(damaged))  # before more work is put into it
    values, scale, not_finite = to_real(perfusion, stored, inserted)
    tmax_s, unit, map_not_finite = _read_tmax(choice.tmax, perfusion, rules.target_unit)
    times_s, times_source = frame_times_s(perfusion.frames, perfusion.time)
    frame = perfusion.frames[0]
    return Reading(
        values=values,
        scale=scale,
        inserted=inserted,
        slices=perfusion.slices,
        affine=affine_ras(frame, perfusion.grid),
        times_s=times_s,
        times_source=times_source,
        order_source=perfusion.time.key,
        order_rejected=dict(perfusion.time.rejected),
        echo_time_ms=frame.echo_time_ms,
        repetition_time_ms=frame.repetition_time_ms,
        field_strength_t=frame.field_strength_t,
        vendor=frame.manufacturer,
        model=frame.model,
        tmax_s=tmax_s,
        tmax_unit=unit,
        not_finite=not_finite + map_not_finite,
        findings=[*choice.findings, *perfusion.findings],
        damaged=tuple(damaged),
    )


def _read_tmax(tmax: Series | None, perfusion: Series, target_unit: str) -> tuple[np.ndarray | None, str, int]:
    """Reads a map onto the perfusion's slices, in seconds; tells its unit, and how many values were not finite."""
    if tmax is None:
        return None, "", 0
    tmax = dataclasses.replace(tmax, z=match_map(tmax, perfusion), grid=perfusion.grid)
    unit = find_unit(tmax, target_unit)
    stored, missing, damaged = read_stored(tmax)
    if missing.any():
        raise DicomError(f"the Tmax map {tmax.label} is incomplete: {damaged[0] if damaged else 'a slice is missing'}")
    values, scale, not_finite = to_real(tmax, stored, missing, prefer_real_world=True)
    return (values[..., 0].astype(np.float64) * (scale * SECONDS[unit])).astype(np.float32), unit, not_finite
