"""A small simulated cohort on disk, made by the same calls as the command line's, once a test session."""

import functools
import tempfile
from pathlib import Path

from rich.console import Console

from tmax_jax.simulate import Options, simulate_cohort

SIZE, FRAMES = (8, 16, 16), 40


def simulate(out: Path, patients: int = 2, **options: object) -> Path:
    """Simulates a cohort; returns the folder of its DICOM files."""
    simulate_cohort(out, patients, SIZE, FRAMES, Options(**options), 1, Console(quiet=True))  # pyright: ignore[reportArgumentType] (options by name)
    return out / "dicom"


@functools.cache
def _session_folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    simulate(Path(folder.name), 6)
    return folder


def cohort_folder() -> Path:
    """Returns a folder with `dicom/` and `truth.zarr` of six simulated patients; not to be written to."""
    return Path(_session_folder().name)
