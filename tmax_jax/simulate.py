"""Simulates stroke patients and writes them as DICOM, to be converted like a hospital's.

  python -m tmax_jax.simulate --out=phantom --patients=12
  python -m tmax_jax.convert --dicom_dir=phantom/dicom --out=phantom/cohort.zarr

Each patient has a perfusion series and a Tmax map series, in one of three vendors' manners. The truth (delay, CBF, CBV,
MTT, noise-free classical Tmax, lesion) goes to truth.zarr beside the DICOM files; training never reads it.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tmax_jax import cli
from tmax_jax.cohort.store import Case, write_case
from tmax_jax.dicom.write import TIME_KEYS, SeriesHeader, write_images
from tmax_jax.perfusion.anatomy import FIELD_OF_VIEW_MM
from tmax_jax.perfusion.phantom import Phantom, Subject, draw_subject, simulate_patient

_OUT = flags.DEFINE_string(
    "out", None, "folder to write dicom/ and truth.zarr into; must be new or empty", allow_override=True
)
_PATIENTS = flags.DEFINE_integer("patients", 12, "number of patients", lower_bound=1)
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time", allow_override=True)
_SEED = flags.DEFINE_integer("seed", 0, "of everything that is random")
_MISSING = flags.DEFINE_float("missing_fraction", 0.0, "of the perfusion images are left out, at random", 0.0, 0.99)
_SHUFFLE = flags.DEFINE_boolean("shuffle", False, "mix a patient's files over folders that mean nothing")
_DESCENDING = flags.DEFINE_boolean("map_descending", False, "number the map's slices from the top down")
_TIME_KEY = flags.DEFINE_enum(
    "time_key", "vendor", ["vendor", *TIME_KEYS], "header value that tells the time; vendor: a patient's own"
)
_NAN = flags.DEFINE_integer("map_nan", 0, "voxels of each map that hold NaN; it is then written as floats", 0)
_UNIT = flags.DEFINE_enum("map_unit", "ms", ["ms", "s"], "of the map: ms is stored as 0..17199, s has a slope of 0.001")
_MAPS = flags.DEFINE_list("maps", ["tmax"], "map series of each patient: tmax and any of cbf, cbv, mtt")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "processes that write", 1, allow_override=True)

VENDORS = (  # manufacturer, time key, rescale slope
    ("Philips", "temporal_position", 1.290354),
    ("SIEMENS", "acquisition_number", 1.0),
    ("GE MEDICAL SYSTEMS", "instance_number", 1.0),
)
FURTHER_MAPS = {  # field of the phantom, series number, unit, rescale slope
    "cbf": ("cbf", 101, "ml/100 g/min", 0.01),
    "cbv": ("cbv", 102, "ml/100 g", 0.001),
    "mtt": ("mtt_s", 103, "s", 0.001),
}
MODEL = "tmax_jax phantom"  # by which the converter knows simulated patients


class SimulateError(ValueError):
    """A cohort that cannot be simulated as it was asked for."""


class Options(NamedTuple):
    """How the files of a cohort are written."""

    seed: int = 0
    missing_fraction: float = 0.0
    shuffle: bool = False
    map_descending: bool = False
    time_key: str = "vendor"
    map_nan: int = 0
    map_unit: str = "ms"
    maps: tuple[str, ...] = ("tmax",)  # and any of `FURTHER_MAPS`


def main(_: Sequence[str]) -> None:
    """Reads the flags and writes the cohort."""
    if not _OUT.value:
        raise SimulateError("say where the files go: --out=DIR")
    out = Path(_OUT.value)
    try:
        z, y, x, frames = (int(side) for side in _SIZE.value)
    except ValueError:
        raise SimulateError(f"--size={','.join(_SIZE.value)} must be four numbers, z,y,x,time") from None
    if min(z, y, x) < 4 or frames < 20:
        raise SimulateError(f"--size={z},{y},{x},{frames} is too small: at least 4,4,4,20 (the bolus needs its time)")
    options = Options(
        _SEED.value,
        _MISSING.value,
        _SHUFFLE.value,
        _DESCENDING.value,
        _TIME_KEY.value,
        _NAN.value,
        _UNIT.value,
        tuple(_MAPS.value),
    )
    if "tmax" not in options.maps or set(options.maps) - {"tmax", *FURTHER_MAPS}:
        raise SimulateError(f"--maps={','.join(options.maps)} must be tmax and any of {', '.join(FURTHER_MAPS)}")
    console = cli.make_console()
    files = simulate_cohort(out, _PATIENTS.value, (z, y, x), frames, options, _WORKERS.value, console)
    console.print(
        f"{_PATIENTS.value} simulated patients, {files} files, in {out / 'dicom'}; the truth is in"
        f" {out / 'truth.zarr'}\nConvert them: python -m tmax_jax.convert --dicom_dir={out / 'dicom'}"
        f" --out={out / 'cohort.zarr'}",
        markup=False,
        soft_wrap=True,
    )


def simulate_cohort(
    out: Path,
    patients: int,
    size: tuple[int, int, int],
    frames: int,
    options: Options,
    workers: int,
    console: Console,
) -> int:
    """Simulates patients one after the other while other processes write the ones before.

    Args:
      out: folder for `dicom/` and `truth.zarr`.
      patients: how many.
      size: `(z, y, x)`.
      frames: time points.
      options: see there.
      workers: processes that write.
      console: for the progress bar.

    Returns:
      The number of files.

    Raises:
      SimulateError: the folder holds files already.
    """
    if out.exists() and any(out.iterdir()):
        raise SimulateError(f"--out={out} is not empty; name a new folder, so that no patients are mixed")
    out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")  # a forked copy of JAX's threads would hang
    with ProcessPoolExecutor(workers, mp_context=context) as pool, Progress(*columns, console=console) as progress:
        task = progress.add_task("Simulating (patients)", total=patients)
        pool.map(abs, range(workers))  # starts the processes while the first patient compiles
        written: list[Future[int]] = []
        for number in range(patients):
            if number >= workers:
                written[number - workers].result()  # no more patients in memory than processes to write them
            subject = draw_subject(options.seed, number)
            key = jax.random.fold_in(jax.random.key(options.seed), number)
            phantom = Phantom(*map(np.asarray, simulate_patient(key, subject, size=size, frames=frames)))
            written.append(pool.submit(write_patient, out, number, phantom, subject, options))
            written[-1].add_done_callback(lambda _: progress.advance(task))
        return sum(future.result() for future in written)


def write_patient(out: Path, number: int, phantom: Phantom, subject: Subject, options: Options) -> int:
    """Writes one patient's files and truth.

    Args:
      out: folder of the cohort.
      number: of the patient.
      phantom: in host memory.
      subject: of the same patient.
      options: see there.

    Returns:
      The number of DICOM files.
    """
    manufacturer, vendors_key, slope = VENDORS[number % len(VENDORS)]
    patient_id = f"PHANTOM-{number + 1:04d}"
    depth, height, width = phantom.tmax_s.shape
    shared: dict[str, Any] = {
        "patient_id": patient_id,
        "patient_name": f"Phantom^Simulated {number + 1:04d}",
        "model": MODEL,
        "tilt_rad": 0.15 + subject.head.yaw_rad,
        "spacing_mm": tuple(np.divide(FIELD_OF_VIEW_MM, (depth, height, width)).tolist()),
    }
    study = f"tmax_jax phantom {options.seed} {number} {phantom.signal.shape}"
    perfusion = SeriesHeader(
        **shared,
        seed_text=f"{study}: perfusion",
        series_number=7,
        description="ep2d_perf",
        manufacturer=manufacturer,
        image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
        slope=slope,
        time_key=vendors_key if options.time_key == "vendor" else options.time_key,
        frame_interval_s=subject.frame_interval_s,
        echo_time_ms=1000 * subject.echo_time_s,
    )
    stored = np.clip(np.round(np.asarray(phantom.signal) / slope), 0, 4095).astype(np.uint16)
    rng = np.random.default_rng((options.seed, number, 1))
    slices, _, _, times = stored.shape
    counts = {7: slices * times, 100: slices}
    counts |= {FURTHER_MAPS[name][1]: slices for name in options.maps if name != "tmax"}
    names = _file_names(out / "dicom", patient_id, counts, rng, shuffle=options.shuffle)
    lost = rng.choice(slices * times, round(options.missing_fraction * slices * times), replace=False)
    for index in lost:
        names[7][index] = None
    files = write_images(names[7], stored, perfusion)
    files += _write_map(names[100], phantom, shared, study, options, rng)
    for name in options.maps:
        if name != "tmax":
            files += _write_further_map(names[FURTHER_MAPS[name][1]], name, phantom, shared, study)
    _write_truth(out / "truth.zarr", patient_id, phantom)
    return files


def _write_map(
    names: list[Path | None], phantom: Phantom, shared: dict[str, Any], study: str, options: Options, rng: Any
) -> int:
    unit_s = 0.001 if options.map_unit == "ms" else 1.0
    tmax_s = np.asarray(phantom.tmax_s)
    stored = np.round(tmax_s * 1000).astype(np.uint16)[..., None]
    slope = 1.0 if options.map_unit == "ms" else 0.001
    if options.map_nan:  # integers hold no NaN
        stored = (tmax_s / unit_s).astype(np.float32)[..., None]
        stored.reshape(-1)[rng.choice(stored.size, options.map_nan, replace=False)] = np.nan
        slope = 1.0
    header = SeriesHeader(
        **shared,
        seed_text=f"{study}: tmax",
        series_number=100,
        description=f"Tmax [{options.map_unit}]",
        manufacturer="tmax_jax",
        image_type=("DERIVED", "SECONDARY", "PERFUSION", "TMAX"),
        slope=slope,
        rescale_type=options.map_unit,
        time_key="instance_number",
        descending=options.map_descending,
    )
    return write_images(names, stored, header)


def _write_further_map(
    names: list[Path | None], name: str, phantom: Phantom, shared: dict[str, Any], study: str
) -> int:
    field, number, unit, slope = FURTHER_MAPS[name]
    values = np.asarray(getattr(phantom, field))
    header = SeriesHeader(
        **shared,
        seed_text=f"{study}: {name}",
        series_number=number,
        description=f"{name.upper()} [{unit}]",
        manufacturer="tmax_jax",
        image_type=("DERIVED", "SECONDARY", "PERFUSION", name.upper()),
        slope=slope,
        rescale_type=unit,
        time_key="instance_number",
    )
    stored = np.clip(np.round(values / slope), 0, np.iinfo(np.uint16).max).astype(np.uint16)[..., None]
    return write_images(names, stored, header)


def _file_names(
    out: Path, patient_id: str, counts: dict[int, int], rng: np.random.Generator, *, shuffle: bool
) -> dict[int, list[Path | None]]:
    """Draws names that say nothing of slice or time, in nested folders as exports have them."""
    total = sum(counts.values())
    numbers = rng.choice(16**8, size=total, replace=False)
    folders = rng.integers(0, 5, total)
    names: dict[int, list[Path | None]] = {}
    start = 0
    for series, count in counts.items():
        places = zip(numbers[start : start + count], folders[start : start + count], strict=True)
        parts = [(f"{number:08X}", f"DIR{folder:03d}" if shuffle else f"SE{series:06d}") for number, folder in places]
        names[series] = [out / patient_id / "ST000001" / folder / name for name, folder in parts]
        start += count
    return names


def _write_truth(store: Path, patient_id: str, phantom: Phantom) -> None:
    shape = phantom.brain.shape
    fields = ("tmax_s", "delay_s", "cbf", "cbv", "mtt_s", "lesion")
    units = {"tmax_s": "s", "delay_s": "s", "cbf": "ml/100 g/min", "cbv": "ml/100 g", "mtt_s": "s", "lesion": "1"}
    maps = {name.removesuffix("_s"): np.asarray(getattr(phantom, name)) for name in fields}
    described = {name.removesuffix("_s"): {"unit": units[name]} for name in fields}
    attributes = {"data": "phantom", "patient_id": patient_id, "maps": described}
    inserted = np.zeros((shape[0], phantom.signal.shape[-1]), bool)
    write_case(store, Case(patient_id, None, np.asarray(phantom.brain), inserted, maps, attributes))


if __name__ == "__main__":
    cli.run(main, SimulateError)
