"""A folder of DICOM files to patients: found by the files' headers, whatever the folders are called."""

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from tmax_jax.cohort.store import CohortError
from tmax_jax.dicom.header import DamagedError, DicomError, Frame, SkippedError, read_frame

_CHUNK = 256  # files a task of the pool


@dataclasses.dataclass(frozen=True)
class Patient:
    """What was found of one patient."""

    key: str  # the patient's id, or a folder where the headers hold none; private
    frames: list[Frame]
    damaged: list[str]  # images that count as missing
    unusable: list[str]  # images that make the patient unusable

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file is added, removed, renamed or written anew."""
        digest = hashlib.sha256()
        for frame in sorted(self.frames, key=lambda frame: frame.name):
            found = Path(frame.path).stat()
            digest.update(f"{frame.name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        for text in sorted([*self.damaged, *self.unusable]):
            digest.update(text.encode())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Scan:
    """What was found in a folder."""

    patients: list[Patient]
    skipped: list[str]  # files that are no images, each with the reason


def list_files(folder: Path) -> list[Path]:
    """Returns every file below a folder, sorted; links to folders are not followed.

    Raises:
      CohortError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise CohortError(f"--dicom_dir={folder} is not a folder; name the one that holds the patients' DICOM files")
    files = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    if not files:
        raise CohortError(f"--dicom_dir={folder} holds no files; name the folder that holds the patients' DICOM files")
    return files


def scan(folder: Path, files: Sequence[Path], pool: Executor, on_files: Callable[[int], None]) -> Scan:
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
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    for chunk, results in zip(chunks, pool.map(read_headers, [folder] * len(chunks), chunks), strict=True):
        for path, result in zip(chunk, results, strict=True):
            if isinstance(result, SkippedError):
                skipped.append(str(result))
                continue
            relative = path.relative_to(folder)
            key = result.patient_id or f"folder {relative.parts[0] if len(relative.parts) > 1 else '.'}"
            patient = patients.setdefault(key, Patient(key, [], [], []))
            if isinstance(result, Frame):
                patient.frames.append(result)
            else:
                (patient.damaged if isinstance(result, DamagedError) else patient.unusable).append(str(result))
        on_files(len(chunk))
    return Scan(list(patients.values()), skipped)


def read_headers(folder: Path, files: Sequence[Path]) -> list[Frame | DicomError]:
    """Reads headers one by one; what cannot be read is an error in its place."""
    return list(_headers(folder, files))


def _headers(folder: Path, files: Sequence[Path]) -> Iterator[Frame | DicomError]:
    for path in files:
        try:
            yield read_frame(path, str(path.relative_to(folder)))
        except DicomError as error:
            yield error
        except OSError as error:
            yield SkippedError(f"{path.relative_to(folder)}: cannot be opened ({type(error).__name__})")


def name_cases(patients: Sequence[Patient], private: Path) -> dict[str, str]:
    """Gives each patient a pseudonym that says nothing, and remembers it.

    Args:
      patients: found.
      private: file that maps pseudonyms to patients, readable by its owner alone. It stays beside the store, not in
        it; numbers already given are kept, new patients are numbered in the order of a digest of their id.

    Returns:
      Case ids such as "case-0007", by `Patient.key`.
    """
    known: dict[str, str] = json.loads(private.read_text()) if private.exists() else {}
    named = {key: case_id for case_id, key in known.items()}
    new = [patient.key for patient in patients if patient.key not in named]
    for key in sorted(new, key=lambda key: hashlib.sha256(key.encode()).digest()):
        named[key] = f"case-{len(named) + 1:04d}"
    private.parent.mkdir(parents=True, exist_ok=True)
    temporary = private.with_name(f"{private.name}.{os.getpid()}")
    temporary.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    temporary.write_text(json.dumps({case_id: key for key, case_id in named.items()}, indent=1) + "\n")
    temporary.rename(private)
    return named
