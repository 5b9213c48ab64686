"""Maps out as DICOM: a Parametric Map object in the patient's own study and frame of reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from tmax_jax.dicom.geometry import LPS_TO_RAS
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.source import open_sources
from tmax_jax.dicom.write import make_uid

_SECOND = Code("s", "UCUM", "second")
# Of values by the names of maps: what they are, and their unit.
QUANTITIES = {
    "cbf": (codes.DCM.RegionalCerebralBloodFlow, Code("mL/(100.g)/min", "UCUM", "milliliter per 100 gram per minute")),
    "cbv": (codes.DCM.RegionalCerebralBloodVolume, Code("mL/(100.g)", "UCUM", "milliliter per 100 gram")),
    "mtt": (codes.DCM.MeanTransitTime, _SECOND),
    "ttp": (codes.DCM.TimeToPeak, _SECOND),
    "tmax": (codes.DCM.Tmax, _SECOND),
}
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")
_EMPTY += ("AccessionNumber", "ReferringPhysicianName")  # must be there, and may hold nothing


class Made(NamedTuple):
    """By what a map was made."""

    method: str
    version: str  # of the software
    series_number: int


def read_sources(frames: Sequence[Frame]) -> list[Dataset]:
    """Reads the headers of images that a map is derived from, one file each.

    Args:
      frames: of one series, such as the first of each slice.

    Returns:
      Data sets without pixels. An object of many frames comes once.

    Raises:
      DicomError: a file is no longer there.
    """
    found = []
    for source in dict.fromkeys(frame.source for frame in frames):
        for opened in open_sources(Path(source.path), {source.member} if source.member else None):
            if opened.source == source and opened.file is not None:
                found.append(pydicom.dcmread(opened.file, stop_before_pixels=True, force=True))
    if not found:
        raise DicomError("the images that the map is derived from are no longer there")
    return found


def parametric_map(
    values: np.ndarray, name: str, affine: np.ndarray, sources: Sequence[Dataset], made: Made
) -> Dataset:
    """Makes a Parametric Map of floats; it carries the patient's identifiers, as its sources do.

    Args:
      values: float32 `[z, y, x]`.
      name: of `QUANTITIES`.
      affine: `[4, 4]`, from `(z, y, x, 1)` to RAS mm.
      sources: of `read_sources`; patient, study and frame of reference are theirs.
      made: by what.

    Returns:
      The object, to be written with its `save_as`. Its UIDs follow from the sources, the method and the map alone, so
      that the same map made again is the same object.

    Raises:
      DicomError: the sources name no study or frame of reference.

    Reference:
      DICOM PS3.3, A.75 (Parametric Map).
    """
    first = sources[0]
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID"):
        if not getattr(first, keyword, ""):
            raise DicomError(f"the perfusion series has no {keyword}, without which a DICOM map cannot refer to it")
    for source in sources:
        for keyword in _EMPTY:
            if keyword not in source:
                setattr(source, keyword, "")
        source.Rows, source.Columns = values.shape[1:]  # of a slice, where many are stored as one mosaic
    quantity, unit = QUANTITIES[name]
    to_lps = LPS_TO_RAS  # its own inverse
    origin = affine @ np.stack([np.array([z, 0.0, 0.0, 1.0]) for z in range(values.shape[0])], axis=1)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    along_x, along_y = (to_lps @ affine[:3, axis] / spacing_mm[axis] for axis in (2, 1))
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=name.upper(),
        lut_explanation=quantity.meaning,
        unit=unit,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity,
    )
    top = max(float(values.max()), 1.0)
    seed = [str(first.SOPInstanceUID), made.method, made.version, name]
    kinds: Any = highdicom.CoordinateSystemNames.PATIENT
    label = f"{quantity.meaning} by {made.method}"
    result = highdicom.pm.ParametricMap(
        source_images=sources,
        pixel_array=np.ascontiguousarray(values, np.float32),
        series_instance_uid=make_uid(" ".join([*seed, "series"])),
        series_number=made.series_number,
        sop_instance_uid=make_uid(" ".join([*seed, "object"])),
        instance_number=1,
        manufacturer="tmax_jax",
        manufacturer_model_name="tmax_jax",
        software_versions=made.version,
        device_serial_number="none",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=top / 2, window_width=top)],
        content_description=label[:64],
        content_label=name.upper(),
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=[_number(spacing_mm[1]), _number(spacing_mm[2])],
            slice_thickness=_number(spacing_mm[0]),
            spacing_between_slices=_number(spacing_mm[0]),
        ),
        plane_orientation=highdicom.PlaneOrientationSequence(kinds, [_number(v) for v in [*along_x, *along_y]]),
        plane_positions=[
            highdicom.PlanePositionSequence(kinds, [_number(v) for v in to_lps @ place]) for place in origin[:3].T
        ],
    )
    result.SeriesDescription = f"{quantity.meaning} [{unit.value}] {made.method}, research only"[:64]
    return result


def _number(value: float) -> float:
    """Rounds to what a decimal string of 16 characters holds."""
    return float(f"{value + 0.0:.9g}")
