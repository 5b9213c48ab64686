"""Which of a patient's series is the perfusion and which the Tmax map, by their headers or by the user's word."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from tmax_jax.cohort.scan import Patient
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.series import OFF_GRID, Overrides, Series, extend_slices, is_tmax, order_series, split_series

SECONDS = {"s": 1.0, "ms": 0.001}
_UNIT = re.compile(r"(?:^|[\s\[(_,])(ms|msec|s|sec|seconds|milliseconds)(?:$|[\s\])_,])", re.IGNORECASE)
_TMAX = re.compile(r"t[\s_-]?max", re.IGNORECASE)
FURTHER = ("cbf", "cbv", "mtt", "ttp")  # maps that are kept beside Tmax
_FURTHER = re.compile(rf"(?:^|[^a-z])(?:r|rel)?({'|'.join(FURTHER)})(?:$|[^a-z])", re.IGNORECASE)
_BRACKETS = re.compile(r"[\[(]([^\])]+)[\])]")
_ORIENTATION_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the command line may change."""

    max_missing: float = 0.05  # fraction of the perfusion images; above, a patient is dropped
    threshold: float = 0.10  # of the mask
    target_unit: str = "auto"  # "auto", "s" or "ms"
    repair: str = "none"  # or "interpolate": what missing images hold
    perfusion_series: str = ""  # description, number or UID, where several or none would do
    map_series: str = ""
    time_key: str = ""  # these four as in `series.Overrides`
    n_times: int = 0
    n_slices: int = 0
    echo: float = 0.0

    def overrides(self) -> Overrides:
        """What these rules say about the order of images."""
        return Overrides(self.time_key, self.n_times, self.n_slices, self.echo)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A series, or why it is none, and what it is taken for."""

    frames: list[Frame]
    series: Series | None
    error: str
    role: str  # "perfusion", "map" or "other"
    why: str

    @property
    def label(self) -> str:
        """How a message may name it."""
        if self.series:
            return self.series.label
        return f"'{self.frames[0].description or 'no description'}' ({len(self.frames)} images: {self.error})"


@dataclasses.dataclass(frozen=True)
class Choice:
    """What of a patient is converted."""

    perfusion: Series
    tmax: Series | None
    findings: list[str]
    further: dict[str, Series]  # by name, of `FURTHER`


def find_candidates(frames: Sequence[Frame], rules: Rules) -> list[Candidate]:
    """Orders every series of a patient and says what it seems to be.

    Args:
      frames: of one patient.
      rules: with the user's word about order and roles.

    Returns:
      A candidate a series.
    """
    groups = split_series(frames)
    found = []
    for group in groups:
        try:
            series, error = order_series(group, rules.overrides()), ""
        except DicomError as problem:
            series, error = None, str(problem)
        found.append(Candidate(group, series, error, *_role(group, series, rules)))
    return found


def _role(frames: Sequence[Frame], series: Series | None, rules: Rules) -> tuple[str, str]:
    if rules.perfusion_series and _is_named(frames, rules.perfusion_series):
        return "perfusion", f"--perfusion_series={rules.perfusion_series}"
    if rules.map_series and _is_named(frames, rules.map_series):
        return "map", f"--map_series={rules.map_series}"
    frame = frames[0]
    if series is None:
        named = not rules.map_series and bool(_TMAX.search(frame.description + frame.quantity))
        return ("map", "Tmax in its headers") if named else ("other", "it cannot be ordered")
    if is_tmax(series):
        return ("map", "Tmax in its headers") if not rules.map_series else ("other", "another map was named")
    if frame.kind == "parametric map":
        return "other", f"a parametric map of {frame.quantity or 'an unnamed quantity'}"
    if series.time.count == 1:
        return "other", "one image a slice, and nothing in its headers says Tmax"
    if rules.perfusion_series:
        return "other", "another perfusion series was named"
    return "perfusion", f"{series.time.count} times"


def _is_named(frames: Sequence[Frame], name: str) -> bool:
    frame = frames[0]
    number = "" if frame.series_number is None else f"{frame.series_number:g}"
    return name in (frame.series_uid, number) or name.lower() == frame.description.lower()


def choose(patient: Patient, rules: Rules) -> Choice:
    """Picks the perfusion series and the Tmax map of a patient.

    Args:
      patient: of `scan`.
      rules: with the user's word.

    Returns:
      The choice.

    Raises:
      DicomError: no series, or several, would do; or a file of a chosen series is unusable.
    """
    candidates = find_candidates(patient.frames, rules)
    perfusion = _pick(candidates, "perfusion", rules.perfusion_series)
    tmax = _pick(candidates, "map", rules.map_series)
    if perfusion is None:
        raise DicomError(f"no perfusion series: {_why_none(candidates, patient)}")
    _refuse_unusable(patient, [perfusion, *([tmax] if tmax else [])], tmax is None)
    series, other = perfusion.series, tmax.series if tmax else None
    if series is None or (tmax and other is None):
        raise DicomError(perfusion.error or (tmax.error if tmax else ""))
    if other:
        studies = {series.frames[0].study_uid, other.frames[0].study_uid} - {""}
        if len(studies) > 1 and not rules.map_series:
            raise DicomError(
                f"the perfusion {series.label} and the Tmax map {other.label} are of two studies; say that they belong"
                f" together with --map_series='{other.frames[0].description}'"
            )
        if other.frames[0].shape == series.frames[0].shape:
            series = extend_slices(series, other.frames)
    further = _further_maps(candidates)
    taken = (series, other, *further.values())
    left = [candidate for candidate in candidates if candidate not in (perfusion, tmax)]
    left = [candidate for candidate in left if not any(candidate.series is one for one in taken if one)]
    findings = [f"left out: {candidate.label}" for candidate in left]
    used = {frame.series_uid for frame in (*series.frames, *(other.frames if other else ()))}
    findings += [str(error) for error in patient.damaged if error.series_uid in used or not error.series_uid]
    return Choice(series, other, findings, further)


def _further_maps(candidates: Sequence[Candidate]) -> dict[str, Series]:
    """The series of one image a slice that are named as one of `FURTHER`, each name once; of two none is taken."""
    named: dict[str, list[Series]] = {}
    for candidate in candidates:
        series = candidate.series
        if candidate.role == "other" and series is not None and series.time.count == 1:
            frame = series.frames[0]
            texts = (*frame.image_type, frame.quantity, frame.description)
            if found := next((match for text in texts if (match := _FURTHER.search(text))), None):
                named.setdefault(found.group(1).lower(), []).append(series)
    return {name: series[0] for name, series in named.items() if len(series) == 1}


def _pick(candidates: Sequence[Candidate], role: str, name: str) -> Candidate | None:
    found = [candidate for candidate in candidates if candidate.role == role]
    option = f"--{role}_series"
    if name and not found:
        names = "; ".join(candidate.label for candidate in candidates)
        raise DicomError(f"{option}={name} is neither description, number nor UID of a series; there are: {names}")
    if len(found) > 1:
        what = {"perfusion": "perfusion", "map": "Tmax"}[role]
        names = "; ".join(_label_with_number(candidate) for candidate in found)
        raise DicomError(f"{len(found)} {what} series, and one is wanted: {names}. Name one with {option}")
    return found[0] if found else None


def _label_with_number(candidate: Candidate) -> str:
    number = candidate.frames[0].series_number
    return candidate.label if number is None else f"{candidate.label}, number {number:g}"


def _why_none(candidates: Sequence[Candidate], patient: Patient) -> str:
    errors = [candidate.error for candidate in candidates if candidate.error]
    if errors:
        return errors[0]
    bad = [*patient.unusable, *([] if candidates else patient.damaged)]
    if bad:
        return f"{bad[0]}" + (f" (and {len(bad) - 1} more files)" if len(bad) > 1 else "")
    names = "; ".join(_label_with_number(candidate) for candidate in candidates)
    return f"{len(candidates)} series of one image a slice: {names}. Name one with --perfusion_series to take it"


def _refuse_unusable(patient: Patient, chosen: Sequence[Candidate], without_map: bool) -> None:
    """Refuses a patient of whose chosen series, or only map, a file is unusable; files of others are left out."""
    used = {candidate.frames[0].series_uid for candidate in chosen}
    for error in patient.unusable:
        if error.series_uid in used or (without_map and _TMAX.search(error.description)):
            more = f" (and {len(patient.unusable) - 1} more files)" if len(patient.unusable) > 1 else ""
            raise DicomError(f"{error}{more}")


def match_map(tmax: Series, perfusion: Series) -> np.ndarray:
    """Finds the perfusion's slice for every slice of a map, by geometry and never by index.

    Args:
      tmax: one image a slice.
      perfusion: of the same scan.

    Returns:
      int64 `[frame of the map]`, the slice of each; every slice of the perfusion once.

    Raises:
      DicomError: the map lies on another grid.
    """
    frame, other = tmax.frames[0], perfusion.frames[0]
    if frame.photometric == "MONOCHROME1":
        raise DicomError(f"the Tmax map {tmax.label} is MONOCHROME1, an inverted picture; export the measured values")
    shapes = f"{_shape(tmax)} against {_shape(perfusion)}"
    if (
        frame.shape != other.shape
        or np.abs(np.subtract(frame.orientation, other.orientation)).max() > _ORIENTATION_TOLERANCE
        or not np.allclose(frame.pixel_spacing_mm, other.pixel_spacing_mm, rtol=1e-2)
    ):
        raise DicomError(
            f"the Tmax map {tmax.label} lies on another grid than the perfusion {perfusion.label}: {shapes}"
        )
    place = perfusion.grid.index(tmax.frames)
    z = np.round(place).astype(np.int64)
    if np.abs(place - z).max() >= OFF_GRID or sorted(z) != list(range(perfusion.grid.count)):
        raise DicomError(
            f"the slices of the Tmax map {tmax.label} are not those of the perfusion {perfusion.label}: {shapes};"
            " export both of one scan, completely"
        )
    beside = tmax.grid.origin_mm - perfusion.grid.origin_mm
    beside = beside - perfusion.grid.normal * (beside @ perfusion.grid.normal)
    if np.linalg.norm(beside) > 0.5 * min(other.pixel_spacing_mm):
        raise DicomError(
            f"the Tmax map {tmax.label} lies {np.linalg.norm(beside):.1f} mm beside the perfusion {perfusion.label}"
        )
    return z


def _shape(series: Series) -> str:
    rows, columns = series.frames[0].shape
    return f"{len(np.unique(series.z))} slices of {rows} x {columns}"


def find_unit(tmax: Series, target_unit: str) -> str:
    """Finds the unit of a map's values in its header; a guess from their size would be wrong in silence.

    Args:
      tmax: the map.
      target_unit: "s" or "ms" where the user says it, "auto" where the header must.

    Returns:
      "s" or "ms".

    Raises:
      DicomError: the header does not say.
    """
    frame = tmax.frames[0]
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


def unit_as_named(series: Series) -> str:
    """Returns the unit of a map's values as its header words it; empty where it does not say."""
    frame = series.frames[0]
    if frame.real_world:
        return frame.real_world[2]
    found = _BRACKETS.search(frame.description)
    return frame.rescale_type or (found.group(1) if found else "")
