"""What was read of one patient becomes a case of the store, by the same rules whatever files it came from."""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tmax_jax.cohort.mask import foreground_mask
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import Case, CohortError, exclude_case, has_case, read_attributes, write_case
from tmax_jax.dicom.header import DicomError

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


class ReadMap(NamedTuple):
    """One map of a patient."""

    values: np.ndarray  # float32 [z, y, x]
    unit: str
    stored_unit: str  # of the files
    not_finite: int  # values that were not, and are 0


@dataclasses.dataclass(frozen=True)
class Reading:
    """What DICOM or NIfTI files say of one patient."""

    values: np.ndarray  # [z, y, x, time]
    scale: float  # that makes them real values
    inserted: np.ndarray  # bool [z, time], images that are not there: zeros
    slices: int  # that there should be; those beyond the array's were lost at an end
    affine: np.ndarray  # float64 [4, 4], from (z, y, x, 1) to RAS mm
    times_s: np.ndarray  # [time]
    times_source: str
    order_source: str  # what told the order of frames
    order_rejected: dict[str, str]
    echo_time_ms: float | None
    repetition_time_ms: float | None
    field_strength_t: float | None
    vendor: str
    model: str  # of the scanner; not stored
    maps: dict[str, ReadMap]  # by name; "tmax" is in seconds
    not_finite: int  # values of the perfusion that were not, and are 0
    findings: list[str]
    damaged: tuple[str, ...] = ()  # files, by name: for the table, not for the store


class TooFewError(Exception):
    """More images are missing than the rules allow; with what the table says."""

    def __init__(self, found: int, expected: int, notes: tuple[str, ...]) -> None:
        super().__init__(*notes)
        self.found, self.expected, self.notes = found, expected, notes


def convert_case(
    store: str | Path, case_id: str, fingerprint: str, rules: Rules, images: int, read: Callable[[], Reading]
) -> Outcome:
    """Converts one patient, or says why not; errors of this patient are in the outcome, so that the others go on.

    Where the files now say no, an earlier conversion of the patient is marked in the store, and training leaves it out.

    Args:
      store: of the cohort.
      case_id: the pseudonym.
      fingerprint: of the patient's files; with the same one, and the same rules, nothing is done.
      rules: of the conversion.
      images: of the patient, for the table where nothing more is known.
      read: reads the files.

    Returns:
      The outcome.
    """
    outcome = unchanged_case(store, case_id, fingerprint, rules)
    if outcome:
        return outcome
    try:
        reading = read()
        case = make_case(case_id, reading, rules, fingerprint)
        _write(store, case)
        found, expected = case.attributes["images_found"], case.attributes["images_expected"]
        return Outcome(case_id, "converted", found, expected, (*case.attributes["findings"], *reading.damaged))
    except TooFewError as error:
        outcome, by_files = Outcome(case_id, "dropped", error.found, error.expected, error.notes), True
    except (DicomError, CohortError) as error:
        outcome, by_files = Outcome(case_id, "refused", images, 0, (str(error),)), True
    except (OSError, ValueError, MemoryError) as error:  # a full disk, a bad file
        outcome, by_files = Outcome(case_id, "refused", images, 0, (f"{type(error).__name__}: {error}",)), False
    if not has_case(store, case_id):
        return outcome
    note = "the store still holds its earlier conversion"
    if by_files:
        exclude_case(store, case_id, outcome.status)
        note += ", now marked as excluded: training leaves it out"
    return dataclasses.replace(outcome, notes=(*outcome.notes, note))


def _write(store: str | Path, case: Case) -> None:
    try:
        write_case(store, case)
    except CohortError as error:  # of the place, not of the files
        raise OSError(str(error)) from error


def unchanged_case(store: str | Path, case_id: str, fingerprint: str, rules: Rules) -> Outcome | None:
    """Returns the outcome of a case that the store holds as it would be converted now, else None."""
    if not has_case(store, case_id):
        return None
    before = read_attributes(store, case_id)
    if (before.get("fingerprint"), before.get("rules")) != (fingerprint, dataclasses.asdict(rules)):
        return None
    return Outcome(case_id, "unchanged", before["images_found"], before["images_expected"], tuple(before["findings"]))


def check_missing(missing: np.ndarray, slices: int, rules: Rules, damaged: tuple[str, ...] = ()) -> None:
    """Refuses a series of which more is missing than the rules allow.

    Args:
      missing: bool `[z, time]`, images that are not there.
      slices: that there should be.
      rules: with the threshold.
      damaged: what is said of files that could not be read.

    Raises:
      TooFewError: with the numbers and the places.
    """
    expected = slices * missing.shape[1]
    found = int((~missing).sum())
    lost = expected - found
    if lost <= rules.max_missing * expected:
        return
    numbers = f"{lost} of {expected} perfusion images missing ({lost / expected:.1%} > {rules.max_missing:.0%})"
    remedy = f"keep the patient with --max_missing={np.ceil(lost / expected * 1000) / 1000:g}"
    where = f"missing: {describe_holes(missing, slices)}; {remedy}"
    raise TooFewError(found, expected, (numbers, where, *damaged))


def describe_holes(missing: np.ndarray, slices: int) -> str:
    """Says which images of a series are missing: whole slices and times first, then single places.

    Example:
      >>> describe_holes(np.array([[True, True, True], [False, False, True], [False, False, False]]), 4)
      '1 slices at an end, slice 0, slice 1 at time 2'
    """
    whole_slices, whole_times = missing.all(axis=1), missing.all(axis=0)
    single = missing & ~np.expand_dims(whole_slices, 1) & ~whole_times
    parts = [f"{slices - len(missing)} slices at an end"] if slices > len(missing) else []
    parts += [f"slice {z}" for z in np.flatnonzero(whole_slices)] + [f"time {t}" for t in np.flatnonzero(whole_times)]
    parts += [f"slice {z} at time {t}" for z, t in np.argwhere(single).tolist()]
    more = f" and {len(parts) - _SHOWN_HOLES} more" if len(parts) > _SHOWN_HOLES else ""
    return ", ".join(parts[:_SHOWN_HOLES]) + more


def make_case(case_id: str, reading: Reading, rules: Rules, fingerprint: str = "") -> Case:
    """Makes what was read a case.

    Args:
      case_id: the pseudonym.
      reading: of a patient's files.
      rules: of the conversion.
      fingerprint: of the files.

    Returns:
      The case, in the scanner's integers with their scale.

    Raises:
      TooFewError: more images are missing than the rules allow.
    """
    check_missing(reading.inserted, reading.slices, rules, reading.damaged)
    values, inserted, scale = reading.values, reading.inserted, reading.scale
    findings = [*reading.findings, *_counted(reading, rules)]
    maps = {name: one.values for name, one in reading.maps.items()}
    described = {
        name: {"unit": one.unit, "stored_unit": one.stored_unit, "nan_count": one.not_finite}
        for name, one in reading.maps.items()
    }
    if "tmax" not in maps:
        findings.append("no Tmax map: no target to learn")
    attributes = {
        **geometry_attributes(reading.affine),
        "maps": described,
        "frame_times_s": reading.times_s.tolist(),
        "frame_times_source": reading.times_source,
        "frame_order_source": reading.order_source,
        "frame_order_rejected": reading.order_rejected,
        "echo_time_ms": reading.echo_time_ms,
        "repetition_time_ms": reading.repetition_time_ms,
        "field_strength_t": reading.field_strength_t,
        "vendor": reading.vendor,
        "images_found": int((~inserted).sum()),
        "images_expected": reading.slices * inserted.shape[1],
        "intensity_min": scale * float(values.min(axis=(1, 2))[~inserted].min()),
        "intensity_max": scale * float(values.max(axis=(1, 2))[~inserted].max()),
        "nan_count": _not_finite(reading),
        "findings": findings,
        "data": "phantom" if PHANTOM_MODEL in reading.model else "real",
        "rules": dataclasses.asdict(rules),
        "software_version": importlib.metadata.version("tmax_jax"),
        "fingerprint": fingerprint,
    }
    mask = foreground_mask(values, inserted, threshold=rules.threshold)
    if rules.repair == "interpolate" and inserted.any():
        interpolate_missing(values, inserted, reading.times_s)
    return Case(case_id, values, mask, inserted, maps, attributes, scale)


def _counted(reading: Reading, rules: Rules) -> list[str]:
    findings = []
    if reading.inserted.any():
        how = "interpolated in time" if rules.repair == "interpolate" else "inserted as zeros"
        findings.append(f"{int(reading.inserted.sum())} missing images {how}")
    if reading.slices > len(reading.inserted):
        lost = reading.slices - len(reading.inserted)
        findings.append(f"{lost} of {reading.slices} planned slices are missing at an end")
    if not_finite := _not_finite(reading):
        findings.append(f"{not_finite} values were not finite and are 0")
    return findings


def _not_finite(reading: Reading) -> int:
    return reading.not_finite + sum(one.not_finite for one in reading.maps.values())


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
