"""The cohort's store: one zarr v3 group a case, one shard an array, readable by zarr-python and xarray.

What is stored is what the scanner measured: its integers where one factor makes them real values, and the factor as
`scale_factor` beside them, which xarray applies as this module does. The mask and the intensity scale lie beside it
too, so that another choice of preprocessing needs no second conversion.

  cohort.zarr/case-0001/   perfusion [z, y, x, time]   mask [z, y, x]   inserted [z, time]   maps/tmax [z, y, x]

A store lies in a folder, or wherever else tensorstore writes to: `memory://`, `s3://bucket/path`, `gs://bucket/path`. A
server that speaks S3 but is not Amazon's is named by tensorstore's own description of a place, in JSON:

  {"driver": "s3", "bucket": "scans", "path": "cohort.zarr/", "endpoint": "https://s3.example.org"}

A case exists when its group's zarr.json does. In a folder it is written under a name that nobody reads, then takes its
name, or changes it with the case that it replaces, at once. Elsewhere nothing can be renamed: the old zarr.json is
deleted first, the new one written last, so that a case is absent while it is replaced, never half new. One process at a
time may write a case.
"""

import dataclasses
import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from tmax_jax.cohort.places import CONTEXT, CohortError, exists, folder_of, open_place, put_folder

SCHEMA_VERSION = 2  # 1 had no scale_factor
_AXES = {"perfusion": ("z", "y", "x", "time"), "mask": ("z", "y", "x"), "inserted": ("z", "time")}
_MAP_AXES = ("z", "y", "x")
_ZARR = {"driver": "zarr3"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One patient. A case of maps alone, such as a phantom's truth, has no perfusion."""

    case_id: str  # a pseudonym
    perfusion: np.ndarray | None  # [z, y, x, time], in the scanner's type after rescale; times `scale`
    mask: np.ndarray  # bool [z, y, x], True = brain
    inserted: np.ndarray  # bool [z, time], True = the image was missing and is all zeros
    maps: dict[str, np.ndarray]  # float32 [z, y, x] by name; "tmax" is in seconds
    attributes: dict[str, Any]  # anything JSON holds: geometry, times, counts, findings
    scale: float = 1.0  # that makes the perfusion real values; 1 in a case that was read: there they are


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
    root = open_place(store)
    if not exists(root, "zarr.json"):
        _write_group(root, {"schema_version": SCHEMA_VERSION})
    folder = folder_of(store)
    if folder is None:
        root.write(f"{case.case_id}/zarr.json", None).result()  # from here on there is no such case
        (root / f"{case.case_id}/").delete_range(ts.KvStore.KeyRange()).result()
        _write(root / f"{case.case_id}/", case)
        return
    final, temporary = folder / case.case_id, folder / f".{case.case_id}.{secrets.token_hex(4)}"
    try:
        _write(root / f"{temporary.name}/", case)
        put_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # what was half written, or what was replaced


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
      The case, its arrays as they were written, the perfusion in real values.

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
    place = open_place(store) / f"{case_id}/"
    try:
        arrays = ["mask", "inserted", *(f"maps/{name}" for name in names)]
        arrays += ["perfusion"] if perfusion and exists(place, "perfusion/zarr.json") else []
        opening = {name: ts.open(_ZARR, kvstore=place / f"{name}/", open=True, context=CONTEXT) for name in arrays}
        opened = {name: array.result() for name, array in opening.items()}
        reads = {name: array.read() for name, array in opened.items()}
        values = {name: _scaled(np.asarray(read.result()), _scale(opened[name])) for name, read in reads.items()}
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


def in_real_values(case: Case) -> Case:
    """Returns a case that was not read from a store as if it had been: its perfusion times its scale."""
    if case.perfusion is None:
        return case
    return dataclasses.replace(case, perfusion=_scaled(case.perfusion, case.scale), scale=1.0)


def _scaled(values: np.ndarray, scale: float) -> np.ndarray:
    return values if scale == 1 else np.multiply(values, np.float32(scale), dtype=np.float32)


def _scale(array: ts.TensorStore) -> float:
    return array.spec().to_json()["metadata"].get("attributes", {}).get("scale_factor", 1.0)


def has_case(store: str | Path, case_id: str) -> bool:
    """Returns whether the case is there, whole; False where there is no store."""
    return exists(open_place(store), f"{case_id}/zarr.json")


def exclude_case(store: str | Path, case_id: str, why: str) -> None:
    """Marks a case that training is to leave out: its files have changed, and no longer make a case.

    Args:
      store: of the cohort.
      case_id: one of its cases; converting its files again removes the mark.
      why: in a word; kept as its attribute `excluded`.
    """
    attributes, _ = _read_group(store, case_id)
    _write_group(open_place(store) / f"{case_id}/", attributes | {"excluded": why, "fingerprint": ""})


def read_attributes(store: str | Path, case_id: str) -> dict[str, Any]:
    """Returns what is known about a case, without its arrays.

    Raises:
      CohortError: no such store or case, or one written by a newer version.
    """
    return _read_group(store, case_id)[0]


def images_form(store: str | Path, case_id: str) -> tuple[tuple[int, ...], np.dtype] | None:
    """Returns shape and type of a case's images, once read, without reading them; None where it has none."""
    place = open_place(store) / f"{case_id}/perfusion/"
    if not exists(place, "zarr.json"):
        return None
    array = ts.open(_ZARR, kvstore=place, open=True, context=CONTEXT).result()
    return array.shape, array.dtype.numpy_dtype if _scale(array) == 1 else np.dtype(np.float32)


def list_cases(store: str | Path) -> list[str]:
    """Returns the ids of all cases, sorted.

    Raises:
      CohortError: there is no store.
    """
    root = open_place(store)
    if not exists(root, "zarr.json"):
        raise CohortError(
            f"there is no cohort at {store}; make one with: python -m tmax_jax.convert --dicom_dir=DIR --out={store}"
        )
    paths = [key.decode().split("/") for key in root.list().result()]
    return sorted(path[0] for path in paths if len(path) == 2 and path[1] == "zarr.json" and path[0][0] != ".")


def _read_group(store: str | Path, case_id: str) -> tuple[dict[str, Any], bytes]:
    """Reads a case's attributes, and what changes whenever they are written."""
    try:
        found = open_place(store).read(f"{case_id}/zarr.json").result()
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
    attributes = {} if case.scale == 1 else {"perfusion": {"scale_factor": case.scale}}  # as xarray and netCDF know it
    writes = [
        write_array(place / f"{name}/", values, axes, attributes.get(name)) for name, (values, axes) in arrays.items()
    ]
    errors = [write.exception() for write in writes]  # all have ended before what they wrote is removed
    for error in filter(None, errors):
        raise error
    _write_group(place / "maps/", {})
    _write_group(place, {"schema_version": SCHEMA_VERSION, **case.attributes, "maps": maps})


def _write_group(place: ts.KvStore, attributes: dict[str, Any]) -> None:
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1, allow_nan=False)
    place.write("zarr.json", f"{text}\n".encode()).result()


def write_array(
    place: ts.KvStore, values: np.ndarray, axes: Sequence[str], attributes: dict[str, Any] | None = None
) -> ts.Future[None]:
    """Writes one array of a case: one shard, a chunk a slice. What comes back is done when it is written."""
    dtype = values.dtype
    packer = "zstd" if dtype.kind == "f" else "lz4"  # of a scanner's integers lz4 leaves a tenth more, in half the time
    blosc = {"cname": packer, "clevel": 1, "shuffle": "bitshuffle", "typesize": dtype.itemsize}
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
        "attributes": attributes or {},
    }
    array = ts.open(_ZARR | {"metadata": metadata}, kvstore=place, create=True, context=CONTEXT).result()
    return array.write(np.ascontiguousarray(values)).commit
