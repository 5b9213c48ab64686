"""One patient's files to one case of the store: the rules of the paper, each with its numbers."""

import dataclasses
import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tmax_jax.cohort.mask import foreground_mask
from tmax_jax.cohort.scan import Patient
from tmax_jax.cohort.store import Case, list_cases, read_attributes, write_case
from tmax_jax.dicom.geometry import affine_ras
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.series import OFF_GRID, Series, assemble, extend_slices, is_tmax, order_series, split_series
from tmax_jax.dicom.timing import frame_times_s

PHANTOM_MODEL = "tmax_jax phantom"  # in the header of simulated patients
SECONDS = {"s": 1.0, "ms": 0.001}
_UNIT = re.compile(r"(?:^|[\s\[(_,])(ms|msec|s|sec|seconds|milliseconds)(?:$|[\s\])_,])", re.IGNORECASE)
_ORIENTATION_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the command line may change."""

    max_missing: float = 0.05  # fraction of the perfusion images; above, a patient is dropped
    threshold: float = 0.10  # of the mask
    target_unit: str = "auto"  # "auto", "s" or "ms"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one patient: a line of the closing table."""

    case_id: str
    status: str  # "converted", "unchanged", "dropped" or "refused"
    found: int  # perfusion images
    expected: int
    notes: tuple[str, ...]


def convert_patient(patient: Patient, case_id: str, store: Path, rules: Rules) -> Outcome:
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
    if (store / "zarr.json").exists() and case_id in list_cases(store):
        before = read_attributes(store, case_id)
        if (before["fingerprint"], before["rules"]) == (fingerprint, dataclasses.asdict(rules)):
            found, expected = before["images_found"], before["images_expected"]
            return Outcome(case_id, "unchanged", found, expected, tuple(before["findings"]))
    try:
        return _convert(patient, case_id, store, rules, fingerprint)
    except DicomError as error:
        return Outcome(case_id, "refused", len(patient.frames), 0, (str(error),))
    except (OSError, ValueError, MemoryError) as error:  # a full disk, a bad file: the other patients go on
        return Outcome(case_id, "refused", len(patient.frames), 0, (f"{type(error).__name__}: {error}",))


def _convert(patient: Patient, case_id: str, store: Path, rules: Rules, fingerprint: str) -> Outcome:
    if patient.unusable:
        more = f" (and {len(patient.unusable) - 1} more files)" if len(patient.unusable) > 1 else ""
        raise DicomError(patient.unusable[0] + more)
    perfusion, tmax, findings = _choose(patient.frames)
    planned = max(frame.slices or 0 for frame in perfusion.frames)  # more than the grid where an end was lost
    expected = max(perfusion.grid.count, planned) * perfusion.time.count
    values, inserted, damaged = assemble(perfusion)
    found = int((~inserted).sum())
    if expected - found > rules.max_missing * expected:
        missing = expected - found
        note = f"{missing} of {expected} perfusion images missing ({missing / expected:.1%} > {rules.max_missing:.0%})"
        return Outcome(case_id, "dropped", found, expected, (note,))
    findings += perfusion.findings + damaged + patient.damaged
    if found < expected:
        findings.append(f"{int(inserted.sum())} missing images inserted as zeros")
    if planned > perfusion.grid.count:
        findings.append(f"{planned - perfusion.grid.count} of {planned} planned slices are missing at an end")
    maps, attributes = {}, {}
    if tmax:
        maps["tmax"], described = _read_tmax(tmax, perfusion, rules.target_unit)
        attributes = {"maps": {"tmax": described}, "nan_count": described["nan_count"]}
    else:
        findings.append("no Tmax map: no target to learn")
    present = values[~np.broadcast_to(inserted[:, None, None, :], values.shape)] if inserted.any() else values
    frame = perfusion.frames[0]
    times_s, times_source = frame_times_s(perfusion.frames, perfusion.time)
    mask = foreground_mask(values, inserted, threshold=rules.threshold)
    attributes |= {
        **_geometry(frame, perfusion),
        "frame_times_s": times_s.tolist(),
        "frame_times_source": times_source,
        "frame_order_source": perfusion.time.key,
        "echo_time_ms": frame.echo_time_ms,
        "repetition_time_ms": frame.repetition_time_ms,
        "field_strength_t": frame.field_strength_t,
        "vendor": frame.manufacturer,
        "images_found": found,
        "images_expected": expected,
        "intensity_min": float(present.min()),
        "intensity_max": float(present.max()),
        "findings": findings,
        "data": "phantom" if PHANTOM_MODEL in frame.model else "real",
        "rules": dataclasses.asdict(rules),
        "software_version": importlib.metadata.version("tmax_jax"),
        "fingerprint": fingerprint,
    }
    write_case(store, Case(case_id, values, mask, inserted, maps, attributes))
    return Outcome(case_id, "converted", found, expected, tuple(findings))


def _choose(frames: Sequence[Frame]) -> tuple[Series, Series | None, list[str]]:
    """Tells the perfusion series and the Tmax map apart from all others, by their headers."""
    perfusion, tmax, others, errors = [], [], [], []
    for group in split_series(frames):
        try:
            series = order_series(group)
        except DicomError as error:
            errors.append(str(error))
            continue
        if is_tmax(series):
            tmax.append(series)
        elif series.time.count > 1:
            perfusion.append(series)
        else:
            others.append(series)
    for what, found in (("perfusion", perfusion), ("Tmax", tmax)):
        if len(found) > 1:
            names = "; ".join(series.label for series in found)
            raise DicomError(f"{len(found)} {what} series, and one is wanted: {names}. Leave one in the folder")
    if not perfusion:
        reason = errors[0] if errors else f"{len(others)} series of one image a slice"
        raise DicomError(f"no perfusion series: {reason}")
    if tmax and tmax[0].frames[0].shape == perfusion[0].frames[0].shape:
        perfusion[0] = extend_slices(perfusion[0], tmax[0].frames)
    findings = [f"left out: {series.label}" for series in others] + [f"left out: {error}" for error in errors]
    return perfusion[0], tmax[0] if tmax else None, findings


def _read_tmax(tmax: Series, perfusion: Series, target_unit: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Reads a map onto the perfusion's slices, in seconds."""
    frame, other = tmax.frames[0], perfusion.frames[0]
    if frame.shape != other.shape or np.abs(np.subtract(frame.orientation, other.orientation)).max() > (
        _ORIENTATION_TOLERANCE
    ):
        raise DicomError(f"the Tmax map {tmax.label} lies on another grid than the perfusion {perfusion.label}")
    place = perfusion.grid.index(tmax.frames)
    z = np.round(place).astype(int)
    if np.abs(place - z).max() > OFF_GRID or sorted(z) != list(range(perfusion.grid.count)):
        raise DicomError(
            f"the slices of the Tmax map {tmax.label} are not those of the perfusion {perfusion.label}; export both of"
            " one scan, completely"
        )
    unit = _unit(frame, tmax, target_unit)
    values, missing, damaged = assemble(tmax, prefer_real_world=True)
    if missing.any():
        raise DicomError(f"the Tmax map {tmax.label} is incomplete: {damaged[0] if damaged else 'a slice is missing'}")
    map_s = values[..., 0].astype(np.float64)
    bad = ~np.isfinite(map_s)
    map_s = np.where(bad, 0.0, map_s * SECONDS[unit]).astype(np.float32)
    return map_s, {"unit": "s", "stored_unit": unit, "nan_count": int(bad.sum())}


def _unit(frame: Frame, tmax: Series, target_unit: str) -> str:
    """Finds the unit of a map's values in its header; a guess from their size would be wrong in silence."""
    if target_unit != "auto":
        return target_unit
    if frame.real_world and frame.real_world[2] in SECONDS:
        return frame.real_world[2]
    for text in (frame.rescale_type, frame.description):
        found = _UNIT.search(text)
        if found:
            return "ms" if found.group(1).lower().startswith("m") else "s"
    raise DicomError(
        f"the unit of the Tmax map {tmax.label} is not in its header; say --target_unit=ms or --target_unit=s"
    )


def _geometry(frame: Frame, series: Series) -> dict[str, Any]:
    affine = affine_ras(frame, series.grid)
    axes = "RL", "AP", "SI"
    steps = affine[:3, :3]
    letters = [axes[np.abs(step).argmax()][0 if step[np.abs(step).argmax()] > 0 else 1] for step in steps.T]
    return {
        "affine": affine.tolist(),
        "affine_axes": ["z", "y", "x"],  # the affine maps (z, y, x, 1) to RAS mm
        "spacing_mm": np.linalg.norm(steps, axis=0).tolist(),
        "orientation": "".join(letters),  # where z, y and x lead to
    }
