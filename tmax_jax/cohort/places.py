"""Where a store lies: a folder of this machine, or wherever else tensorstore writes to."""

import ctypes
import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import tensorstore as ts

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
_OLD = ".old"  # ending of a case that was set aside for its new version
_ABANDONED_S = 3600.0  # a case is written in seconds; what is half written after an hour was left by a dead process
# One context for all stores: `memory://` lives in it. A server that does not answer is an error after half a minute.
CONTEXT = ts.Context({"s3_request_retries": {"max_retries": 5}, "gcs_request_retries": {"max_retries": 5}})


class CohortError(ValueError):
    """A store, or a case in it, that cannot be used as it was asked for."""


def open_place(store: str | Path) -> ts.KvStore:
    """Opens a place; keys are relative to it."""
    return ts.KvStore.open(_spec(store), context=CONTEXT).result()


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


def folder_of(store: str | Path) -> Path | None:
    """The folder of a store on a file system; None elsewhere."""
    spec = _spec(store)
    return Path(spec["path"]) if spec["driver"] == "file" else None


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
    folder = folder_of(store) or Path(Path(_spec(store).get("path", "")).name or "cohort.zarr")
    return folder.with_name(f"{folder.name}{ending}")


def exists(root: ts.KvStore, key: str) -> bool:
    """Returns whether something is there under a key."""
    try:
        return root.read(key).result().state == "value"
    except ValueError as error:
        raise CohortError(f"the store at {root.path} cannot be read: {error}") from error


def put_folder(new: Path, final: Path) -> None:
    """Gives a folder its name, or changes names with the one that has it, at once where the file system can."""
    if not final.exists():
        new.rename(final)
    elif not _exchange(new, final):
        old = new.with_name(f"{new.name}{_OLD}")
        final.rename(old)
        try:
            new.rename(final)  # killed before this, `remove_abandoned` puts the old one back
        except OSError:
            old.rename(final)
            raise
        old.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where system or file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def remove_abandoned(store: str | Path) -> int:
    """Clears up what killed processes left in a folder; elsewhere the next writing of a case does it.

    A case that was set aside for a new version which never came is put back. What was half written is removed, once
    it is older than an hour: someone may be at work.

    Returns:
      The number of cases of which something was left.
    """
    folder = folder_of(store)
    left = [path for path in folder.glob(".*.*") if path.is_dir()] if folder else []
    done = 0
    for path in left:
        final = path.with_name(path.name[1:].split(".")[0])
        if path.name.endswith(_OLD) and not final.exists():
            path.rename(final)
        elif time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
        else:
            continue
        done += 1
    return done
