"""Converts a folder of patients' DICOM files to a cohort.

  python -m tmax_jax.convert --dicom_dir=DIR --out=cohort.zarr
  python -m tmax_jax.convert --nifti_dir=DIR --out=cohort.zarr   4-D NIfTI with BIDS sidecars
  python -m tmax_jax.convert --inspect=DIR                       what is in there, and what would be done with it

Patients, series, slices and frames are found by the files' headers, in folders and in archives. A patient with a few
perfusion images missing is kept, with zeros at their places. Run it again after adding files: only what changed is
converted. Beside the store lies a page on which a person looks through the cohort, cohort.zarr.qc/index.html.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from tmax_jax import cli
from tmax_jax.cohort.cluster import open_pool
from tmax_jax.cohort.inspect import inspect, print_inspection
from tmax_jax.cohort.places import CohortError, path_beside
from tmax_jax.cohort.quality_page import write_page
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.run import convert_folder, convert_nifti_folder
from tmax_jax.cohort.scan import list_files, scan
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import has_case
from tmax_jax.dicom.timing import TIME_KEYS

_DICOM_DIR = flags.DEFINE_string("dicom_dir", None, "folder with the patients' DICOM files, nested as they may be")
_NIFTI_DIR = flags.DEFINE_string("nifti_dir", None, "folder with 4-D NIfTI files and BIDS sidecars, instead of DICOM")
_INSPECT = flags.DEFINE_string("inspect", None, "folder to describe; nothing is converted")
_JSON = flags.DEFINE_boolean("json", False, "with --inspect: print one JSON document and nothing else")
_OUT = flags.DEFINE_string("out", "cohort.zarr", "store to write: a folder, s3://... or gs://...", allow_override=True)
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "processes", lower_bound=1, allow_override=True)
_SCHEDULER = flags.DEFINE_string(
    "scheduler", None, "address of a Dask scheduler whose workers convert, tcp://HOST:8786"
)
_SLURM = flags.DEFINE_boolean("slurm", False, "convert in jobs of SLURM, --workers of them")
_STRICT = flags.DEFINE_boolean("strict", False, "exit with an error when any patient was dropped or refused")
_MAX_MISSING = flags.DEFINE_float(
    "max_missing", 0.05, "drop a patient with more than this fraction of perfusion images missing", 0.0, 1.0
)
_REPAIR = flags.DEFINE_enum(
    "repair", "none", ["none", "interpolate"], "what missing images hold: zeros, or what lies between their neighbours"
)
_TARGET_UNIT = flags.DEFINE_enum("target_unit", "auto", ["auto", "s", "ms"], "unit of stored Tmax; auto: by its header")
_PERFUSION_SERIES = flags.DEFINE_string("perfusion_series", "", "description, number or UID of the perfusion series")
_MAP_SERIES = flags.DEFINE_string("map_series", "", "description, number or UID of the Tmax map's series")
_TIME_KEY = flags.DEFINE_enum(
    "time_key",
    "",
    ["", *TIME_KEYS],
    "the value that orders images in time, if not found by itself",
    allow_override=True,
)
_N_TIMES = flags.DEFINE_integer("n_times", 0, "time points, where the headers declare a wrong number", lower_bound=0)
_N_SLICES = flags.DEFINE_integer("n_slices", 0, "slices, where the headers declare a wrong number", lower_bound=0)
_ECHO = flags.DEFINE_float("echo", 0.0, "echo time (ms) to take of a series of several echoes", lower_bound=0.0)
_STYLES = {"converted": "green", "unchanged": "dim", "dropped": "yellow", "refused": "red", "gone": "yellow"}
_NOTES = 4  # shown of one patient; all are in the store
_SKIPPED = 20  # files shown


def main(_: Sequence[str]) -> None:
    """Reads the flags, converts, and prints what became of every patient."""
    rules = Rules(
        max_missing=_MAX_MISSING.value,
        target_unit=_TARGET_UNIT.value,
        repair=_REPAIR.value,
        perfusion_series=_PERFUSION_SERIES.value,
        map_series=_MAP_SERIES.value,
        time_key=_TIME_KEY.value,
        n_times=_N_TIMES.value,
        n_slices=_N_SLICES.value,
        echo=_ECHO.value,
    )
    if _INSPECT.value:
        inspect_folder(Path(_INSPECT.value), rules, _WORKERS.value, as_json=_JSON.value)
        return
    if bool(_DICOM_DIR.value) == bool(_NIFTI_DIR.value):
        raise CohortError("say where the files are, with one of: --dicom_dir=DIR, --nifti_dir=DIR")
    console = cli.make_console()
    folder, out = Path(_DICOM_DIR.value or _NIFTI_DIR.value or ""), _OUT.value
    outcomes, skipped = convert_cohort(
        folder,
        out,
        rules,
        _WORKERS.value,
        console,
        scheduler=_SCHEDULER.value,
        slurm=_SLURM.value,
        nifti=bool(_NIFTI_DIR.value),
    )
    print_outcomes(outcomes, skipped, out, console)
    bad = [outcome for outcome in outcomes if outcome.status in ("dropped", "refused")]
    if not any(outcome.status in ("converted", "unchanged") for outcome in outcomes):
        raise CohortError(f"no patient of {folder} could be converted; the table says why")
    if bad and _STRICT.value:
        raise CohortError(f"{len(bad)} of {len(outcomes)} patients were not converted (--strict)")


def inspect_folder(folder: Path, rules: Rules, workers: int, *, as_json: bool) -> None:
    """Prints what is in a folder and what would be done with it."""
    files = list_files(folder)
    with open_pool(min(workers, 1 + len(files) // 1000)) as pool:
        found = scan(folder, files, pool, lambda _: None)
    document = inspect(found, rules)
    if as_json:
        print(json.dumps(document, indent=1, allow_nan=False))
    else:
        print_inspection(document, cli.make_console())


def convert_cohort(
    folder: Path,
    out: str | Path,
    rules: Rules,
    workers: int,
    console: Console,
    *,
    scheduler: str | None = None,
    slurm: bool = False,
    nifti: bool = False,
) -> tuple[list[Outcome], list[str]]:
    """Converts every patient of a folder with a progress bar, and writes the page on the cohort's quality.

    Arguments and result are those of `cohort.run.convert_folder`; `workers`, `scheduler` and `slurm` say where the
    tasks run, as `cohort.cluster.open_pool` has it; `nifti` is whether the files are NIfTI.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    convert = convert_nifti_folder if nifti else convert_folder
    with (
        open_pool(workers, scheduler=scheduler, slurm=slurm) as pool,
        Progress(*columns, console=console) as progress,
    ):
        bars: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what)
            progress.update(bars[what], completed=done, total=total)

        outcomes, skipped = convert(pool, folder.absolute(), out, rules, on_progress)
        if any(has_case(out, outcome.case_id) for outcome in outcomes):
            try:
                write_page(out, outcomes, pool)
            except OSError as error:  # such as a full disk: the outcomes matter more
                console.print(f"The page on quality is not up to date: {error.strerror}", markup=False)
    return outcomes, skipped


def print_outcomes(outcomes: Sequence[Outcome], skipped: Sequence[str], out: str | Path, console: Console) -> None:
    """Prints the closing table."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("patient", no_wrap=True)
    table.add_column("perfusion images\nfound / expected", justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("why, and what was found", overflow="fold")
    for outcome in outcomes:
        notes = [*outcome.notes[:_NOTES]]
        if len(outcome.notes) > _NOTES:
            notes.append(f"and {len(outcome.notes) - _NOTES} more")
        images = f"{outcome.found} / {outcome.expected or '?'}"
        style = _STYLES[outcome.status]
        table.add_row(outcome.case_id, images, f"[{style}]{outcome.status}[/]", escape("; ".join(notes) or "complete"))
    console.print(table)
    for line in skipped[:_SKIPPED]:
        console.print(f"skipped: {line}", markup=False, highlight=False)
    if len(skipped) > _SKIPPED:
        console.print(f"and {len(skipped) - _SKIPPED} more files; --inspect lists all", markup=False)
    good = sum(outcome.status in ("converted", "unchanged") for outcome in outcomes)
    console.print(f"{good} of {len(outcomes)} patients are in {out}", markup=False)
    console.print(f"Which patient is which case: {path_beside(out, '.private.json')}, for you alone", markup=False)
    if good:
        console.print(f"Look through them: {path_beside(out, '.qc') / 'index.html'}", markup=False)


if __name__ == "__main__":
    cli.run(main, CohortError)
