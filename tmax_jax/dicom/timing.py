"""Which frame of a series is which point in time.

No single header value says so for every scanner, and ranking the images of a slice, the usual way out, moves every
later image one frame early as soon as one file is missing. So values are taken as places, and a key is trusted only
where all images agree with it.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.lattice import SLICES_FASTEST, read_lattices

_FILLED = 0.8  # of the lattice slices x times that a key must fill to be believed
SAME_S = 1e-3  # times closer than this are one
_HALF_DAY_S = 43200.0
TIME_KEYS = (
    "TemporalPosition",
    "DimensionIndexValues",
    "AcquisitionNumber",
    "TriggerTime",
    "InstanceNumber",
    "AcquisitionTime",
)


@dataclasses.dataclass(frozen=True)
class TimeOrder:
    """Where each image of a series is in time, and how that was decided."""

    index: np.ndarray  # int64 [frame]
    count: int  # frames of the whole series, holes included
    key: str  # the header value that decided
    warnings: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()  # keys that did not, each with the reason
    slices: int = 0  # that the key counts through: more than are there where a slice at an end was lost


def order_in_time(
    frames: Sequence[Frame], z: np.ndarray, slices: int, *, time_key: str = "", n_times: int = 0
) -> TimeOrder:
    """Finds the time index of every image; a missing file leaves a hole where it belongs.

    Args:
      frames: of one series.
      z: int64 `[frame]`, the slice of each.
      slices: of the grid.
      time_key: the beginning of the key to take, one of `TIME_KEYS`, whatever the others say; the first that holds
        by default.
      n_times: how many times there are, where the headers declare a wrong number.

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
    declared = n_times or _declared(frames)
    rejected: list[tuple[str, str]] = []
    for key, order in _candidates(frames, z, slices, declared):
        if time_key and not key.lower().startswith(time_key.lower()):
            continue
        problem = order if isinstance(order, str) else _problem(order, z, slices, n_times, named=bool(time_key))
        if isinstance(order, str) or problem:
            rejected.append((key, problem))
            continue
        if not time_key:
            _check_against(frames, z, order)
            _check_dimensions(frames, z, order)
        return dataclasses.replace(_with_declared(order, declared, n_times), rejected=tuple(rejected))
    if time_key:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in rejected) or f"it is one of {', '.join(TIME_KEYS)}"
        raise DicomError(f"--time_key={time_key} does not order the images in time: {reasons}")
    _check_dimensions(frames, z, None)
    return dataclasses.replace(_by_rank(frames, z, rejected), rejected=tuple(rejected))


def _declared(frames: Sequence[Frame]) -> int:
    values = {int(frame.temporal_positions) for frame in frames if frame.temporal_positions}
    return values.pop() if len(values) == 1 else 0


def values_of(frames: Sequence[Frame], field: str) -> np.ndarray | None:
    """Returns a field of all frames as numbers, None where one has none; a scan past midnight goes on counting."""
    values = [getattr(frame, field) for frame in frames]
    if any(value is None for value in values):
        return None
    numbers = np.array(values, np.float64)
    if field == "acquired_s" and np.ptp(numbers) > _HALF_DAY_S and numbers.max() < 2 * _HALF_DAY_S:
        numbers = np.where(numbers < _HALF_DAY_S, numbers + 2 * _HALF_DAY_S, numbers)  # past midnight, without a date
    return numbers


Candidate = tuple[str, TimeOrder | str]  # the key's name, and the order it gives or why it gives none


def _candidates(frames: Sequence[Frame], z: np.ndarray, slices: int, declared: int) -> Iterator[Candidate]:
    position = "TemporalPositionIndex" if frames[0].dimension_index else "TemporalPositionIdentifier"
    yield from _integer_key(frames, z, position, values_of(frames, "temporal_position"))
    yield from _label_key(frames, position)
    yield from _dimension_keys(frames, z)
    yield from _integer_key(frames, z, "AcquisitionNumber", values_of(frames, "acquisition_number"))
    values = values_of(frames, "trigger_time_ms")
    yield "TriggerTime", "not on all images" if values is None else _places(values / 1000, "TriggerTime")
    yield from _instance_keys(frames, z, slices, declared)
    values = values_of(frames, "acquired_s")
    if values is None:
        yield "AcquisitionTime", "not on all images"
    elif len(set(np.bincount(z, minlength=slices))) > 1:
        yield "AcquisitionTime", "with an image missing, which time was the first would be a guess"
    else:
        yield "AcquisitionTime", _places(values, "AcquisitionTime")


def _integer_key(frames: Sequence[Frame], z: np.ndarray, key: str, values: np.ndarray | None) -> Iterator[Candidate]:
    """Takes whole numbers as places: counted from 1, or from the lowest where the first image is there."""
    if values is None or np.any(values != np.round(values)):
        yield key, "not on all images" if values is None else "no whole number"
        return
    low = int(values.min())
    numbers = values_of(frames, "instance_number")
    first_is_there = numbers is not None and numbers.min() <= 1
    for first in dict.fromkeys((low,) if first_is_there or low < 1 else (1, low)):
        index = values.astype(np.int64) - first
        yield key, TimeOrder(index, int(index.max()) + 1, key)


def _label_key(frames: Sequence[Frame], position: str) -> Iterator[Candidate]:
    """Orders the label and control images of each temporal position, which carry one number."""
    labels = sorted({frame.label for frame in frames} - {""})
    values = values_of(frames, "temporal_position")
    if len(labels) > 1 and values is not None and all(frame.label for frame in frames):
        rank = np.array([labels.index(frame.label) for frame in frames])
        index = (values.astype(np.int64) - max(1, int(values.min()))) * len(labels) + rank
        key = f"{position}, then label"
        yield key, TimeOrder(index, -(-(int(index.max()) + 1) // len(labels)) * len(labels), key)


def _dimension_keys(frames: Sequence[Frame], z: np.ndarray) -> Iterator[Candidate]:
    for column, name in _varying_dimensions(frames, z).items():
        values = np.array([frame.dimension_index[column] for frame in frames], np.float64)
        yield from _integer_key(frames, z, f"DimensionIndexValues ({name})", values)


def _varying_dimensions(frames: Sequence[Frame], z: np.ndarray) -> dict[int, str]:
    """Finds the dimension indices of an object of many frames that differ among the images of one slice."""
    lengths = {len(frame.dimension_index) for frame in frames}
    if len(lengths) != 1:
        return {}
    table = np.array([frame.dimension_index for frame in frames]).reshape(len(frames), -1)
    names = frames[0].dimensions
    return {
        column: names[column] if column < len(names) else f"number {column + 1}"
        for column in range(table.shape[1])
        if not _follows(table[:, column], z)
    }


def _instance_keys(frames: Sequence[Frame], z: np.ndarray, slices: int, declared: int) -> Iterator[Candidate]:
    values, key = values_of(frames, "instance_number"), "InstanceNumber"
    if len({frame.frame_number for frame in frames}) == len(frames):  # of one object, in one file or several
        values, key = values_of(frames, "frame_number"), "InstanceNumber of the frame in its object"
    elif any(frame.frames_in_file > 1 for frame in frames):  # an object a time, or one a slice
        yield from _integer_key(frames, z, key, values)
        if len({(frame.source, place) for frame, place in zip(frames, z.tolist(), strict=True)}) == len(
            set(z.tolist())
        ):
            yield from _integer_key(frames, z, "frame of an object a slice", values_of(frames, "frame_number"))
        return
    if values is None:
        yield key, "not on all images"
        return
    planned = max(frame.slices or 0 for frame in frames)
    spare = math.ceil(0.05 * slices)  # slices that may be lost at the ends
    stacks = dict.fromkeys((slices, max(planned, slices), *range(slices + 1, slices + 1 + spare)))
    found = False
    for stack in stacks:
        for index, count, how in read_lattices(values.astype(np.int64), z, stack, declared):
            found = True
            yield key, TimeOrder(index, count, f"{key}, {how}", slices=stack if how == SLICES_FASTEST else 0)
    if not found:
        yield key, "no lattice of slices and times gives its numbers"


def _places(times_s: np.ndarray, key: str) -> TimeOrder:
    """Turns times into places: evenly spaced ones keep a gap where a time point is missing, others are ranked."""
    order = np.argsort(times_s, kind="stable")
    rank = np.cumsum(np.concatenate([[0], np.diff(times_s[order]) > SAME_S]))
    place = rank
    if rank[-1] > 0:
        centres = np.bincount(rank, weights=times_s[order]) / np.bincount(rank)
        steps = np.diff(centres) / np.median(np.diff(centres))
        if np.all(np.abs(steps - np.round(steps)) < 0.1) and np.all(np.round(steps) >= 1):
            place = np.concatenate([[0], np.cumsum(np.round(steps))]).astype(np.int64)[rank]
    index = np.empty(len(times_s), np.int64)
    index[order] = place
    return TimeOrder(index, int(place[-1]) + 1, key)


def _follows(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether the one is the same wherever the other is."""
    return len(np.unique(np.stack([some, others]), axis=1).T) == len(np.unique(others))


def _unique(z: np.ndarray, t: np.ndarray) -> bool:
    return len(np.unique(np.stack([z, t]), axis=1).T) == len(z)


def _problem(order: TimeOrder, z: np.ndarray, slices: int, n_times: int, *, named: bool) -> str:
    if n_times and order.count > n_times:
        return f"reaches {order.count} times"
    if not _unique(z, order.index):
        return "repeats at a slice"
    filled = len(z) / (slices * order.count)
    if filled <= _FILLED and not named:
        return f"fills {filled:.0%} of {slices} slices x {order.count} times"
    return ""


def _check_against(frames: Sequence[Frame], z: np.ndarray, order: TimeOrder) -> None:
    """Refuses an order that runs against another value of the same slice."""
    by_slice = np.lexsort((order.index, z))
    same = np.diff(z[by_slice]) == 0
    for keyword, field in (("InstanceNumber", "instance_number"), ("AcquisitionTime", "acquired_s")):
        values = values_of(frames, field)
        if values is not None and np.any(np.diff(values[by_slice])[same] < -SAME_S):
            raise DicomError(
                f"{order.key} and {keyword} order the images of a slice differently; export the series again from"
                f" the scanner's archive, where neither was rewritten, or say which to believe with"
                f" --time_key={order.key.split(' ')[0].rstrip(',')} or --time_key={keyword}"
            )


def _check_dimensions(frames: Sequence[Frame], z: np.ndarray, order: TimeOrder | None) -> None:
    """Refuses to lay two dimensions of an object into one, unless labels name the second."""
    if order is not None and not order.key.startswith(("InstanceNumber", "AcquisitionTime")):
        return
    varying = _varying_dimensions(frames, z)
    if len(varying) > 1 and len({frame.label for frame in frames}) == 1:
        counts = {name: len({frame.dimension_index[column] for frame in frames}) for column, name in varying.items()}
        listed = ", ".join(f"{name} ({count} values)" for name, count in counts.items())
        raise DicomError(
            f"the images of a slice differ in several dimensions: {listed}; export one value of the second, or say how"
            " to order them with --time_key=InstanceNumber"
        )


def _with_declared(order: TimeOrder, declared: int, n_times: int) -> TimeOrder:
    if declared > order.count or n_times:
        return dataclasses.replace(order, count=declared)
    if declared and declared < order.count:
        warning = f"the header declares {declared} time points, {order.count} are there"
        return dataclasses.replace(order, warnings=(warning,))
    return order


def _by_rank(frames: Sequence[Frame], z: np.ndarray, rejected: Sequence[tuple[str, str]]) -> TimeOrder:
    """Ranks the images of each slice, where every slice has as many: with a hole the rest would move a frame."""
    counts = np.unique(np.bincount(z)[np.unique(z)])
    if len(counts) > 1:
        reasons = "; ".join(f"{key} {reason}" for key, reason in dict(rejected).items())
        raise DicomError(
            f"no header value orders the images in time ({reasons}), and the slices have from {counts[0]} to"
            f" {counts[-1]} images each, so counting them would shift some; export the series completely, or name the"
            " value with --time_key"
        )
    for keyword, field in (("InstanceNumber", "instance_number"), ("AcquisitionTime", "acquired_s")):
        values = values_of(frames, field)
        if values is not None and _unique(z, values):
            return _rank(values, z, keyword)
    raise DicomError("several images lie at the same slice and no header value tells their times apart")


def _rank(values: np.ndarray, z: np.ndarray, keyword: str) -> TimeOrder:
    """Ranks a value of the images of each slice; where all slices have the same even spacing, its gaps stay gaps."""
    by_slice = np.lexsort((values, z)).reshape(len(np.unique(z)), -1)
    places = np.stack([_places(values[rows], keyword).index for rows in by_slice])
    if (places != places[0]).any():
        places = np.broadcast_to(np.arange(by_slice.shape[1]), by_slice.shape)
    index = np.empty(len(z), np.int64)
    index[by_slice] = places
    warning = f"times are ranks of {keyword}: no header value numbers them"
    return TimeOrder(index, int(places.max()) + 1, f"rank of {keyword}", (warning,))
