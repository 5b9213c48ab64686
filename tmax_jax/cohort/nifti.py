"""The second door into the store: a patient's 4-D NIfTI with its BIDS sidecar, and a Tmax map beside it.

NIfTI says where voxels are, not how a scanner would have shown them, nor what was measured. Rows and columns are put
back as the sidecar's ImageOrientationPatientDICOM says, else as such a slice is shown by convention; the slices ascend
along their normal. So an image that was DICOM before is the array, and the affine, that its DICOM files give. Of the
sidecar nothing reaches the store but times, echo time, field strength and manufacturer.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tmax_jax.cohort.nifti_image import open_image, read_sidecar, read_values, reorient, scanner_axes, sidecars_of
from tmax_jax.cohort.places import CohortError
from tmax_jax.cohort.reading import Outcome, Reading, ReadMap, convert_case
from tmax_jax.cohort.select import SECONDS, Rules

_TMAX = re.compile(r"t[_-]?max", re.IGNORECASE)
_PERFUSION = re.compile(r"perf|dsc|pwi", re.IGNORECASE)
_TIME_S = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_UNITS = {"s": "s", "sec": "s", "seconds": "s", "ms": "ms", "msec": "ms", "milliseconds": "ms"}
_LONGEST_FRAME_S = 60.0  # of a perfusion scan; a larger number is not in seconds
_OFF_GRID = 0.25  # of a voxel: how far a map may lie from the perfusion


@dataclasses.dataclass(frozen=True)
class NiftiPatient:
    """What was found of one patient."""

    key: str  # the BIDS subject, or a folder where names hold none; private
    root: Path  # of the data set: sidecars are inherited from there on
    perfusion: list[Path]
    tmax: list[Path]

    def fingerprint(self) -> str:
        """Returns a digest that changes when an image or a sidecar is added, removed, renamed or written anew."""
        digest = hashlib.sha256()
        for image in [*self.perfusion, *self.tmax]:
            for path in [image, *sidecars_of(image, self.root)]:
                found = path.stat()
                digest.update(f"{path.relative_to(self.root)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def find_patients(folder: Path) -> tuple[list[NiftiPatient], list[str]]:
    """Gathers the NIfTI files of each patient.

    Args:
      folder: a BIDS data set, or a folder that holds one folder a patient.

    Returns:
      Patients by their BIDS subject, else by the folder just below `folder`; and the files that were left out, each
      with the reason. An image is a Tmax map by its name (`*tmax*`), perfusion if it has several frames. Where names
      tell perfusion (perf, dsc, pwi) from other images with frames, they are believed.
    """
    patients: dict[str, NiftiPatient] = {}
    skipped = []
    paths = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    for path in (path for path in paths if path.name.endswith((".nii", ".nii.gz"))):
        relative = path.relative_to(folder)
        subject = re.search(r"sub-[a-zA-Z0-9]+", str(relative))
        key = subject.group() if subject else f"folder {relative.parts[0] if len(relative.parts) > 1 else '.'}"
        try:
            frames = open_image(path).shape[3:]
        except CohortError as error:
            skipped.append(f"{relative}: {error}")
            continue
        patient = patients.setdefault(key, NiftiPatient(key, folder, [], []))
        if _TMAX.search(path.name):
            patient.tmax.append(path)
        elif frames and frames[0] > 1:
            patient.perfusion.append(path)
        else:
            skipped.append(f"{relative}: neither perfusion nor a Tmax map")
    for patient in patients.values():
        named = [path for path in patient.perfusion if _PERFUSION.search(str(path.relative_to(folder)))]
        patient.perfusion[:] = named or patient.perfusion
    return [patient for patient in patients.values() if patient.perfusion or patient.tmax], skipped


def convert_nifti(patient: NiftiPatient, case_id: str, store: str | Path, rules: Rules) -> Outcome:
    """Converts one patient, or says why not.

    Args:
      patient: of `find_patients`, or put together by hand where names say nothing.
      case_id: the pseudonym.
      store: of the cohort.
      rules: those of DICOM files.

    Returns:
      The outcome; errors of this patient are in it, so that the others go on.
    """
    images = len(patient.perfusion)
    return convert_case(store, case_id, _fingerprint(patient), rules, images, lambda: read_nifti(patient, rules))


def _fingerprint(patient: NiftiPatient) -> str:
    try:
        return patient.fingerprint()
    except OSError:  # a file that cannot be looked at: reading says so
        return ""


def read_nifti(patient: NiftiPatient, rules: Rules) -> Reading:
    """Reads a patient's images and their sidecars.

    Raises:
      CohortError: images or sidecars that cannot be used.
    """
    for what, paths, wanted in (("perfusion image", patient.perfusion, {1}), ("Tmax map", patient.tmax, {0, 1})):
        if len(paths) not in wanted:
            names = ", ".join(str(path.relative_to(patient.root)) for path in paths) or "none"
            raise CohortError(f"{len(paths)} {what}s ({names}), and one is wanted; leave one in the folder")
    path = patient.perfusion[0]
    sidecar = read_sidecar(path, patient.root)
    image = open_image(path)
    values, scale, nan_count = read_values(image, path)
    findings = [] if sidecar else ["no sidecar: echo time, field strength and manufacturer are unknown"]
    if image.header.get_xyzt_units()[0] == "unknown":
        findings.append("the header names no unit of length: mm taken")
    basis = scanner_axes(sidecar, image)
    values, affine = reorient(values, image, basis)
    there = np.any(values, axis=(1, 2))
    inserted = ~there & there.any(axis=1, keepdims=True)  # a slice that never has a value is the margin of a volume
    if inserted.any():
        findings.append(f"{int(inserted.sum())} images are all zeros and count as missing")
    times_s, times_source = _frame_times_s(sidecar, image, values.shape[-1], findings)
    if inserted.all() or not there.any():
        raise CohortError(f"{path.name}: every value is 0")
    maps = {}
    if patient.tmax:
        maps["tmax"] = _read_tmax(patient, basis, affine, values.shape[:3], rules.target_unit)
    return Reading(
        values=values,
        scale=scale,
        inserted=inserted,
        slices=len(values),
        affine=affine,
        times_s=np.array(times_s),
        times_source=times_source,
        order_source="NIfTI's fourth axis",
        order_rejected={},
        echo_time_ms=_milliseconds(sidecar, "EchoTime", path),
        repetition_time_ms=_milliseconds(sidecar, "RepetitionTime", path),
        field_strength_t=_number(sidecar, "MagneticFieldStrength", path),
        vendor=str(sidecar.get("Manufacturer", "")),
        model=str(sidecar.get("ManufacturersModelName", "")),
        maps=maps,
        not_finite=nan_count,
        findings=findings,
    )


def _read_tmax(
    patient: NiftiPatient, basis: np.ndarray, affine: np.ndarray, shape: Sequence[int], target_unit: str
) -> ReadMap:
    """Reads a map onto the perfusion's grid, in seconds."""
    path = patient.tmax[0]
    image = open_image(path)
    values, scale, nan_count = read_values(image, path)
    values, map_affine = reorient(values, image, basis)
    corners = np.array(
        [(z, y, x, 1.0) for z in (0, shape[0] - 1) for y in (0, shape[1] - 1) for x in (0, shape[2] - 1)]
    )
    apart = np.abs(corners @ (np.linalg.inv(affine) @ map_affine).T - corners).max()
    if values.shape != (*shape, 1) or apart > _OFF_GRID:
        raise CohortError(
            f"the Tmax map {path.name} lies on another grid {values.shape[:3]} than the perfusion {tuple(shape)}, or"
            f" {apart:.1f} voxels beside it; export or resample it onto the perfusion's grid"
        )
    named = _UNITS.get(str(read_sidecar(path, patient.root).get("Units", "")).lower(), "")
    unit = named if target_unit == "auto" else target_unit
    if not unit:
        raise CohortError(
            f"the unit of the Tmax map {path.name} is not known; say --target_unit=ms or --target_unit=s, or write"
            ' "Units": "s" into its sidecar'
        )
    map_s = (values[..., 0].astype(np.float64) * (scale * SECONDS[unit])).astype(np.float32)
    return ReadMap(map_s, "s", unit, nan_count)


def _frame_times_s(sidecar: dict[str, Any], image: Any, frames: int, findings: list[str]) -> tuple[list[float], str]:
    """When each frame starts, in seconds, and which entry said so; assumptions are added to the findings."""
    header_s = float(image.header["pixdim"][4]) * _TIME_S.get(image.header.get_xyzt_units()[1], 0.0)
    for key in ("VolumeTiming", "FrameTimesStart"):
        if key in sidecar:
            times = np.array(sidecar[key], float)
            if times.shape != (frames,) or not (np.diff(times) > 0).all():
                raise CohortError(f"the sidecar's {key} does not hold {frames} ascending times in seconds; correct it")
            return times.tolist(), key
    interval_s = _number(sidecar, "RepetitionTime")
    if interval_s is None:
        if not 0 < header_s <= _LONGEST_FRAME_S:
            raise CohortError(
                'nothing says how far the frames lie apart: write "RepetitionTime": SECONDS into the sidecar'
            )
        findings.append(f"no timing in a sidecar: the header's {header_s:g} s between frames taken (pixdim[4])")
        return (header_s * np.arange(frames)).tolist(), "pixdim[4]"
    if not 0 < interval_s <= _LONGEST_FRAME_S:
        raise CohortError(f"the sidecar's RepetitionTime is {interval_s:g}; the frames' distance in seconds is wanted")
    if header_s and abs(header_s - interval_s) > 0.01 * interval_s:
        findings.append(f"the header says {header_s:g} s between frames, the sidecar {interval_s:g} s, which was taken")
    return (interval_s * np.arange(frames)).tolist(), "RepetitionTime"


def _number(sidecar: dict[str, Any], key: str, path: Path | None = None) -> float | None:
    value = sidecar.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise CohortError(f"{path.name if path else 'the image'}: the sidecar's {key} is no number; correct it")
    return float(value)


def _milliseconds(sidecar: dict[str, Any], key: str, path: Path) -> float | None:
    seconds = _number(sidecar, key, path)
    return None if seconds is None else 1000 * seconds
