"""A cohort's images: read when they are first needed, kept while memory allows, read ahead in the background."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import overload

import numpy as np

from tmax_jax.cohort.store import CohortError, read_case

_READERS = 4  # cases read at a time; each is decoded by several threads of its own


class Images(Sequence[np.ndarray]):
    """Images `[z, y, x, time]` by the place of their case, all of one shape and type.

    A sequence like a tuple of arrays, which it may stand for: only when a place is asked for is it read. What was read
    stays while it fits into `keep_bytes`; beyond that every case is read anew in each epoch.
    """

    def __init__(
        self, store: str | Path, case_ids: Sequence[str], shape: tuple[int, ...], dtype: np.dtype, *, keep_bytes: float
    ) -> None:
        """Reads nothing yet.

        Args:
          store: folder of the cohort's store, or another place.
          case_ids: in the order of their places.
          shape: `[z, y, x, time]` of each.
          dtype: of each, once read.
          keep_bytes: of memory for what was read.
        """
        self.shape, self.dtype = shape, dtype
        self.case_bytes = int(np.prod(shape)) * dtype.itemsize
        self.room = int(keep_bytes // self.case_bytes)  # cases that may be kept
        self.read_count = 0  # cases read from the store so far
        self._store, self._case_ids = store, tuple(case_ids)
        self._kept: dict[int, Future[np.ndarray]] = {}
        self._coming: dict[int, Future[np.ndarray]] = {}  # asked for ahead, and not to be kept
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="images")
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._case_ids)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> list[np.ndarray]: ...
    def __getitem__(self, place: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place = int(place) % len(self)
        self.read_ahead([place])
        with self._lock:
            future = self._kept.get(place) or self._coming.pop(place)
        return future.result()

    def read_ahead(self, places: Iterable[int]) -> None:
        """Starts to read cases that will be asked for soon, and does not wait for them."""
        with self._lock:
            for place in map(int, places):
                if place not in self._kept and place not in self._coming:
                    into = self._kept if len(self._kept) < self.room else self._coming
                    into[place] = self._readers.submit(self._read, place)

    def _read(self, place: int) -> np.ndarray:
        images = read_case(self._store, self._case_ids[place], maps=()).perfusion
        if images is None or images.shape != self.shape:
            raise CohortError(
                f"{self._case_ids[place]} of {self._store} has other images than when this run started; start it again"
            )
        self.read_count += 1
        return images.astype(self.dtype, copy=False)


def free_memory_bytes() -> float:
    """Returns how much memory this process may still take, by the machine and by the limits of container and job.

    Example:
      >>> free_memory_bytes() > 0
      True
    """
    free = [float("inf")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        values = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free.append(1024.0 * int(values["MemAvailable"].split()[0]))
    for folder in _control_groups():
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            free.append(float(limit) - float((folder / "memory.current").read_text()))
    return max(min(free), 0.0)


def _control_groups() -> list[Path]:
    """The folders of this process's control group (version 2) and those above it that have a limit of memory."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rsplit(":", 1)[-1].strip("/")
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    folder = root / own
    return [path for path in (folder, *folder.parents) if path.is_relative_to(root) and (path / "memory.max").exists()]
