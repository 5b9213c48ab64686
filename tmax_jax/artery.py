"""The artery of one patient: found automatically, or taken where the user says."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tmax_jax import perfusion
from tmax_jax.chain import Curves, find_artery
from tmax_jax.cohort.store import Case
from tmax_jax.perfusion import PerfusionError


class Artery(NamedTuple):
    """A curve, and where it comes from."""

    curve: np.ndarray  # [time], dR2* in 1/s
    voxels: np.ndarray  # bool [z, y, x]
    quality: float | None  # 0 to 1; None for a curve without voxels
    source: str  # "automatic", "voxels given by the user" or "curve given by the user"

    def title(self) -> str:
        """How a figure is headed."""
        quality = "" if self.quality is None else f", quality {self.quality:.1f} of 1"
        return f"arterial input function: {self.source}{quality}"

    def summary(self, dt: float) -> dict[str, Any]:
        """Describes it for JSON."""
        return {
            "source": self.source,
            "quality": self.quality,
            "voxels_zyx": np.argwhere(self.voxels).tolist(),
            "times_s": (dt * np.arange(len(self.curve))).round(4).tolist(),
            "delta_r2star_per_s": self.curve.astype(float).round(4).tolist(),
        }


def read_artery(text: str, curves: Curves, case: Case) -> Artery:
    """Finds the artery, or takes the user's.

    Args:
      text: empty to find it automatically; "z,y,x" of a voxel, several with semicolons between, counted from 0; or the
        name of a CSV file with a time in seconds and a dR2* in 1/s on each line.
      curves: of the patient.
      case: of the patient.

    Returns:
      The artery.

    Raises:
      PerfusionError: none is found, or the text names none.
    """
    nowhere = np.zeros(case.mask.shape, bool)
    if not text:
        found = find_artery(curves)
        return Artery(np.asarray(found.curve), np.asarray(found.voxels), round(float(found.quality), 3), "automatic")
    if Path(text).suffix.lower() == ".csv":
        times_s = curves.dt * np.arange(curves.concentration.shape[-1])
        return Artery(_read_curve(Path(text), times_s), nowhere, None, "curve given by the user")
    try:
        places = [tuple(int(part) for part in voxel.split(",")) for voxel in text.split(";")]
    except ValueError:
        places = []
    inside = all(
        len(place) == 3 and all(0 <= at < size for at, size in zip(place, nowhere.shape, strict=True))
        for place in places
    )
    if not places or not inside:
        raise PerfusionError(
            f"--aif={text} is neither a .csv file nor voxels z,y,x within {nowhere.shape}, such as --aif=11,64,40"
        )
    for place in places:
        nowhere[place] = True
    found = perfusion.function_of_voxels(
        curves.concentration,
        jnp.asarray(nowhere),
        jnp.asarray(curves.brain),
        dt=curves.dt,
        arrival_frame=curves.bolus.arrival,
    )
    if not float(found.curve.max()) > 0:
        raise PerfusionError(f"the voxels --aif={text} hold no curve: they lie outside the head's mask")
    quality = round(float(found.quality), 3)
    return Artery(np.asarray(found.curve), nowhere, quality, "voxels given by the user")


def _read_curve(path: Path, times_s: np.ndarray) -> np.ndarray:
    """Reads a curve and interpolates it to the frames; it is 0 before its first time and holds its last value."""
    try:
        with path.open(newline="") as file:
            lines = [line for line in csv.reader(file) if line]
        rows = [[float(value) for value in line[:2]] for line in lines[not _is_number(lines[0][0]) :]]
        given_s, values = np.array(rows, float).T
    except (OSError, ValueError, IndexError) as error:
        raise PerfusionError(
            f"--aif={path} cannot be read ({error}); wanted are lines of a time in seconds and a dR2* in 1/s"
        ) from error
    if not (np.diff(given_s) > 0).all() or not np.isfinite(values).all() or not values.max() > 0:
        raise PerfusionError(f"--aif={path} is no curve: times must ascend, values be finite and somewhere positive")
    return np.interp(times_s, given_s, values, left=0.0).astype(np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
