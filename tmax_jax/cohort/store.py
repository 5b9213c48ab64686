"""The cohort's store: one zarr v3 group a case, one shard an array, readable by zarr-python and xarray.

What is stored is what the scanner measured. The mask and the intensity scale lie beside it and are applied on
reading, so that another choice of preprocessing needs no second conversion.

  cohort.zarr/case-0001/   perfusion [z, y, x, time]   mask [z, y, x]   inserted [z, time]   maps/tmax [z, y, x]

A store lies in a folder, or wherever else tensorstore writes to: `memory://`, `s3://bucket/path`, `gs://bucket/path`. A
server that speaks S3 but is not Amazon's is named by tensorstore's own description of a place, in JSON:

  {"driver": "s3", "bucket": "scans", "path": "cohort.zarr/", "endpoint": "https://s3.example.org"}

A case exists when its group's zarr.json does. In a folder it is written under a name that nobody reads, then renamed.
Elsewhere nothing can be renamed: the old zarr.json is deleted first, the new one written last, so that a case is
absent while it is replaced, never half new. One process at a time may write a case.
"""

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

SCHEMA_VERSION = 1
_AXES = {"perfusion": ("z", "y", "x", "time"), "mask": ("z", "y", "x"), "inserted": ("z", "time")}
_MAP_AXES = ("z", "y", "x")
_ZARR = {"driver": "zarr3"}
_ABANDONED_S = 3600.0  # a case is written in seconds; what is half written after an hour was left by a dead process
# One context for all stores: `memory://` lives in it. A server that does not answer is an error after half a minute.
_CONTEXT = ts.Context({"s3_request_retries": {"max_retries": 5}, "gcs_request_retries": {"max_retries": 5}})


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
      store: folder of the cohort, or another place; made when absent.
      case: replaces a case of the same id.

    Raises:
      CohortError: arrays of one case that do not fit each other, or a place that is none.

    Example:
      >>> shape = (2, 4, 4)
      >>> images, inserted = np.zeros((*shape, 3), np.int16), np.zeros((2, 3), bool)
      >>> write_case("memory://example.zarr", Case("case-0001", images, np.ones(shape, bool), inserted, {}, {}))
      >>> list_cases("memory://example.zarr")
      ['case-0001']
    """
    _check_shapes(case)
    root = _open(store)
    if not _exists(root, "zarr.json"):
        _write_group(root, {"schema_version": SCHEMA_VERSION})
    folder = _folder(store)
    if folder is None:
        root.write(f"{case.case_id}/zarr.json", None).result()  # from here on there is no such case
        (root / f"{case.case_id}/").delete_range(ts.KvStore.KeyRange()).result()
        _write(root / f"{case.case_id}/", case)
        return
    final, temporary = folder / case.case_id, folder / f".{case.case_id}.{secrets.token_hex(4)}"
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        _write(root / f"{temporary.name}/", case)
        with contextlib.suppress(FileNotFoundError):  # a new case
            final.rename(old)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def read_case(
    store: str | Path, case_id: str, *, maps: Sequence[str] | None = ("tmax",), perfusion: bool = True
) -> Case:
    """Reads a case into memory.

    Args:
      store: folder of the cohort, or another place.
      case_id: one of `list_cases`.
      maps: names of the maps to read; None reads all that the case has.
      perfusion: read the images too, which are nearly all of a case.

    Returns:
      The case, its arrays as they were written.

    Raises:
      CohortError: no such store, case or map; or the case was replaced while it was read.

    Example:
      `read_case("cohort.zarr", "case-0001").perfusion.shape  # (24, 128, 128, 60)`
    """
    attributes, version = _read_group(store, case_id)
    stored = attributes["maps"]
    names = list(stored) if maps is None else list(maps)
    missing = [name for name in names if name not in stored]
    if missing:
        raise CohortError(
            f"{case_id} of {store} has no map {', '.join(missing)}; it has: {', '.join(stored) or 'none'}"
        )
    place = _open(store) / f"{case_id}/"
    try:
        arrays = ["mask", "inserted", *(f"maps/{name}" for name in names)]
        arrays += ["perfusion"] if perfusion and _exists(place, "perfusion/zarr.json") else []
        opened = {name: ts.open(_ZARR, kvstore=place / f"{name}/", open=True, context=_CONTEXT) for name in arrays}
        reads = {name: array.result().read() for name, array in opened.items()}
        values = {name: np.asarray(read.result()) for name, read in reads.items()}
        if place.read("zarr.json").result().stamp.generation != version:
            raise ValueError("another process replaced it meanwhile; read it again")
    except ValueError as error:
        raise CohortError(f"{case_id} of {store} cannot be read: {error}") from error
    return Case(
        case_id=case_id,
        perfusion=values.get("perfusion"),
        mask=values["mask"],
        inserted=values["inserted"],
        maps={name: values[f"maps/{name}"] for name in names},
        attributes=attributes,
    )


def has_case(store: str | Path, case_id: str) -> bool:
    """Returns whether the case is there, whole; False where there is no store."""
    return _exists(_open(store), f"{case_id}/zarr.json")


def read_attributes(store: str | Path, case_id: str) -> dict[str, Any]:
    """Returns what is known about a case, without its arrays.

    Raises:
      CohortError: no such store or case, or one written by a newer version.
    """
    return _read_group(store, case_id)[0]


def images_form(store: str | Path, case_id: str) -> tuple[tuple[int, ...], np.dtype] | None:
    """Returns shape and type of a case's images without reading them; None where it has none."""
    place = _open(store) / f"{case_id}/perfusion/"
    if not _exists(place, "zarr.json"):
        return None
    array = ts.open(_ZARR, kvstore=place, open=True, context=_CONTEXT).result()
    return array.shape, array.dtype.numpy_dtype


def list_cases(store: str | Path) -> list[str]:
    """Returns the ids of all cases, sorted.

    Raises:
      CohortError: there is no store.
    """
    root = _open(store)
    if not _exists(root, "zarr.json"):
        raise CohortError(
            f"there is no cohort at {store}; make one with: python -m tmax_jax.convert --dicom_dir=DIR --out={store}"
        )
    paths = [key.decode().split("/") for key in root.list().result()]
    return sorted(path[0] for path in paths if len(path) == 2 and path[1] == "zarr.json" and path[0][0] != ".")


def remove_abandoned(store: str | Path) -> int:
    """Removes what killed processes left half written in a folder; elsewhere the next writing of a case does it.

    Returns:
      The number of cases of which something was left. Those younger than an hour stay: someone may be at work.
    """
    folder = _folder(store)
    left = list(folder.glob(".*.*")) if folder else []
    left = [path for path in left if path.is_dir() and time.time() - path.stat().st_mtime > _ABANDONED_S]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def path_beside(store: str | Path, ending: str) -> Path:
    """Returns a path on this machine for what belongs to a store but must not lie in it.

    Args:
      store: folder of the cohort, or another place.
      ending: such as ".private.json".

    Returns:
      The store's own path with the ending; for a store elsewhere, its last name with the ending in the current folder.

    Example:
      >>> str(path_beside("s3://scans/2026/cohort.zarr", ".private.json"))
      'cohort.zarr.private.json'
    """
    folder = _folder(store) or Path(Path(_spec(store).get("path", "")).name or "cohort.zarr")
    return folder.with_name(f"{folder.name}{ending}")


def _open(store: str | Path) -> ts.KvStore:
    """Opens a place; keys are relative to it."""
    return ts.KvStore.open(_spec(store), context=_CONTEXT).result()


def _spec(store: str | Path) -> dict[str, Any]:
    """Describes a place as tensorstore does; its path is empty or ends in a slash."""
    text = str(store)
    try:
        if text.startswith("{"):
            spec = json.loads(text)
        elif "://" in text:
            spec = ts.KvStore.Spec(text).to_json()
        else:
            spec = {"driver": "file", "path": os.path.abspath(text)}
        path = spec.get("path", "").rstrip("/")
        return ts.KvStore.Spec(spec | {"path": f"{path}/" if path else ""}).to_json()
    except ValueError as error:
        raise CohortError(
            f"{text} is no place for a store ({error}); name a folder, memory://NAME, s3://BUCKET/PATH, gs://BUCKET/PATH"
            " or tensorstore's JSON of a key-value store"
        ) from error


def _folder(store: str | Path) -> Path | None:
    """The folder of a store on a file system; None elsewhere."""
    spec = _spec(store)
    return Path(spec["path"]) if spec["driver"] == "file" else None


def _read_group(store: str | Path, case_id: str) -> tuple[dict[str, Any], bytes]:
    """Reads a case's attributes, and what changes whenever they are written."""
    try:
        found = _open(store).read(f"{case_id}/zarr.json").result()
    except ValueError as error:
        raise CohortError(f"{store} cannot be read: {error}") from error
    if found.state == "missing":
        raise CohortError(f"{store} has no case {case_id!r}; it has: {', '.join(list_cases(store)) or 'none'}")
    attributes = json.loads(found.value)["attributes"]
    if attributes["schema_version"] > SCHEMA_VERSION:
        raise CohortError(
            f"{case_id} of {store} has schema version {attributes['schema_version']}, this software knows"
            f" {SCHEMA_VERSION}: install a newer tmax_jax, or convert the cohort again"
        )
    return attributes, found.stamp.generation


def _exists(root: ts.KvStore, key: str) -> bool:
    try:
        return root.read(key).result().state == "value"
    except ValueError as error:
        raise CohortError(f"the store at {root.path} cannot be read: {error}") from error


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


def _write(place: ts.KvStore, case: Case) -> None:
    """Writes a case's arrays, all at once, and then its group."""
    maps = {
        name: {"axes": list(_MAP_AXES), **case.attributes.get("maps", {}).get(name, {})} for name in sorted(case.maps)
    }
    arrays = {name: (getattr(case, name), axes) for name, axes in _AXES.items() if getattr(case, name) is not None}
    arrays |= {f"maps/{name}": (values.astype(np.float32, copy=False), _MAP_AXES) for name, values in case.maps.items()}
    writes = [_write_array(place / f"{name}/", values, axes) for name, (values, axes) in arrays.items()]
    for write in writes:
        write.result()
    _write_group(place / "maps/", {})
    _write_group(place, {"schema_version": SCHEMA_VERSION, **case.attributes, "maps": maps})


def _write_group(place: ts.KvStore, attributes: dict[str, Any]) -> None:
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1, allow_nan=False)
    place.write("zarr.json", f"{text}\n".encode()).result()


def _write_array(place: ts.KvStore, values: np.ndarray, axes: Sequence[str]) -> ts.Future[None]:
    dtype = values.dtype
    blosc = {"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "typesize": dtype.itemsize}
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
    array = ts.open(_ZARR | {"metadata": metadata}, kvstore=place, create=True, context=_CONTEXT).result()
    return array.write(np.ascontiguousarray(values)).commit
