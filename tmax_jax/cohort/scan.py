"""A folder of DICOM files to patients: found by the files' headers, whatever the folders are called."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from tmax_jax.cohort.store import CohortError
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, SkippedError
from tmax_jax.dicom.readers import read_sources
from tmax_jax.files import write_whole

_CHUNK = 256  # files a task of the pool
Stamp = tuple[int, int]  # size and time of change of a file


@dataclasses.dataclass(frozen=True)
class Patient:
    """What was found of one patient."""

    key: str  # the patient's id, or a folder where the headers hold none; private
    frames: list[Frame]
    damaged: list[DamagedError]  # images that count as missing
    unusable: list[DicomError]  # images that make their series unusable
    files: dict[str, Stamp] = dataclasses.field(default_factory=dict)  # that hold any of these

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file is added, removed, renamed or written anew."""
        return fingerprint(self.files)


@dataclasses.dataclass(frozen=True)
class Scan:
    """What was found in a folder."""

    patients: list[Patient]
    skipped: list[str]  # files that are no images, each with the reason


def list_files(folder: Path) -> dict[str, Stamp]:
    """Returns every file below a folder by its relative name, sorted; links are listed and never followed.

    Raises:
      CohortError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise CohortError(f"--dicom_dir={folder} is not a folder; name the one that holds the patients' DICOM files")
    files: dict[str, Stamp] = {}
    top, folders = len(os.path.join(folder, "")), [os.fspath(folder)]
    while folders:
        below = folders.pop()
        try:
            entries = list(os.scandir(below))
        except OSError:  # an unreadable folder: it is named like an unreadable file
            files[below[top:] or "."] = (0, 0)
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                found = entry.stat(follow_symlinks=False)
                files[entry.path[top:]] = (found.st_size, found.st_mtime_ns)
    if not files:
        raise CohortError(f"--dicom_dir={folder} holds no files; name the folder that holds the patients' DICOM files")
    return dict(sorted(files.items()))


def fingerprint(files: Mapping[str, Stamp]) -> str:
    """Returns a digest of files by name, size and time of change."""
    text = "".join(f"{name}\0{size}\0{changed}\n" for name, (size, changed) in sorted(files.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def scan(folder: Path, files: Mapping[str, Stamp], pool: Executor, on_files: Callable[[int], None]) -> Scan:
    """Reads the header of every file and gathers the files of each patient.

    Args:
      folder: that is converted.
      files: of `list_files`.
      pool: of processes.
      on_files: called with the number of files read, as they are.

    Returns:
      Patients by their PatientID; where that is empty, by the folder just below `folder`.
    """
    patients: dict[str, Patient] = {}
    skipped: list[str] = []
    unknown: list[tuple[str, DicomError]] = []  # files so damaged that they do not say whose they are
    names = list(files)
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    for chunk, results in zip(chunks, pool.map(read_headers, [folder] * len(chunks), chunks), strict=True):
        for name, result in results:
            if isinstance(result, SkippedError):
                skipped.append(str(result))
            elif isinstance(result, Frame) or result.patient_id:
                key = result.patient_id or f"folder {name.partition('/')[0] if '/' in name else '.'}"
                if key not in patients:
                    patients[key] = Patient(key, [], [], [])
                _add(patients[key], name, files[name], result)
            else:
                unknown.append((name, result))
        on_files(len(chunk))
    for name, error in unknown:
        patient = _owner(name, patients)
        if patient:
            _add(patient, name, files[name], error)
        else:
            skipped.append(str(error))
    return Scan(list(patients.values()), skipped)


def _add(patient: Patient, name: str, stamp: Stamp, found: Frame | DicomError) -> None:
    patient.files[name] = stamp
    if isinstance(found, Frame):
        patient.frames.append(found)
    elif isinstance(found, DamagedError):
        patient.damaged.append(found)
    else:
        patient.unusable.append(found)


def _owner(name: str, patients: Mapping[str, Patient]) -> Patient | None:
    """Finds the patient whose other files lie around a file, nearest first; none where there are several."""
    for folder in Path(name).parents:
        near = [
            patient for patient in patients.values() if any(folder in Path(other).parents for other in patient.files)
        ]
        if near:
            return near[0] if len(near) == 1 else None
    return None


def read_headers(folder: Path, names: Sequence[str]) -> list[tuple[str, Frame | DicomError]]:
    """Reads the images of files one by one, each with its file's name; what cannot be read is an error in its place."""
    return list(_headers(folder, names))


def _headers(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Frame | DicomError]]:
    for name in names:
        shown = name.encode(errors="surrogateescape").decode(errors="replace")  # names need not be text
        for found in read_sources(os.path.join(folder, name), shown):
            yield name, found


def name_cases(patients: Sequence[Any], private: Path) -> dict[str, str]:
    """Gives each patient a pseudonym that says nothing, and remembers it.

    Args:
      patients: found, each with its `key`.
      private: file that maps pseudonyms to patients, readable by its owner alone. It stays beside the store, not in
        it; numbers already given are kept, new patients are numbered in the order of a digest of their id.

    Returns:
      Case ids such as "case-0007", by `Patient.key`; of patients of earlier runs too.
    """
    named = {key: case_id for case_id, key in read_private(private).items()}
    new = [patient.key for patient in patients if patient.key not in named]
    for key in sorted(new, key=lambda key: hashlib.sha256(key.encode(errors="surrogatepass")).digest()):
        named[key] = f"case-{len(named) + 1:04d}"
    write_private(private, {case_id: key for key, case_id in named.items()})
    return named


def read_private(path: Path) -> dict[str, Any]:
    """Reads a private file, empty where there is none.

    Raises:
      CohortError: it is damaged.
    """
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise CohortError(f"{path} is damaged; restore it, or remove it and the store and convert anew") from error


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file that its owner alone can read, whole or not at all.

    Raises:
      CohortError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=1) + "\n", private=True)
    except OSError as error:
        raise CohortError(f"{path} cannot be written ({error.strerror}); make room, or choose another --out") from error
