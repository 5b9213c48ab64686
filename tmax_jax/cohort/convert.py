"""One patient's files to one case of the store: the rules of the paper, each with its numbers."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from tmax_jax.cohort.mask import foreground_mask
from tmax_jax.cohort.scan import Patient
from tmax_jax.cohort.select import SECONDS, Rules, choose, find_unit, match_map, unit_as_named
from tmax_jax.cohort.store import Case, has_case, read_attributes, write_case
from tmax_jax.dicom.assemble import read_stored, to_real
from tmax_jax.dicom.frame_times import frame_times_s
from tmax_jax.dicom.geometry import affine_ras
from tmax_jax.dicom.header import DicomError
from tmax_jax.dicom.series import Series

PHANTOM_MODEL = "tmax_jax phantom"  # in the header of simulated patients
_SHOWN_HOLES = 3


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one patient: a line of the closing table."""

    case_id: str
    status: str  # "converted", "unchanged", "dropped", "refused" or "gone"
    found: int  # perfusion images
    expected: int
    notes: tuple[str, ...]


def convert_patient(patient: Patient, case_id: str, store: str | Path, rules: Rules) -> Outcome:
    """Converts one patient, or says why not.

    Args:
      patient: of `scan`.
      case_id: the pseudonym.
      store: folder of the cohort.
      rules: see there.

    Returns:
      The outcome; errors of this patient are in it, so that the others go on.
    """
    fingerprint = patient.fingerprint()
    outcome = unchanged_case(store, case_id, fingerprint, rules)
    if outcome:
        return outcome
    try:
        case, outcome = read_patient(patient, case_id, rules)
        if case:
            write_case(store, case)
    except DicomError as error:
        outcome = Outcome(case_id, "refused", len(patient.frames), 0, (str(error),))
    except (OSError, ValueError, MemoryError) as error:  # a full disk, a bad file: the other patients go on
        outcome = Outcome(case_id, "refused", len(patient.frames), 0, (f"{type(error).__name__}: {error}",))
    if outcome.status != "converted" and has_case(store, case_id):
        note = f"the store still holds an earlier conversion; remove {case_id} from it to leave the patient out"
        outcome = dataclasses.replace(outcome, notes=(*outcome.notes, note))
    return outcome


def unchanged_case(store: str | Path, case_id: str, fingerprint: str, rules: Rules) -> Outcome | None:
    """Returns the outcome of a case that the store holds as it would be converted now, else None."""
    if not has_case(store, case_id):
        return None
    before = read_attributes(store, case_id)
    if (before.get("fingerprint"), before.get("rules")) != (fingerprint, dataclasses.asdict(rules)):
        return None
    return Outcome(case_id, "unchanged", before["images_found"], before["images_expected"], tuple(before["findings"]))


def missing_note(series: Series, found: int, rules: Rules) -> tuple[str, ...]:
    """Says what is missing of a series where that is more than the rules allow.

    Args:
      series: the perfusion.
      found: its images that can be read.
      rules: with the threshold.

    Returns:
      The numbers, and the places; nothing where the series is complete enough.
    """
    expected, missing = series.expected, series.expected - found
    if missing <= rules.max_missing * expected:
        return ()
    fraction = missing / expected
    return (
        f"{missing} of {expected} perfusion images missing ({fraction:.1%} > {rules.max_missing:.0%})",
        f"missing: {describe_holes(series)}; keep the patient with --max_missing={np.ceil(fraction * 1000) / 1000:g}",
    )


def describe_holes(series: Series) -> str:
    """Says which images of a series are missing: whole slices and times first, then single places."""
    holes = series.holes()
    by_z, by_t = (np.bincount([hole[axis] for hole in holes], minlength=1) for axis in (0, 1))
    slices = [z for z, count in enumerate(by_z) if count == series.time.count]
    times = [t for t, count in enumerate(by_t) if count == series.grid.count]
    single = [f"slice {z} at time {t}" for z, t in holes if z not in slices and t not in times]
    parts = [f"{series.slices - series.grid.count} slices at an end"] if series.slices > series.grid.count else []
    parts += [f"slice {z}" for z in slices] + [f"time {t}" for t in times] + single
    more = f" and {len(parts) - _SHOWN_HOLES} more" if len(parts) > _SHOWN_HOLES else ""
    return ", ".join(parts[:_SHOWN_HOLES]) + more if parts else "images that cannot be read"


def read_patient(patient: Patient, case_id: str, rules: Rules) -> tuple[Case | None, Outcome]:
    """Makes one patient's files a case in memory.

    Args:
      patient: of `scan`.
      case_id: the pseudonym.
      rules: see there.

    Returns:
      The case, None where too much is missing; and the outcome, which says so and names what else was found.

    Raises:
      DicomError: files that cannot be read, or that do not say which series is meant.
    """
    choice = choose(patient, rules)
    perfusion, findings = choice.perfusion, [*choice.findings, *choice.perfusion.findings]
    found, expected = len(perfusion.frames), perfusion.expected
    notes = missing_note(perfusion, found, rules)
    if notes:
        return None, Outcome(case_id, "dropped", found, expected, notes)
    stored, inserted, damaged = read_stored(perfusion)
    found = int((~inserted).sum())
    notes = missing_note(perfusion, found, rules)
    if notes:
        return None, Outcome(case_id, "dropped", found, expected, (*notes, *damaged))
    values, scale, not_finite = to_real(perfusion, stored, inserted)
    del stored
    findings += _counted(perfusion, inserted, not_finite, rules)
    maps, attributes = {}, {}
    if choice.tmax:
        maps["tmax"], described = _read_tmax(choice.tmax, perfusion, rules.target_unit)
        attributes = {"maps": {"tmax": described}, "nan_count": described["nan_count"]}
    else:
        findings.append("no Tmax map: no target to learn")
    for name, series in choice.further.items():
        try:
            maps[name], described = _read_map(series, perfusion)
            attributes.setdefault("maps", {})[name] = described
        except DicomError as error:  # no reason to lose the patient
            findings.append(f"left out: map {name} ({error})")
    times_s, times_source = frame_times_s(perfusion.frames, perfusion.time)
    frame = perfusion.frames[0]
    attributes |= {
        **geometry_attributes(affine_ras(frame, perfusion.grid)),
        "frame_times_s": times_s.tolist(),
        "frame_times_source": times_source,
        "frame_order_source": perfusion.time.key,
        "frame_order_rejected": dict(perfusion.time.rejected),
        "echo_time_ms": frame.echo_time_ms,
        "repetition_time_ms": frame.repetition_time_ms,
        "field_strength_t": frame.field_strength_t,
        "vendor": frame.manufacturer,
        "images_found": found,
        "images_expected": expected,
        "intensity_min": scale * float(values.min(axis=(1, 2))[~inserted].min()),
        "intensity_max": scale * float(values.max(axis=(1, 2))[~inserted].max()),
        "findings": findings,
        "data": "phantom" if PHANTOM_MODEL in frame.model else "real",
        "rules": dataclasses.asdict(rules),
        "software_version": importlib.metadata.version("tmax_jax"),
        "fingerprint": patient.fingerprint(),
    }
    mask = foreground_mask(values, inserted, threshold=rules.threshold)
    if rules.repair == "interpolate" and inserted.any():
        interpolate_missing(values, inserted, times_s)
    case = Case(case_id, values, mask, inserted, maps, attributes, scale)
    return case, Outcome(case_id, "converted", found, expected, (*findings, *damaged))  # files' names: not in the case


def _counted(perfusion: Series, inserted: np.ndarray, not_finite: int, rules: Rules) -> list[str]:
    findings = []
    if inserted.any():
        how = "interpolated in time" if rules.repair == "interpolate" else "inserted as zeros"
        findings.append(f"{int(inserted.sum())} missing images {how}")
    if perfusion.slices > perfusion.grid.count:
        lost = perfusion.slices - perfusion.grid.count
        findings.append(f"{lost} of {perfusion.slices} planned slices are missing at an end")
    if not_finite:
        findings.append(f"{not_finite} values were not finite and are 0")
    return findings


def interpolate_missing(values: np.ndarray, inserted: np.ndarray, times_s: np.ndarray) -> None:
    """Fills images that are not there from their neighbours in time, in place; beyond the ends with the nearest.

    Args:
      values: `[z, y, x, time]`.
      inserted: bool `[z, time]`, images to fill; a slice of which no image is there stays 0.
      times_s: `[time]`, when the frames were acquired.

    Example:
      >>> values = np.array([[[[1.0, 0.0, 3.0]]]])
      >>> interpolate_missing(values, np.array([[False, True, False]]), np.arange(3.0))
      >>> values.tolist()
      [[[[1.0, 2.0, 3.0]]]]
    """
    for z, t in np.argwhere(inserted):
        there = np.flatnonzero(~inserted[z])
        if not len(there):
            continue
        before, after = there[there < t], there[there > t]
        left = before[-1] if len(before) else after[0]
        right = after[0] if len(after) else before[-1]
        share = 0.0 if left == right else (times_s[t] - times_s[left]) / (times_s[right] - times_s[left])
        image = (1 - share) * values[z, ..., left] + share * values[z, ..., right].astype(np.float64)
        values[z, ..., t] = np.round(image) if values.dtype.kind in "iu" else image


def _read_tmax(tmax: Series, perfusion: Series, target_unit: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Reads a map onto the perfusion's slices, in seconds."""
    tmax = dataclasses.replace(tmax, z=match_map(tmax, perfusion), grid=perfusion.grid)
    unit = find_unit(tmax, target_unit)
    stored, missing, damaged = read_stored(tmax)
    if missing.any():
        raise DicomError(f"the Tmax map {tmax.label} is incomplete: {damaged[0] if damaged else 'a slice is missing'}")
    values, scale, not_finite = to_real(tmax, stored, missing, prefer_real_world=True)
    map_s = (values[..., 0].astype(np.float64) * (scale * SECONDS[unit])).astype(np.float32)
    return map_s, {"unit": "s", "stored_unit": unit, "nan_count": not_finite}


def _read_map(series: Series, perfusion: Series) -> tuple[np.ndarray, dict[str, Any]]:
    """Reads a map beside Tmax onto the perfusion's slices, in the unit that its header names."""
    series = dataclasses.replace(series, z=match_map(series, perfusion), grid=perfusion.grid)
    stored, missing, damaged = read_stored(series)
    if missing.any():
        raise DicomError(f"incomplete: {damaged[0] if damaged else 'a slice is missing'}")
    values, scale, not_finite = to_real(series, stored, missing, prefer_real_world=True)
    map_values = (values[..., 0].astype(np.float64) * scale).astype(np.float32)
    return map_values, {"unit": unit_as_named(series), "nan_count": not_finite}


def geometry_attributes(affine: np.ndarray) -> dict[str, Any]:
    """Describes where an array lies.

    Args:
      affine: float64 `[4, 4]`, from `(z, y, x, 1)` to RAS mm.

    Returns:
      `affine`, `affine_axes`, `spacing_mm` (of z, y, x) and `orientation`: where z, y and x lead to.

    Example:
      >>> geometry_attributes(np.array([[0, 0, -2, 0], [0, -2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1.0]]))["orientation"]
      'SPL'
    """
    axes = "RL", "AP", "SI"
    steps = affine[:3, :3]
    letters = [axes[np.abs(step).argmax()][0 if step[np.abs(step).argmax()] > 0 else 1] for step in steps.T]
    return {
        "affine": affine.tolist(),
        "affine_axes": ["z", "y", "x"],  # the affine maps (z, y, x, 1) to RAS mm
        "spacing_mm": np.linalg.norm(steps, axis=0).tolist(),
        "orientation": "".join(letters),  # where z, y and x lead to
    }
