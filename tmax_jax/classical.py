"""The classical rows of every table: Tmax by deconvolution, computed once a store and kept in it."""

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from tmax_jax import chain, perfusion
from tmax_jax.chain import classical_maps, find_artery, find_curves
from tmax_jax.cohort.derived import read_derived, write_derived
from tmax_jax.cohort.places import path_beside
from tmax_jax.cohort.scan import read_private
from tmax_jax.cohort.store import CohortError, list_cases, read_attributes, read_case
from tmax_jax.perfusion import PerfusionError

ROWS = {"sSVD": "ssvd", "cSVD": "csvd", "oSVD": "osvd", "Tikhonov": "tikhonov"}  # as a table names the methods
_TRUTH = "truth.zarr"
_LATEST_S = 20.0  # no first pass comes later: what reads so is noise, and packages end their scale before


def tmax_estimates(store: str | Path, case_ids: Sequence[str], console: Console) -> dict[str, list[np.ndarray | None]]:
    """Returns the classical Tmax maps of cases: those that the store has, else computed and added to it.

    Several jobs may do so at once: a map is there whole or not at all, and all write the same one. A store that
    cannot be written to gives the same maps, computed anew each time.

    Args:
      store: of the cohort.
      case_ids: of it.
      console: is told how many are computed, and of whom no map can be made.

    Returns:
      float32 `[z, y, x]` in seconds by the rows' names, in the order of the cases; None where no bolus or no artery is
      found.
    """
    found = [_kept(store, case_id) for case_id in case_ids]
    if missing := sum(maps is None for maps in found):
        console.print(f"Computing the classical Tmax maps of {missing} patients")
    found = [_computed(store, case_id) if maps is None else maps for case_id, maps in zip(case_ids, found, strict=True)]
    for case_id, maps in zip(case_ids, found, strict=True):
        if isinstance(maps, str):
            console.print(f"[yellow]{case_id} has no classical map: {maps}[/]", highlight=False)
    return {row: [None if isinstance(maps, str) else maps[row] for maps in found] for row in ROWS}


def true_delays_s(store: str | Path, case_ids: Sequence[str]) -> list[np.ndarray] | None:
    """Returns the true arterial delays of simulated patients: the second truth, which scanners and training never see.

    Args:
      store: a folder beside whose patients' truth lies, `truth.zarr`, as `tmax_jax.simulate` leaves it.
      case_ids: of it.

    Returns:
      float32 `[z, y, x]` a case, seconds; None where there is no truth for every one of them.
    """
    truth = path_beside(store, ".private.json").with_name(_TRUTH)
    names = read_private(path_beside(store, ".private.json"))
    if not truth.exists() or not {names.get(case_id) for case_id in case_ids} <= set(list_cases(truth)):
        return None
    return [read_case(truth, names[case_id], maps=("delay",)).maps["delay"] for case_id in case_ids]


def _made_of(store: str | Path, case_id: str) -> dict[str, str]:
    """What a kept map must say of itself to be the one that would be computed now."""
    attributes = read_attributes(store, case_id)
    return {
        "source": attributes.get("fingerprint", ""),
        "software_version": importlib.metadata.version("tmax_jax"),
        "code": _digest_of_code(),
    }


@functools.cache
def _digest_of_code() -> str:
    """What the maps are made by: of a research code the version alone does not tell."""
    files = [Path(chain.__file__), *sorted(Path(perfusion.__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _kept(store: str | Path, case_id: str) -> Mapping[str, np.ndarray] | str | None:
    """Returns the maps of a case that the store has, why there can be none, or None where one is missing or old."""
    wanted, maps = _made_of(store, case_id), {}
    for row, method in ROWS.items():
        found = read_derived(store, case_id, f"tmax_{method}")
        if found is None or any(found[1].get(key) != value for key, value in wanted.items()):
            return None
        if problem := found[1].get("problem"):
            return problem
        maps[row] = found[0]
    return maps


def _computed(store: str | Path, case_id: str) -> Mapping[str, np.ndarray] | str:
    case = read_case(store, case_id, maps=())
    described = {"unit": "s", **_made_of(store, case_id)}
    try:
        curves = find_curves(case)
        artery = find_artery(curves).curve
        maps = {
            row: np.minimum(np.asarray(classical_maps(curves, artery, method).tmax_s), _LATEST_S)
            for row, method in ROWS.items()
        }
        result: Mapping[str, np.ndarray] | str = maps
    except PerfusionError as error:
        result = described["problem"] = str(error)
        maps = dict.fromkeys(ROWS, np.full(case.mask.shape, np.nan, np.float32))
    try:
        for row, method in ROWS.items():
            write_derived(store, case_id, f"tmax_{method}", maps[row], described | {"method": method})
    except CohortError:  # a store that is read-only: the next run computes them again
        pass
    return result
