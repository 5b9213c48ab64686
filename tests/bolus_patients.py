"""Two simulated patients large enough for an artery to be found, as DICOM and as a store, once a test session."""

import functools
import tempfile
from pathlib import Path

from rich.console import Console

from tmax_jax.cohort.select import Rules
from tmax_jax.convert import convert_cohort
from tmax_jax.simulate import Options, simulate_cohort

PATIENT = "PHANTOM-0001"
CASE = "case-0002"  # the same patient in the store


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    out, quiet = Path(folder.name) / "phantom", Console(quiet=True)
    simulate_cohort(out, 2, (8, 32, 32), 60, Options(shuffle=True), 1, quiet)
    convert_cohort(out / "dicom", out / "cohort.zarr", Rules(), 1, quiet)
    return folder


def patients() -> Path:
    """Returns a folder with `dicom/`, `truth.zarr` and `cohort.zarr`; not to be written to."""
    return Path(_folder().name) / "phantom"
