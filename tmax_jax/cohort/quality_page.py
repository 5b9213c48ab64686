"""The page on which a person looks through a cohort: one row a patient, in one file that needs no other.

Beside the store lies cohort.zarr.qc/: index.html, cases.csv, and a record a case, from which both are joined. A record
is made again only when its case has changed. Nothing here says who a patient is, but faces and scans can: the page is
for those who may see the store.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from tmax_jax.cohort import quality
from tmax_jax.cohort.batches import frame_interval_s
from tmax_jax.cohort.places import path_beside
from tmax_jax.cohort.quality import Finding, Quality, findings_of, mask_findings, measure
from tmax_jax.cohort.quality_html import COLUMNS, page_html
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.store import Case, list_cases, read_attributes, read_case
from tmax_jax.cohort.thumbnails import LATEST_TMAX_S, curve_svg, histogram_svg, slice_png
from tmax_jax.files import csv_text, write_whole

_VERSION = 1  # of a record; another one makes all records again


def write_page(store: str | Path, outcomes: Sequence[Outcome] = (), pool: Executor | None = None) -> Path:
    """Writes the page of a cohort.

    Args:
      store: of the cohort.
      outcomes: of the conversion; patients that were not converted are listed with their counts.
      pool: makes the records of cases that have changed, several at once.

    Returns:
      The path of index.html, in the folder `.qc` beside the store.

    Raises:
      CohortError: no such store, or a case that cannot be read.

    Example:
      `write_page("cohort.zarr")`
    """
    folder = path_beside(store, ".qc")
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    cases = list_cases(store)
    run = pool.map if pool else map
    made = run(make_record, [store] * len(cases), cases, [folder / "cases"] * len(cases))
    records = [record for record in made if record is not None]
    other = mask_findings({record["case"]: record["numbers"]["mask_ml"] for record in records})
    for record in records:
        record["findings"] += [other[record["case"]]] if record["case"] in other else []
    _write_csv(folder / "cases.csv", records)
    write_whole(folder / "index.html", page_html(records, outcomes, folder.name.removesuffix(".qc")))
    return folder / "index.html"


def make_record(store: str | Path, case_id: str, folder: Path) -> dict[str, Any] | None:
    """Measures and draws one case, or reads what was made of it before.

    Args:
      store: of the cohort.
      case_id: one of its cases.
      folder: of the records.

    Returns:
      Numbers, findings and pictures, as JSON holds them; None for a case without perfusion.
    """
    path = folder / f"{case_id}.json"
    attributes = read_attributes(store, case_id)
    key = hashlib.sha256(json.dumps([_VERSION, attributes], sort_keys=True).encode()).hexdigest()
    if path.exists():
        record = json.loads(path.read_text())
        if record["key"] == key:
            return record
    case = read_case(store, case_id, maps=["tmax"] if "tmax" in attributes["maps"] else [])
    if case.perfusion is None:
        return None
    measured = measure(case)
    record = {"key": key, "case": case_id, **_describe(case, measured), "pictures": _draw(case, measured)}
    write_whole(path, json.dumps(record))
    return record


def _describe(case: Case, measured: Quality) -> dict[str, Any]:
    assert case.perfusion is not None
    found = case.attributes
    numbers = {
        "bolus_arrival_s": measured.arrival_s if measured.has_bolus else math.nan,
        "bolus_fall_percent": 100 * measured.bolus,
        "drift_percent": 100 * measured.drift,
        "spikes": len(measured.spikes),
        "motion_mm": measured.motion_mm,
        "snr": measured.snr,
        "mask_ml": measured.mask_ml,
        "missing_images": measured.missing_images,
    }
    findings = findings_of(measured)
    if "excluded" in found:
        text = f"its files have changed and were {found['excluded']}: an earlier conversion, which training leaves out"
        findings.insert(0, Finding("case", text))
    if found.get("nan_count"):
        findings.append(Finding("values", f"{found['nan_count']} values of the source were not finite and are 0"))
    return {
        "data": found["data"],
        "vendor": found.get("vendor") or "unknown vendor",
        "shape": list(case.perfusion.shape),
        "spacing_mm": found["spacing_mm"],
        "frame_interval_s": frame_interval_s(found["frame_times_s"]),
        "numbers": {name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "findings": findings,
    }


def _draw(case: Case, measured: Quality) -> dict[str, str]:
    """Draws the slice in the middle of the mask, the mean curve and the map's histogram."""
    assert case.perfusion is not None
    z = round(float(np.average(np.arange(len(case.mask)), weights=case.mask.sum(axis=(1, 2)) + 1e-9)))
    images, mask, spacing_mm = case.perfusion[z], case.mask[z], case.attributes["spacing_mm"][1:]
    there = ~case.inserted[z]
    before = there & (measured.times_s < measured.arrival_s) if measured.has_bolus else there
    steady = before & (np.arange(len(there)) >= quality.NON_STEADY_FRAMES)
    baseline = images[..., steady if steady.any() else there].mean(axis=-1)
    apart = np.where(there, np.abs(measured.times_s - measured.peak_s), np.inf)
    top = float(np.percentile(baseline, 99.5))
    pictures = {
        "baseline": slice_png(baseline, mask, spacing_mm, top=top),
        "peak": slice_png(images[..., int(apart.argmin())], mask, spacing_mm, top=top),
        "curve": curve_svg(
            measured.curve,
            measured.times_s,
            case.inserted.mean(axis=0),
            measured.arrival_s if measured.has_bolus else math.nan,
        ),
    }
    if "tmax" in case.maps:
        tmax_s = case.maps["tmax"]
        pictures["tmax"] = slice_png(tmax_s[z], mask, spacing_mm, top=LATEST_TMAX_S, colours="turbo", outline=False)
        voxel_ml = float(np.prod(case.attributes["spacing_mm"])) / 1000
        pictures["histogram"] = histogram_svg(tmax_s[case.mask], voxel_ml)
    return pictures


def _write_csv(path: Path, records: Sequence[dict[str, Any]]) -> None:
    names = [column.name for column in COLUMNS]
    rows = []
    for record in records:
        numbers = [record["numbers"][name] for name in names]
        rounded = ["" if value is None else round(value, 4) for value in numbers]
        about = [record["case"], record["data"], record["vendor"], *record["shape"]]
        interval_s = round(record["frame_interval_s"], 4)
        rows.append([*about, interval_s, *rounded, "; ".join(text for _, text in record["findings"])])
    header = ["case", "data", "vendor", "z", "y", "x", "frames", "frame_interval_s", *names, "findings"]
    write_whole(path, csv_text(header, rows))
