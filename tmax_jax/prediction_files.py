"""What the command that makes one patient's maps leaves: NIfTI, figures, a summary."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tmax_jax import perfusion
from tmax_jax.cohort.store import Case
from tmax_jax.dicom.series import Series
from tmax_jax.prediction import Clock, Maps
from tmax_jax.results.environment import source_commit
from tmax_jax.results.figures import save_figure
from tmax_jax.results.maps import draw_artery, draw_maps
from tmax_jax.results.nifti import write_map
from tmax_jax.results.records import write_text

UNITS = {
    "cbf": "ml/100 g/min",
    "cbv": "ml/100 g",
    "mtt": "s",
    "ttp": "s",
    "tmax": "s",
    "tmax_uncertainty": "s",
    "delay": "s",
}
_NAMES = {
    "cbf": "cerebral blood flow",
    "cbv": "cerebral blood volume",
    "mtt": "mean transit time",
    "ttp": "time to peak of the tissue's curve, from the bolus arrival",
    "tmax": "time to maximum of the residue function",
    "tmax_uncertainty": "to either side of Tmax: within it the network expects nine truths of ten",
    "delay": "delay of the arterial blood, without the lateness of deconvolution",
}
_HIGHEST_CBF = 100.0  # ml/100 g/min, mean of normal tissue; no brain has more
_NOTICE = "Research only: nothing here is meant for the diagnosis or treatment of a patient."


def summarise(case: Case, made: Maps, seconds: dict[str, float]) -> dict[str, Any]:
    """Gathers what is known of the maps for other programs: nothing in it tells whose they are.

    Args:
      case: whose maps they are.
      made: of `predict`.
      seconds: by stage.

    Returns:
      A value that JSON can hold.
    """
    curves, maps = made.curves, made.maps
    counted = curves.tissue & ~curves.vessels
    flow = maps.get("cbf", np.ones_like(maps["tmax"]))
    clinical = perfusion.clinical_summary(
        cbf=flow, cbv=maps.get("cbv", flow), tmax_s=maps["tmax"], brain=counted, spacing_mm=curves.spacing_mm
    )._asdict()
    notes = list(curves.notes)
    if "cbf" in maps and clinical["normal_cbf"] > _HIGHEST_CBF:
        notes.append(
            "CBF and CBV are too high by one factor, since the artery fills only a part of its voxels: read them"
            " relative to normal tissue"
        )
    if "cbv" not in maps:
        clinical["cbv_index"] = None
    if "cbf" not in maps:  # what needs no flow
        clinical = {key: clinical[key] for key in ("late_ml", "hypoperfusion_intensity_ratio", "smallest_cluster_ml")}
    voxel_ml = float(np.prod(curves.spacing_mm)) / 1000
    quartiles = {name: np.percentile(values[counted], (25, 50, 75)).tolist() for name, values in maps.items()}
    return {
        "notice": _NOTICE,
        "data": case.attributes["data"],
        "model": made.method,
        "trained_on": made.trained_on or None,
        "clinical": clinical,
        "brain_ml": float(curves.brain.sum()) * voxel_ml,
        "early_ml": None if made.early is None else float((made.early & curves.tissue).sum()) * voxel_ml,
        "maps": {name: {"file": f"{name}.nii.gz", "unit": UNITS[name], "quartiles": quartiles[name]} for name in maps},
        "bolus": {
            "arrival_s": float(curves.bolus.arrival) * curves.dt,
            "fall_of_mean_signal": float(curves.bolus.fall),
            "peak_over_noise": float(curves.bolus.peak_over_noise),
        },
        "aif": made.artery.summary(curves.dt) if made.artery else None,
        "scan": {
            "shape_zyx_time": list(curves.concentration.shape),
            "spacing_mm": list(curves.spacing_mm),
            "frame_interval_s": curves.dt,
            **{key: case.attributes.get(key) for key in ("echo_time_ms", "field_strength_t", "vendor")},
        },
        "quality": {
            **{key: case.attributes.get(key) for key in ("images_found", "images_expected")},
            "images_interpolated": int(case.inserted.sum()),
            "frame_order_source": case.attributes.get("frame_order_source"),
            "frame_times_source": case.attributes.get("frame_times_source"),
            "notes": notes,
        },
        "versions": {name: importlib.metadata.version(name) for name in ("tmax_jax", "jax", "numpy")}
        | {"commit": source_commit()},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def write(out: Path, case: Case, made: Maps, clock: Clock) -> dict[str, Any]:
    """Writes maps, figures and, last, the summary.

    Args:
      out: a folder; files of the same names in it are replaced.
      case: whose maps they are.
      made: of `predict`.
      clock: of the stages.

    Returns:
      The summary.
    """
    out.mkdir(parents=True, exist_ok=True)
    curves, data = made.curves, case.attributes["data"]
    with clock.stage("writing NIfTI"):
        for name, values in made.maps.items():
            described = {"Units": UNITS[name], "Description": _NAMES[name], "Method": made.method, "Data": data}
            write_map(out / f"{name}.nii.gz", values, np.array(case.attributes["affine"]), described)
    with clock.stage("figures"):
        baseline = np.asarray(curves.baseline)
        figure = draw_maps(
            made.maps,
            baseline,
            curves.tissue,
            spacing_mm=curves.spacing_mm,
            title=f"perfusion maps: {made.method}",
            data=data,
        )
        save_figure(figure, out / "maps.png", dpi=110)
        if made.artery:
            figure = draw_artery(
                made.artery.curve,
                np.asarray(curves.concentration)[curves.tissue].mean(axis=0),
                curves.dt * np.arange(curves.concentration.shape[-1]),
                arrival_s=float(curves.bolus.arrival) * curves.dt,
                voxels=made.artery.voxels,
                baseline=baseline,
                spacing_mm=curves.spacing_mm,
                title=made.artery.title(),
                data=data,
            )
            save_figure(figure, out / "aif.png", dpi=110)
    summary = summarise(case, made, clock.seconds)
    write_text(out / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary


def write_dicom(folder: Path, case: Case, made: Maps, perfusion_series: Series) -> None:
    """Writes each map as a Parametric Map in the patient's own study: unlike all else it names the patient.

    Maps for which DICOM has no code (uncertainty, delay) are left out.

    Args:
      folder: made where it is not there.
      case: whose maps they are.
      made: of `prediction.predict`.
      perfusion_series: of which the maps were made.

    Raises:
      DicomError: the series' headers name no study or frame of reference.
    """
    from tmax_jax.dicom import parametric_map as dicom  # here: highdicom is imported for nothing else

    places = {int(z): frame for z, frame in zip(perfusion_series.z, perfusion_series.frames, strict=True)}
    sources = dicom.read_sources([places[z] for z in sorted(places)])
    affine, version = np.array(case.attributes["affine"]), importlib.metadata.version("tmax_jax")
    folder.mkdir(parents=True, exist_ok=True)
    coded = [(name, values) for name, values in made.maps.items() if name in dicom.QUANTITIES]
    for number, (name, values) in enumerate(coded):
        by = dicom.Made(made.method, version, series_number=9000 + number)
        dicom.parametric_map(values, name, affine, sources, by).save_as(folder / f"{name}.dcm")


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints the volumes, and what was assumed or found wanting."""
    clinical = summary["clinical"]
    late = ", ".join(f"> {threshold} s: {volume:.0f}" for threshold, volume in clinical["late_ml"].items())
    console.print(f"Tmax volumes (mL) {late}", highlight=False)
    if "core_ml" in clinical:
        ratio = clinical["mismatch_ratio"]
        console.print(
            f"core {clinical['core_ml']:.0f} mL, mismatch {clinical['mismatch_ml']:.0f} mL"
            + (f", ratio {ratio:.1f}" if ratio is not None else ""),
            highlight=False,
        )
    for note in summary["quality"]["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)
    console.print(_NOTICE, style="dim", markup=False)


def print_timing(seconds: dict[str, float], total_s: float, console: Console) -> None:
    """Prints the table of stages; what no stage counted is start and imports."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for name, value in [*seconds.items(), ("start and imports", total_s - sum(seconds.values()))]:
        table.add_row(name, f"{value:.2f}")
    table.add_section()
    table.add_row("all", f"{total_s:.2f}")
    console.print(table)
