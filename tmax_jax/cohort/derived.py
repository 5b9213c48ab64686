"""Maps that were computed from a case and are kept beside those that were measured.

They lie with the others, `case-0001/maps/<name>`, but the case's attributes do not name them, and whoever reads a case
reads what it names: a derived map is never taken for a target. Its own attributes say what it was made of; a case that
is converted anew has none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from tmax_jax.cohort.places import CohortError, open_place
from tmax_jax.cohort.store import read_attributes, write_array

_AXES = ("z", "y", "x")


def write_derived(store: str | Path, case_id: str, name: str, values: np.ndarray, described: Mapping[str, Any]) -> None:
    """Adds a map to a case, whole or not at all; of several writers at once the last one's stays.

    Args:
      store: folder of the cohort, or another place.
      case_id: of a case that is there.
      name: of the map, such as "tmax_osvd"; not one that the conversion wrote.
      values: float32 `[z, y, x]`.
      described: its unit and what it was made of, anything JSON holds.

    Raises:
      CohortError: no such case, a name that is taken by a measured map, or a store that cannot be written to.

    Example:
      `write_derived("cohort.zarr", "case-0001", "tmax_osvd", tmax_s, {"unit": "s", "source": fingerprint})`
    """
    if name in read_attributes(store, case_id)["maps"]:
        raise CohortError(f"{case_id} of {store} has a measured map {name!r}; give the derived one another name")
    try:
        memory = ts.KvStore.open("memory://", context=ts.Context()).result()
        write_array(memory, values.astype(np.float32, copy=False), _AXES, dict(described)).result()
        place = open_place(store) / f"{case_id}/maps/{name}/"
        keys = sorted(memory.list().result(), key=lambda key: key == b"zarr.json")  # last: its presence says "whole"
        for key in keys:
            place.write(key, memory.read(key).result().value).result()
    except ValueError as error:
        raise CohortError(f"the map {name} cannot be added to {case_id} of {store}: {error}") from error


def read_derived(store: str | Path, case_id: str, name: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Reads a map that `write_derived` added.

    Returns:
      Values float32 `[z, y, x]` and their description, or None where there is no such map.

    Raises:
      CohortError: it cannot be read.
    """
    place = open_place(store) / f"{case_id}/maps/{name}/"
    try:
        header = place.read("zarr.json").result()
        if header.state == "missing":
            return None
        values = ts.open({"driver": "zarr3"}, kvstore=place, open=True).result().read().result()
        return np.asarray(values), json.loads(header.value).get("attributes", {})
    except ValueError as error:
        raise CohortError(f"the map {name} of {case_id} of {store} cannot be read: {error}") from error
