"""Numbers that count through the images of a scan, slice by slice or time by time, read as places.

Counted slices fastest, a number tells the time only if it is known which number began a volume. Numbers that begin at
1 say so; others may begin anywhere, and with the first image lost the lowest number is not where they began.
"""

from collections.abc import Iterator

import numpy as np

SLICES_FASTEST, TIMES_FASTEST = "slices fastest", "times fastest"
Lattice = tuple[np.ndarray, int, str]  # time of each image, how many times, which way was counted


def read_lattices(number: np.ndarray, z: np.ndarray, slices: int, declared: int) -> Iterator[Lattice]:
    """Reads numbers as counts through the lattice of slices and times.

    Args:
      number: int64 `[frame]`.
      z: int64 `[frame]`, the slice of each.
      slices: that are counted through.
      declared: how many times the headers say there are; 0 where they do not.

    Yields:
      The readings that give every slice a place of its own.

    Example:
      >>> [(index, count, how)] = read_lattices(np.array([1, 2, 5, 6]), np.array([0, 1, 0, 1]), 2, 0)
      >>> index.tolist(), count, how
      ([0, 0, 2, 2], 3, 'slices fastest')
    """
    for first in _beginnings(number, z, slices):
        index = (number - first) // slices
        yield index, int(index.max()) + 1, SLICES_FASTEST
    for first in dict.fromkeys((1, int(number.min()))):
        place = number - first
        if place.min() < 0:
            continue
        most = int(np.bincount(z).max())
        for times in dict.fromkeys((declared, -(-(int(place.max()) + 1) // slices), most)):
            if times > 1 and _one_to_one(place // times, z):
                yield place % times, times, TIMES_FASTEST


def _beginnings(number: np.ndarray, z: np.ndarray, slices: int) -> list[int]:
    """Finds the number that may have begun the first volume, if numbers count slices fastest; none if that is unclear.

    Volumes are taken to begin where slices then come in order, from one end to the other; where none of them do, as in
    interleaved scans, where the fewest times explain all numbers.
    """
    lowest, highest = int(number.min()), int(number.max())
    if not _one_to_one(number % slices, z):
        return []
    costs = {}
    for first in range(lowest - slices + 1, lowest + 1):
        _, one_each = np.unique((number - first) % slices, return_index=True)
        steps = np.diff(z[one_each])
        in_order = bool((steps > 0).all() or (steps < 0).all())
        costs[first] = (not in_order, (highest - first) // slices)
    best = [first for first, cost in costs.items() if cost == min(costs.values())]
    from_one = [first for first in best if (first - 1) % slices == 0]
    if lowest >= 1 and from_one:
        return list(dict.fromkeys((1, *from_one)))
    return best if len(best) == 1 else []


def _one_to_one(some: np.ndarray, others: np.ndarray) -> bool:
    pairs = len(np.unique(np.stack([some, others]), axis=1).T)
    return pairs == len(np.unique(some)) == len(np.unique(others))
