"""Converts a folder of patients' DICOM files to a cohort.

  python -m tmax_jax.convert --dicom_dir=DIR --out=cohort.zarr

Patients, series, slices and frames are found by the files' headers. A patient with a few perfusion images missing is
kept, with zeros at their places. Run it again after adding files: only what changed is converted.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from absl import flags
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tmax_jax import cli
from tmax_jax.cohort.convert import Outcome, Rules, convert_patient
from tmax_jax.cohort.scan import list_files, name_cases, scan
from tmax_jax.cohort.store import CohortError

_DICOM_DIR = flags.DEFINE_string("dicom_dir", None, "folder with the patients' DICOM files, nested as they may be")
_OUT = flags.DEFINE_string("out", "cohort.zarr", "store to write", allow_override=True)
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "processes", lower_bound=1, allow_override=True)
_MAX_MISSING = flags.DEFINE_float(
    "max_missing", 0.05, "drop a patient with more than this fraction of perfusion images missing", 0.0, 1.0
)
_TARGET_UNIT = flags.DEFINE_enum("target_unit", "auto", ["auto", "s", "ms"], "unit of stored Tmax; auto: by its header")
_STRICT = flags.DEFINE_boolean("strict", False, "exit with an error when any patient was dropped or refused")
_STYLES = {"converted": "green", "unchanged": "dim", "dropped": "yellow", "refused": "red"}
_NOTES = 4  # shown of one patient; all are in the store


def main(_: Sequence[str]) -> None:
    """Reads the flags, converts, and prints what became of every patient."""
    if not _DICOM_DIR.value:
        raise CohortError("say where the DICOM files are: --dicom_dir=DIR")
    console = cli.make_console()
    folder, out = Path(_DICOM_DIR.value), Path(_OUT.value)
    rules = Rules(max_missing=_MAX_MISSING.value, target_unit=_TARGET_UNIT.value)
    outcomes, skipped = convert_cohort(folder, out, rules, _WORKERS.value, console)
    print_outcomes(outcomes, skipped, out, console)
    bad = [outcome for outcome in outcomes if outcome.status in ("dropped", "refused")]
    if len(bad) == len(outcomes):
        raise CohortError(f"no patient of {folder} could be converted; the table says why")
    if bad and _STRICT.value:
        raise CohortError(f"{len(bad)} of {len(outcomes)} patients were not converted (--strict)")


def convert_cohort(
    folder: Path, out: Path, rules: Rules, workers: int, console: Console
) -> tuple[list[Outcome], list[str]]:
    """Converts every patient of a folder; one bad patient never stops the others.

    Args:
      folder: with the DICOM files.
      out: the store.
      rules: of the conversion.
      workers: processes.
      console: for the progress bar.

    Returns:
      The outcomes by case id, and the files that were no images.

    Raises:
      CohortError: no DICOM image at all.
    """
    files = list_files(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")  # a forked copy of a threaded process may hang
    with ProcessPoolExecutor(workers, mp_context=context) as pool, Progress(*columns, console=console) as progress:
        reading = progress.add_task("Reading headers (files)", total=len(files))
        found = scan(folder, files, pool, lambda count: progress.advance(reading, count))
        if not found.patients:
            raise CohortError(
                f"no MR images among the {len(files)} files of {folder}: {found.skipped[0] if found.skipped else ''}"
            )
        names = name_cases(found.patients, out.with_name(f"{out.name}.private.json"))
        converting = progress.add_task("Converting (patients)", total=len(found.patients))
        tasks = [pool.submit(convert_patient, patient, names[patient.key], out, rules) for patient in found.patients]
        outcomes = []
        for task in as_completed(tasks):
            outcomes.append(task.result())
            progress.advance(converting)
    return sorted(outcomes, key=lambda outcome: outcome.case_id), found.skipped


def print_outcomes(outcomes: Sequence[Outcome], skipped: Sequence[str], out: Path, console: Console) -> None:
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
        table.add_row(outcome.case_id, images, f"[{style}]{outcome.status}[/]", "; ".join(notes) or "complete")
    console.print(table)
    if skipped:
        console.print(f"{len(skipped)} other files were skipped, such as: {skipped[0]}", markup=False)
    good = sum(outcome.status in ("converted", "unchanged") for outcome in outcomes)
    console.print(f"{good} of {len(outcomes)} patients are in {out}", markup=False)
    console.print(f"Which patient is which case: {out.name}.private.json beside it, for you alone", markup=False)


if __name__ == "__main__":
    cli.run(main, CohortError)
