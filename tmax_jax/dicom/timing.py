"""Which frame of a series is which point in time.

No single header value says so for every scanner, and ranking the images of a slice, the usual way out, moves every
later image one frame early as soon as one file is missing. So values are taken as places, and a key is trusted only
where all images agree with it.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tmax_jax.dicom.header import DicomError, Frame

_FILLED = 0.8  # of the lattice slices x times that a key must fill to be believed
_SAME_S = 1e-3  # times closer than this are one


@dataclasses.dataclass(frozen=True)
class TimeOrder:
    """Where each image of a series is in time."""

    index: np.ndarray  # int64 [frame]
    count: int  # frames of the whole series, holes included
    key: str  # the header value that decided
    warnings: tuple[str, ...] = ()


def order_in_time(frames: Sequence[Frame], z: np.ndarray, slices: int) -> TimeOrder:
    """Finds the time index of every image; a missing file leaves a hole where it belongs.

    Args:
      frames: of one series.
      z: int64 `[frame]`, the slice of each.
      slices: of the grid.

    Returns:
      The order by the first key that is there on all images, never repeats at one slice, and fills the lattice.

    Raises:
      DicomError: no key orders the series, or two of them contradict each other.

    Example:
      Images of a Philips series carry TemporalPositionIdentifier 1, 2, 4 where a whole time point was lost:
      indices 0, 1, 3 of 4.
    """
    if len(np.unique(z)) == len(z):
        return TimeOrder(np.zeros(len(z), np.int64), 1, "one image a slice")
    declared = _declared(frames)
    for order in _candidates(frames, z, slices, declared):
        if _unique(z, order.index) and len(z) > _FILLED * slices * order.count:
            _check_against(frames, z, order)
            return _with_declared(order, declared)
    return _by_rank(frames, z)


def frame_times_s(frames: Sequence[Frame], order: TimeOrder) -> tuple[np.ndarray, str]:
    """Finds when the frames were acquired, from the first value that tells them apart.

    Args:
      frames: of one series.
      order: of the same.

    Returns:
      Seconds since the first frame, float64 `[time]`, and the name of the header value.
    """
    measured = {
        "AcquisitionTime": [frame.acquired_s for frame in frames],
        "TriggerTime": [None if frame.trigger_time_ms is None else frame.trigger_time_ms / 1000 for frame in frames],
    }
    for name, values in measured.items():
        if all(value is not None for value in values):
            times_s = np.array(values, np.float64)
            present = np.unique(order.index)
            medians = np.array([np.median(times_s[order.index == t]) for t in present])
            if len(present) > 1 and np.all(np.diff(medians) > _SAME_S):
                return _fill(present, medians, order.count), name
    for name in ("temporal_resolution_ms", "repetition_time_ms"):
        interval_ms = getattr(frames[0], name)
        if interval_ms:
            tag = "TemporalResolution" if name.startswith("temporal") else "RepetitionTime"
            return np.arange(order.count) * interval_ms / 1000, tag
    return np.arange(order.count, dtype=np.float64), "frame number, for want of any time"


def _fill(present: np.ndarray, times_s: np.ndarray, count: int) -> np.ndarray:
    """Interpolates the times of frames that are missing altogether, and goes on evenly beyond the ends."""
    step = np.median(np.diff(times_s) / np.diff(present))
    every = np.arange(count)
    filled = np.interp(every, present, times_s)
    filled = np.where(every < present[0], times_s[0] + (every - present[0]) * step, filled)
    filled = np.where(every > present[-1], times_s[-1] + (every - present[-1]) * step, filled)
    return filled - filled[0]


def _declared(frames: Sequence[Frame]) -> int:
    values = {int(frame.temporal_positions) for frame in frames if frame.temporal_positions}
    return values.pop() if len(values) == 1 else 0


def _candidates(frames: Sequence[Frame], z: np.ndarray, slices: int, declared: int) -> Iterator[TimeOrder]:
    for keyword, field in (
        ("TemporalPositionIdentifier", "temporal_position"),
        ("AcquisitionNumber", "acquisition_number"),
    ):
        values = _values(frames, field)
        if values is not None and np.all(values == np.round(values)):
            first = 1 if declared and values.min() >= 1 and values.max() <= declared else int(values.min())
            index = values.astype(np.int64) - first
            yield TimeOrder(index, int(index.max()) + 1, keyword)
    values = _values(frames, "trigger_time_ms")
    if values is not None:
        yield _places(values / 1000, "TriggerTime")
    values = _values(frames, "instance_number")
    if values is not None:
        planned = max(frame.slices or 0 for frame in frames)
        for stack in dict.fromkeys((slices, max(planned, slices))):
            yield from _instance_lattices(values.astype(np.int64), z, stack, declared)
    values = _values(frames, "acquired_s")
    if values is not None:
        order = _places(values, "AcquisitionTime")
        if len(set(np.bincount(z, minlength=slices))) == 1:  # with a hole, the first image's time would be ambiguous
            yield order


def _values(frames: Sequence[Frame], field: str) -> np.ndarray | None:
    values = [getattr(frame, field) for frame in frames]
    return None if any(value is None for value in values) else np.array(values, np.float64)


def _places(times_s: np.ndarray, key: str) -> TimeOrder:
    """Turns times into places: evenly spaced ones keep a gap where a time point is missing, others are ranked."""
    order = np.argsort(times_s, kind="stable")
    rank = np.cumsum(np.concatenate([[0], np.diff(times_s[order]) > _SAME_S]))
    place = rank
    if rank[-1] > 0:
        centres = np.bincount(rank, weights=times_s[order]) / np.bincount(rank)
        steps = np.diff(centres) / np.median(np.diff(centres))
        if np.all(np.abs(steps - np.round(steps)) < 0.1) and np.all(np.round(steps) >= 1):
            place = np.concatenate([[0], np.cumsum(np.round(steps))]).astype(np.int64)[rank]
    index = np.empty(len(times_s), np.int64)
    index[order] = place
    return TimeOrder(index, int(place[-1]) + 1, key)


def _instance_lattices(number: np.ndarray, z: np.ndarray, slices: int, declared: int) -> Iterator[TimeOrder]:
    """Reads InstanceNumber as a count through the lattice, slices fastest or times fastest."""
    for first in dict.fromkeys((1, int(number.min()))):
        place = number - first
        if place.min() < 0:
            continue
        if _one_to_one(place % slices, z):
            index = place // slices
            yield TimeOrder(index, int(index.max()) + 1, "InstanceNumber, slices fastest")
        most = int(np.bincount(z).max())
        for times in dict.fromkeys((declared, -(-(int(place.max()) + 1) // slices), most)):
            if times > 1 and _one_to_one(place // times, z):
                yield TimeOrder(place % times, times, "InstanceNumber, times fastest")


def _one_to_one(some: np.ndarray, others: np.ndarray) -> bool:
    pairs = len(np.unique(np.stack([some, others]), axis=1).T)
    return pairs == len(np.unique(some)) == len(np.unique(others))


def _unique(z: np.ndarray, t: np.ndarray) -> bool:
    return len(np.unique(np.stack([z, t]), axis=1).T) == len(z)


def _check_against(frames: Sequence[Frame], z: np.ndarray, order: TimeOrder) -> None:
    """Refuses an order that runs against another value of the same slice."""
    by_slice = np.lexsort((order.index, z))
    same = np.diff(z[by_slice]) == 0
    for keyword, field in (("InstanceNumber", "instance_number"), ("AcquisitionTime", "acquired_s")):
        values = _values(frames, field)
        if values is not None and np.any(np.diff(values[by_slice])[same] < 0):
            raise DicomError(
                f"{order.key} and {keyword} order the images of a slice differently; export the series again from"
                " the scanner's archive, where neither was rewritten"
            )


def _with_declared(order: TimeOrder, declared: int) -> TimeOrder:
    if declared > order.count:
        return dataclasses.replace(order, count=declared)
    if declared and declared < order.count:
        warning = f"the header declares {declared} time points, {order.count} are there"
        return dataclasses.replace(order, warnings=(warning,))
    return order


def _by_rank(frames: Sequence[Frame], z: np.ndarray) -> TimeOrder:
    """Ranks the images of each slice, where every slice has as many: with a hole the rest would move a frame."""
    counts = np.unique(np.bincount(z)[np.unique(z)])
    if len(counts) > 1:
        raise DicomError(
            "no header value orders the images in time (TemporalPositionIdentifier, AcquisitionNumber, TriggerTime,"
            f" InstanceNumber, AcquisitionTime), and the slices have from {counts[0]} to {counts[-1]} images each, so"
            " counting them would shift some; export the series completely"
        )
    for keyword, field in (("InstanceNumber", "instance_number"), ("AcquisitionTime", "acquired_s")):
        values = _values(frames, field)
        if values is not None and _unique(z, values):
            by_slice = np.lexsort((values, z))
            index = np.empty(len(z), np.int64)
            index[by_slice] = np.arange(len(z)) % counts[0]
            warning = f"times are ranks of {keyword}: no header value numbers them"
            return TimeOrder(index, int(counts[0]), f"rank of {keyword}", (warning,))
    raise DicomError("several images lie at the same slice and no header value tells their times apart")
