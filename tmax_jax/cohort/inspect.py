"""What is in a folder, and what a conversion would do with it; nothing is written."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tmax_jax.cohort.reading import TooFewError, check_missing
from tmax_jax.cohort.scan import Patient, Scan
from tmax_jax.cohort.select import Candidate, Rules, choose, find_candidates, find_unit, match_map
from tmax_jax.dicom.assemble import read_stored
from tmax_jax.dicom.frame_times import frame_times_s
from tmax_jax.dicom.geometry import SLICE_KEY, affine_ras
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.series import Series, order_series, split_kinds


def inspect(found: Scan, rules: Rules) -> dict[str, Any]:
    """Describes every series of every patient.

    Args:
      found: of `scan`.
      rules: that a conversion would have.

    Returns:
      What `--json` prints: patients, each with series and a verdict, and the files that were skipped. Patients are
      numbered and known by their folders; no identifier of the headers is in it.
    """
    ordered = sorted(found.patients, key=lambda patient: min(patient.files, default=""))
    return {
        "patients": [_patient(number, patient, rules) for number, patient in enumerate(ordered, 1)],
        "skipped": list(found.skipped),
    }


def _patient(number: int, patient: Patient, rules: Rules) -> dict[str, Any]:
    series = []
    for candidate in find_candidates(patient.frames, rules):
        series += _parts(candidate, rules)
    folders = sorted({name.rpartition("/")[0] or "." for name in patient.files})
    return {
        "patient": number,
        "folders": folders[:4] + ([f"and {len(folders) - 4} more"] if len(folders) > 4 else []),
        "files": len(patient.files),
        "series": series,
        "damaged": [str(error) for error in patient.damaged],
        "unusable": [str(error) for error in patient.unusable],
        "verdict": verdict(patient, rules),
    }


def verdict(patient: Patient, rules: Rules) -> dict[str, str]:
    """Says what a conversion would do with a patient, and why.

    Example:
      `verdict(patient, Rules())["status"]  # "convert", "drop" or "refuse"`
    """
    try:
        choice = choose(patient, rules)
        check_missing(~choice.perfusion.there(), choice.perfusion.slices, rules)
        if choice.tmax:
            match_map(choice.tmax, choice.perfusion)
            find_unit(choice.tmax, rules.target_unit)
    except TooFewError as error:
        return {"status": "drop", "reason": "; ".join(error.notes)}
    except DicomError as error:
        return {"status": "refuse", "reason": str(error)}
    what = f"perfusion {choice.perfusion.label}"
    with_map = f"Tmax map {choice.tmax.label}" if choice.tmax else "no Tmax map: no target to learn"
    return {"status": "convert", "reason": f"{what}; {with_map}"}


def _parts(candidate: Candidate, rules: Rules) -> list[dict[str, Any]]:
    """Describes a series; one of several kinds of image, such as two echoes, kind by kind."""
    if candidate.series:
        return [_describe(candidate, candidate.series)]
    parts = split_kinds(candidate.frames)
    if len(parts) < 2:
        return [_header(candidate.frames, candidate) | {"error": candidate.error}]
    described = []
    for kind, frames in parts:
        try:
            part = _describe(candidate, order_series(frames, dataclasses.replace(rules.overrides(), echo_ms=0.0)))
        except DicomError as error:
            part = _header(frames, candidate) | {"error": str(error)}
        described.append(part | {"kind_of_image": kind, "error": candidate.error})
    return described


def _header(frames: Sequence[Frame], candidate: Candidate) -> dict[str, Any]:
    frame = frames[0]
    return {
        "description": frame.description,
        "number": frame.series_number,
        "vendor": frame.manufacturer,
        "kind": frame.kind,
        "images": len(frames),
        "role": candidate.role,
        "role_reason": candidate.why,
        "error": "",
    }


def _describe(candidate: Candidate, series: Series) -> dict[str, Any]:
    affine = affine_ras(series.frames[0], series.grid)[:, [1, 2, 0, 3]]
    rows, columns = series.frames[0].shape
    times_s, times_source = frame_times_s(series.frames, series.time)
    described = _header(series.frames, candidate) | {
        "shape": [rows, columns, series.grid.count, series.time.count],
        "spacing_mm": np.linalg.norm(affine[:3, :3], axis=0).tolist(),
        "affine": affine.tolist(),
        "frame_times_s": times_s.tolist(),
        "frame_times_source": times_source,
        "ordering": {
            "time": series.time.key,
            "slice": SLICE_KEY,
            "rejected": dict(series.time.rejected),
        },
        "images_expected": series.expected,
        "holes": [list(hole) for hole in series.holes()],
        "duplicates": series.repeated,
        "rescale": _rescale(series),
        "findings": series.findings,
    }
    try:
        stored, _, damaged = read_stored(series)
    except DicomError as error:
        return described | {"error": str(error)}
    in_order = np.ascontiguousarray(stored.transpose(1, 2, 0, 3))
    little = in_order.astype(in_order.dtype.newbyteorder("<"), copy=False)
    return described | {
        "stored_sha256": hashlib.sha256(little.tobytes()).hexdigest(),
        "stored_dtype": stored.dtype.name,
        "damaged": damaged,
    }


def _rescale(series: Series) -> dict[str, Any]:
    slopes = sorted({frame.pixels.slope for frame in series.frames})
    intercepts = sorted({frame.pixels.intercept for frame in series.frames})
    frame = series.frames[0]
    mapping = frame.real_world
    return {
        "slope": slopes[0] if len(slopes) == 1 else [slopes[0], slopes[-1]],
        "intercept": intercepts[0] if len(intercepts) == 1 else [intercepts[0], intercepts[-1]],
        "type": frame.rescale_type,
        "padding": frame.pixels.padding,
        "real_world": dict(zip(("slope", "intercept", "unit"), mapping, strict=True)) if mapping else None,
    }


def print_inspection(document: dict[str, Any], console: Console) -> None:
    """Prints an inspection as tables a person can read."""
    for patient in document["patients"]:
        table = Table(box=box.SIMPLE_HEAD, title=f"patient {patient['patient']}: {', '.join(patient['folders'])}")
        for column in ("series", "role, and why", "rows x columns\nslices x times", "ordered by", "missing, findings"):
            table.add_column(column, overflow="fold")
        for series in patient["series"]:
            table.add_row(*_row(series))
        console.print(table)
        for problem in (*patient["unusable"], *patient["damaged"]):
            console.print(f"  {problem}", markup=False, highlight=False)
        outcome = patient["verdict"]
        console.print(f"  verdict: {outcome['status']}: {outcome['reason']}", markup=False, highlight=False)
    for line in document["skipped"]:
        console.print(f"skipped: {line}", markup=False, highlight=False)


def _row(series: dict[str, Any]) -> list[str]:
    name = f"{series['description'] or 'no description'}\n{series['vendor']}, {series['kind']}"
    kind = f"\n{series['kind_of_image']}" if "kind_of_image" in series else ""
    if "shape" not in series:
        return [
            name + kind,
            f"{series['role']}: {series['role_reason']}",
            f"{series['images']} images",
            "",
            series["error"],
        ]
    rows, columns, slices, times = series["shape"]
    spacing = " x ".join(f"{value:.2f}" for value in series["spacing_mm"])
    rejected = "".join(f"\nnot {key}: {reason}" for key, reason in series["ordering"]["rejected"].items())
    holes = len(series["holes"])
    notes = [f"{holes} images missing"] if holes else []
    notes += [f"{series['duplicates']} repeated"] if series["duplicates"] else []
    notes += [*series["findings"], *series.get("damaged", [])]
    last = series["frame_times_s"][-1]
    timed = f"\n{last:.1f} s by {series['frame_times_source']}" if times > 1 else ""
    return [
        name + kind,
        f"{series['role']}: {series['role_reason']}",
        f"{rows} x {columns}, {slices} x {times}\n{spacing} mm",
        f"{series['ordering']['time']}{rejected}{timed}",
        "\n".join([series["error"], *notes] if series["error"] else notes) or "complete",
    ]
