"""A folder of patients to a store: what changed is read, every patient is a task of its own, outcomes are gathered."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from pathlib import Path
from typing import Any

from tmax_jax.cohort.convert import convert_patient
from tmax_jax.cohort.nifti import convert_nifti, find_patients
from tmax_jax.cohort.places import CohortError, path_beside, remove_abandoned
from tmax_jax.cohort.reading import Outcome, unchanged_case
from tmax_jax.cohort.scan import Scan, Stamp, fingerprint, list_files, name_cases, read_private, scan, write_private
from tmax_jax.cohort.select import Rules

READING, CONVERTING = "Reading headers (files)", "Converting (patients)"


def convert_folder(
    pool: Executor,
    folder: Path,
    out: str | Path,
    rules: Rules,
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[list[Outcome], list[str]]:
    """Converts every patient of a folder; one bad patient never stops the others.

    Beside the store lie two files for their owner alone: `.private.json` tells who is which case, `.files.json` whose
    files they are, so that a rerun need not open those that did not change.

    Args:
      pool: runs `read_headers` on files and `convert_patient` on patients: processes, or a cluster's executor.
      folder: with the DICOM files, at the same place for every worker.
      out: the store, a folder or another place.
      rules: of the conversion.
      on_progress: called with what is being done, how many are done, and of how many.

    Returns:
      The outcomes by case id, and the files that were no images.

    Raises:
      CohortError: no DICOM image at all.

    Example:
      `with ThreadPoolExecutor(1) as pool: convert_folder(pool, Path("export"), Path("cohort.zarr"), Rules())`
    """
    files = list_files(folder)
    remove_abandoned(out)
    private, remembered = path_beside(out, ".private.json"), path_beside(out, ".files.json")
    folders = read_private(remembered)
    known: dict[str, list[str]] = folders.get(str(folder.resolve()), {})
    unchanged = _unchanged(files, known, out, rules)
    found, unchanged = _scan_changed(folder, files, known, unchanged, private, pool, on_progress)
    if not found.patients and not unchanged:
        raise CohortError(
            f"no MR images among the {len(files)} files of {folder}: {found.skipped[0] if found.skipped else ''}"
        )
    names = name_cases(found.patients, private) if found.patients else {}
    sources = {names[patient.key]: sorted(patient.files) for patient in found.patients}
    gone = [case_id for case_id in known if case_id not in sources and case_id not in unchanged]
    outcomes = list(unchanged.values())
    outcomes += _convert_all(pool, convert_patient, found.patients, names, out, rules, on_progress)
    outcomes += [
        Outcome(case_id, "gone", 0, 0, ("its files are no longer there; the case is kept",)) for case_id in gone
    ]
    if sources:
        with contextlib.suppress(CohortError):  # a full disk: the next run opens these files again, and no more
            write_private(remembered, {**folders, str(folder.resolve()): {**known, **sources}})
    return sorted(outcomes, key=lambda outcome: outcome.case_id), found.skipped


def convert_nifti_folder(
    pool: Executor,
    folder: Path,
    out: str | Path,
    rules: Rules,
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[list[Outcome], list[str]]:
    """Converts every patient of a folder of NIfTI files with BIDS sidecars; arguments and result as `convert_folder`.

    Raises:
      CohortError: no NIfTI image of perfusion at all.
    """
    if not folder.is_dir():
        raise CohortError(f"--nifti_dir={folder} is not a folder; name the one that holds the patients' NIfTI files")
    remove_abandoned(out)
    patients, skipped = find_patients(folder)
    if not patients:
        raise CohortError(f"no 4-D NIfTI image in {folder}: {skipped[0] if skipped else 'no .nii or .nii.gz file'}")
    names = name_cases(patients, path_beside(out, ".private.json"))
    outcomes = _convert_all(pool, convert_nifti, patients, names, out, rules, on_progress)
    return sorted(outcomes, key=lambda outcome: outcome.case_id), skipped


def _convert_all(
    pool: Executor,
    convert: Callable[..., Outcome],
    patients: Sequence[Any],
    names: Mapping[str, str],
    out: str | Path,
    rules: Rules,
    on_progress: Callable[[str, int, int], None],
) -> list[Outcome]:
    """Converts patients as tasks of their own."""
    cases = {pool.submit(convert, patient, names[patient.key], out, rules): names[patient.key] for patient in patients}
    outcomes = []
    for done, task in enumerate(as_completed(cases), 1):
        outcomes.append(_result(task, cases[task]))
        on_progress(CONVERTING, done, len(cases))
    return outcomes


def _result(task: Future[Outcome], case_id: str) -> Outcome:
    try:
        return task.result()
    except BrokenExecutor:  # killed from outside, or for want of memory: others that ran beside it are lost too
        return Outcome(case_id, "refused", 0, 0, ("its worker process died; run again, with fewer --workers",))


def _unchanged(
    files: Mapping[str, Stamp], known: Mapping[str, Sequence[str]], out: str | Path, rules: Rules
) -> dict[str, Outcome]:
    """Finds the cases that the store holds as their files are now, without opening one of these."""
    outcomes = {}
    for case_id, names in known.items():
        if names and all(name in files for name in names):
            outcome = unchanged_case(out, case_id, fingerprint({name: files[name] for name in names}), rules)
            if outcome:
                outcomes[case_id] = outcome
    return outcomes


def _scan_changed(
    folder: Path,
    files: Mapping[str, Stamp],
    known: Mapping[str, Sequence[str]],
    unchanged: dict[str, Outcome],
    private: Path,
    pool: Executor,
    on_progress: Callable[[str, int, int], None],
) -> tuple[Scan, dict[str, Outcome]]:
    """Reads the headers of all files but those of unchanged cases.

    Where a file read so belongs to one of these after all, because it joined or lies in a shared archive, the files of
    that case are read too.
    """
    patients = {key: case_id for case_id, key in read_private(private).items()}
    while True:
        spared = {name for case_id in unchanged for name in known[case_id]}
        spared -= {name for case_id, names in known.items() if case_id not in unchanged for name in names}
        to_read = {name: stamp for name, stamp in files.items() if name not in spared}
        done = 0

        def on_files(count: int, total: int = len(to_read)) -> None:
            nonlocal done
            done += count
            on_progress(READING, done, total)

        found = scan(folder, to_read, pool, on_files)
        joined = {patients.get(patient.key) for patient in found.patients} & unchanged.keys()
        if not joined:
            return found, unchanged
        unchanged = {case_id: outcome for case_id, outcome in unchanged.items() if case_id not in joined}
