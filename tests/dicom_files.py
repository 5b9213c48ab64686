"""Single DICOM files for tests: made, saved, and read as the converter reads them."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from tmax_jax.dicom.header import DicomError, Frame, Pixels
from tmax_jax.dicom.readers import read_sources
from tmax_jax.dicom.source import Source
from tmax_jax.dicom.write import SeriesHeader, images

BLANK = Frame(
    source=Source(""),
    name="",
    kind="classic",
    patient_id="",
    study_uid="",
    series_uid="",
    sop_uid="",
    series_number=None,
    description="",
    manufacturer="",
    model="",
    rescale_type="",
    photometric="",
    image_type=(),
    component="",
    quantity="",
    shape=(2, 2),
    orientation=(1, 0, 0, 0, 1, 0),
    position_mm=(0, 0, 0),
    pixel_spacing_mm=(1, 1),
    pixels=Pixels(0, "<u2", 16, 15, 1.0, 0.0, None),
)
STORED = np.array([[0, 1, 2047], [4095, 100, 7]], np.uint16)


def one_image(stored: np.ndarray = STORED) -> Dataset:
    """Makes a classic image."""
    header = SeriesHeader(
        "ID-7", "Name", "a: b", 1, "perf", "Philips", "m", ("ORIGINAL", "PRIMARY"), (5.0, 2.0, 1.5), 0.1
    )
    return next(images(stored[None, :, :, None], header))


def saved(folder: Path, dataset: Dataset, **options: bool) -> Path:
    """Writes a file of a data set."""
    path = folder / "image"
    dataset.save_as(path, **options)
    return path


def read_all(path: Path, name: str = "") -> list[Frame]:
    """Reads the frames of one file, or raises its error."""
    frames = []
    for found in read_sources(path, name or path.name):
        if isinstance(found, DicomError):
            raise found
        frames.append(found)
    return frames


def read_frame(path: Path, name: str) -> Frame:
    """Reads the only frame of a file."""
    [frame] = read_all(path, name)
    return frame


def read_folder(folder: Path) -> list[Frame]:
    """Reads all frames of a folder's files and archives; none may have an error."""
    return [frame for path in sorted(folder.rglob("*")) if path.is_file() for frame in read_all(path)]
