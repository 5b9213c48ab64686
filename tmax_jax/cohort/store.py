"""The cohort on disk: one zarr v3 group a case, one shard an array, readable by zarr-python and xarray.

What is stored is what the scanner measured. The mask and the intensity scale lie beside it and are applied on
reading, so that another choice of preprocessing needs no second conversion.

  cohort.zarr/case-0001/   perfusion [z, y, x, time]   mask [z, y, x]   inserted [z, time]   maps/tmax [z, y, x]
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

SCHEMA_VERSION = 1
_AXES = {
    "perfusion": ("z", "y", "x", "time"),
    "mask": ("z", "y", "x"),
    "inserted": ("z", "time"),
}
_MAP_AXES = ("z", "y", "x")


class CohortError(ValueError):
    """A store, or a case in it, that cannot be used as it was asked for."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One patient. A case of maps alone, such as a phantom's truth, has no perfusion."""

    case_id: str  # a pseudonym
    perfusion: np.ndarray | None  # [z, y, x, time], in the scanner's type after rescale
    mask: np.ndarray  # bool [z, y, x], True = brain
    inserted: np.ndarray  # bool [z, time], True = the image was missing and is all zeros
    maps: dict[str, np.ndarray]  # float32 [z, y, x] by name; "tmax" is in seconds
    attributes: dict[str, Any]  # anything JSON holds: geometry, times, counts, findings


def write_case(store: str | Path, case: Case) -> None:
    """Writes a case so that it is there whole or not at all.

    Args:
      store: folder of the cohort; made when absent.
      case: replaces a case of the same id.

    Raises:
      CohortError: arrays of one case that do not fit each other.

    Example:
      `write_case("cohort.zarr", Case("case-0001", perfusion, mask, inserted, {"tmax": tmax_s}, attributes))`
    """
    _check_shapes(case)
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    if not (store / "zarr.json").exists():
        _write_group(store, {"schema_version": SCHEMA_VERSION})
    final = store / case.case_id
    temporary = store / f".{case.case_id}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    maps = {name: {"axes": list(_MAP_AXES)} for name in case.maps}
    described = {name: {**maps[name], **case.attributes.get("maps", {}).get(name, {})} for name in maps}
    _write_group(temporary, {"schema_version": SCHEMA_VERSION, **case.attributes, "maps": described})
    for name, axes in _AXES.items():
        values = getattr(case, name)
        if values is not None:
            _write_array(temporary / name, values, axes)
    _write_group(temporary / "maps", {})
    for name, values in case.maps.items():
        _write_array(temporary / "maps" / name, values.astype(np.float32, copy=False), _MAP_AXES)
    if final.exists():
        old = store / f".{case.case_id}.{os.getpid()}.old"
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old)
    else:
        temporary.rename(final)


def read_case(store: str | Path, case_id: str, *, maps: Sequence[str] | None = ("tmax",)) -> Case:
    """Reads a case into memory.

    Args:
      store: folder of the cohort.
      case_id: one of `list_cases`.
      maps: names of the maps to read; None reads all that the case has.

    Returns:
      The case, its arrays as they were written.

    Raises:
      CohortError: no such store, case or map.

    Example:
      `read_case("cohort.zarr", "case-0001").perfusion.shape  # (24, 128, 128, 60)`
    """
    attributes = read_attributes(store, case_id)
    folder = Path(store) / case_id
    stored = attributes["maps"]
    names = list(stored) if maps is None else list(maps)
    missing = [name for name in names if name not in stored]
    if missing:
        raise CohortError(
            f"{case_id} of {store} has no map {', '.join(missing)}; it has: {', '.join(stored) or 'none'}"
        )
    arrays = {name: folder / name for name in _AXES if (folder / name).exists()}
    arrays |= {f"maps/{name}": folder / "maps" / name for name in names}
    opened = {name: ts.open(_spec(path), open=True) for name, path in arrays.items()}
    reads = {name: array.result().read() for name, array in opened.items()}
    values = {name: np.asarray(read.result()) for name, read in reads.items()}
    return Case(
        case_id=case_id,
        perfusion=values.get("perfusion"),
        mask=values["mask"],
        inserted=values["inserted"],
        maps={name: values[f"maps/{name}"] for name in names},
        attributes=attributes,
    )


def read_attributes(store: str | Path, case_id: str) -> dict[str, Any]:
    """Returns what is known about a case, without its arrays.

    Raises:
      CohortError: no such store or case, or one written by a newer version.
    """
    path = Path(store) / case_id / "zarr.json"
    if not path.exists():
        raise CohortError(f"{store} has no case {case_id!r}; it has: {', '.join(list_cases(store)) or 'none'}")
    attributes = json.loads(path.read_text())["attributes"]
    if attributes["schema_version"] > SCHEMA_VERSION:
        raise CohortError(
            f"{case_id} of {store} has schema version {attributes['schema_version']}, this software knows"
            f" {SCHEMA_VERSION}: install a newer tmax_jax, or convert the cohort again"
        )
    return attributes


def list_cases(store: str | Path) -> list[str]:
    """Returns the ids of all cases, sorted.

    Raises:
      CohortError: there is no store.
    """
    store = Path(store)
    if not (store / "zarr.json").exists():
        raise CohortError(
            f"there is no cohort at {store}; make one with: python -m tmax_jax.convert --dicom_dir=DIR --out={store}"
        )
    return sorted(path.parent.name for path in store.glob("[!.]*/zarr.json"))


def _check_shapes(case: Case) -> None:
    shape = case.mask.shape
    wrong = [f"map {name} {values.shape}" for name, values in case.maps.items() if values.shape != shape]
    if case.perfusion is not None:
        if case.perfusion.shape[:3] != shape:
            wrong.append(f"perfusion {case.perfusion.shape}")
        elif case.inserted.shape != (shape[0], case.perfusion.shape[3]):
            wrong.append(f"inserted {case.inserted.shape}, wanted {(shape[0], case.perfusion.shape[3])}")
    if wrong:
        raise CohortError(f"{case.case_id}: the mask [z, y, x] is {shape}, but {'; '.join(wrong)}")


def _write_group(folder: Path, attributes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1, allow_nan=False)
    (folder / "zarr.json").write_text(text + "\n")


def _write_array(folder: Path, values: np.ndarray, axes: Sequence[str]) -> None:
    dtype = values.dtype
    blosc = {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "typesize": dtype.itemsize}
    inner = {
        "chunk_shape": [1, *values.shape[1:]],  # a slice
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"},
            {"name": "blosc", "configuration": blosc},
        ],
    }
    metadata = {
        "shape": list(values.shape),
        "data_type": dtype.name,
        "dimension_names": list(axes),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(values.shape)}},
        "codecs": [{"name": "sharding_indexed", "configuration": inner}],
    }
    array = ts.open(_spec(folder) | {"metadata": metadata}, create=True).result()
    array.write(np.ascontiguousarray(values)).result()


def _spec(folder: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
