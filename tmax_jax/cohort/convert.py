"""One patient's DICOM files to one case of the store."""

import dataclasses
from pathlib import Path

import numpy as np

from tmax_jax.cohort.reading import Outcome, Reading, ReadMap, check_missing, convert_case
from tmax_jax.cohort.scan import Patient
from tmax_jax.cohort.select import SECONDS, Rules, choose, find_unit, match_map, unit_as_named
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
    findings = [*choice.findings, *perfusion.findings]
    maps = {"tmax": _read_tmax(choice.tmax, perfusion, rules.target_unit)} if choice.tmax else {}
    for name, series in choice.further.items():
        try:
            maps[name] = _read_map(series, perfusion)
        except DicomError as error:  # no reason to lose the patient
            findings.append(f"left out: map {name} ({error})")
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
        maps=maps,
        not_finite=not_finite,
        findings=findings,
        damaged=tuple(damaged),
    )


def _read_tmax(tmax: Series, perfusion: Series, target_unit: str) -> ReadMap:
    """Reads the Tmax map, in seconds."""
    unit = find_unit(tmax, target_unit)
    values, not_finite = _read_values(tmax, perfusion)
    return ReadMap((values * SECONDS[unit]).astype(np.float32), "s", unit, not_finite)


def _read_map(series: Series, perfusion: Series) -> ReadMap:
    """Reads a map beside Tmax, in the unit that its header names."""
    values, not_finite = _read_values(series, perfusion)
    unit = unit_as_named(series)
    return ReadMap(values.astype(np.float32), unit, unit, not_finite)


def _read_values(series: Series, perfusion: Series) -> tuple[np.ndarray, int]:
    """Reads a map onto the perfusion's slices, float64 `[z, y, x]`; and how many values were not finite."""
    series = dataclasses.replace(series, z=match_map(series, perfusion), grid=perfusion.grid)
    stored, missing, damaged = read_stored(series)
    if missing.any():
        raise DicomError(f"the map {series.label} is incomplete: {damaged[0] if damaged else 'a slice is missing'}")
    values, scale, not_finite = to_real(series, stored, missing, prefer_real_world=True)
    return values[..., 0].astype(np.float64) * scale, not_finite
