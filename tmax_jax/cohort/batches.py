"""A cohort and the order in which training sees it.

Order is a function, not a state: the step number alone says which cases come next, so that a resumed run
needs no saved position.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tmax_jax.cohort.images import Images, free_memory_bytes
from tmax_jax.cohort.store import Case, CohortError, images_form, read_attributes, read_case

PADDING = -1  # the index of a place in the last batch that no case fills


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Cases of equal shape, as the scanner stored them; normalisation happens on the device."""

    case_ids: tuple[str, ...]
    perfusion: Sequence[np.ndarray]  # [z, y, x, time] a case, one dtype; read when they are first needed
    inserted: tuple[np.ndarray, ...]  # bool [z, time] a case, images that were missing and are zeros
    mask: tuple[np.ndarray, ...]  # bool [z, y, x] a case
    tmax_s: tuple[np.ndarray, ...]  # float32 [z, y, x] a case
    intensity_min: np.ndarray  # float32 [case]
    intensity_max: np.ndarray  # float32 [case]
    frame_interval_s: np.ndarray  # float32 [case]
    spacing_mm: np.ndarray  # float32 [case, 3]: z, y, x
    data: str  # "phantom", "real" or "mixed"
    maps: Mapping[str, tuple[np.ndarray, ...]] = dataclasses.field(default_factory=dict)  # the others that all have
    map_units: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images of each case: z, y, x, time."""
        images = self.perfusion
        return images.shape if isinstance(images, Images) else images[0].shape

    def indices(self, case_ids: Sequence[str]) -> np.ndarray:
        """Returns the places of these cases, int64 `[case]`."""
        return np.array([self.case_ids.index(case) for case in case_ids], np.int64)


def read_cohort(store: str | Path, case_ids: Sequence[str]) -> Cohort:
    """Reads maps and masks of the cases; their images, in the scanner's type, follow when they are first needed.

    A process so reads the images of the cases that it trains on, and no others. They stay in memory while they take
    half of what is free at most: 47 MB a full-size patient.

    Args:
      store: folder of the cohort's store.
      case_ids: the cases, each with a Tmax map.

    Returns:
      The cohort, in the order of `case_ids`.

    Raises:
      CohortError: cases without a Tmax map, or of different shapes; all of them are named.

    Example:
      `read_cohort("cohort.zarr", list_cases("cohort.zarr"))`
    """
    cases = [read_case(store, case_id, maps=None, perfusion=False) for case_id in case_ids]
    without = [case.case_id for case in cases if "tmax" not in case.maps]
    if without:
        raise CohortError(
            f"{len(without)} of {len(cases)} cases have no Tmax map to learn from: {', '.join(without)}."
            f" Convert them again with their map series beside them, or leave them out of the store {store}."
        )
    forms = {case_id: form for case_id in case_ids if (form := images_form(store, case_id)) is not None}
    if len(forms) < len(cases):
        raise CohortError(
            f"{store} holds maps without perfusion, such as a phantom's truth; train on a converted cohort"
        )
    shapes = {case_id: shape for case_id, (shape, _) in forms.items()}
    if len(set(shapes.values())) > 1:
        lines = "\n".join(f"  {case_id}: {shape}" for case_id, shape in shapes.items())
        raise CohortError(
            f"the cases of {store} differ in shape [z, y, x, time]; one model trains on one shape:\n{lines}"
        )
    dtype = np.result_type(*(dtype for _, dtype in forms.values()))
    return gather(cases, Images(store, case_ids, shapes[case_ids[0]], dtype, keep_bytes=free_memory_bytes() / 2))


def gather(cases: Sequence[Case], images: Sequence[np.ndarray]) -> Cohort:
    """Puts cases together with their images.

    Args:
      cases: each with a map "tmax"; their own images are not looked at.
      images: `[z, y, x, time]` a case, in real values, all of one shape and type.
    """
    kinds = {case.attributes["data"] for case in cases}
    names = set.intersection(*(set(case.maps) for case in cases)) - {"tmax"}
    return Cohort(
        case_ids=tuple(case.case_id for case in cases),
        perfusion=images,
        inserted=tuple(case.inserted for case in cases),
        mask=tuple(case.mask for case in cases),
        tmax_s=tuple(case.maps["tmax"] for case in cases),
        intensity_min=np.array([case.attributes["intensity_min"] for case in cases], np.float32),
        intensity_max=np.array([case.attributes["intensity_max"] for case in cases], np.float32),
        frame_interval_s=np.array([frame_interval_s(case.attributes["frame_times_s"]) for case in cases], np.float32),
        spacing_mm=np.array([case.attributes["spacing_mm"] for case in cases], np.float32),
        data=kinds.pop() if len(kinds) == 1 else "mixed",
        maps={name: tuple(case.maps[name] for case in cases) for name in sorted(names)},
        map_units={name: cases[0].attributes.get("maps", {}).get(name, {}).get("unit", "") for name in sorted(names)},
    )


def without_images(cohort: Cohort, percent: float, *, seed: int) -> Cohort:
    """Takes images (one slice at one time) away, as if their files had been missing: zeros, as conversion leaves them.

    Args:
      cohort: in memory; stays as it is.
      percent: of each case's images.
      seed: of the draw, a case its own. More percent take away the same images and others.

    Returns:
      The cohort with holes; masks and intensity scales are those of the whole series.
    """
    holed, inserted = [], [places.copy() for places in cohort.inserted]
    for number, perfusion in enumerate(cohort.perfusion):
        slices, times = perfusion.shape[0], perfusion.shape[-1]
        order = np.random.default_rng((seed, number)).permutation(slices * times)
        z, t = np.divmod(order[: round(percent / 100 * slices * times)], times)
        holed.append(perfusion.copy())
        holed[-1][z, :, :, t] = 0
        inserted[number][z, t] = True
    return dataclasses.replace(cohort, perfusion=tuple(holed), inserted=tuple(inserted))


def draw_cases(case_ids: tuple[str, ...], count: int, *, seed: int) -> tuple[str, ...]:
    """Draws so many of the cases; a larger draw holds every smaller one.

    Args:
      case_ids: to draw from.
      count: how many; 0 for all.
      seed: of the draw.

    Raises:
      CohortError: there are not so many.

    Example:
      >>> draw_cases(("a", "b", "c", "d"), 2, seed=0)
      ('a', 'c')
    """
    if count > len(case_ids):
        raise CohortError(
            f"config.data.patients asks for {count} patients to train on and the cohort has {len(case_ids)} beside the"
            " holdout; convert a larger cohort, or ask for fewer"
        )
    drawn = np.random.default_rng(seed).permutation(len(case_ids))[: count or len(case_ids)]
    return tuple(case_ids[place] for place in sorted(drawn))


def trainable_cases(store: str | Path, case_ids: Sequence[str]) -> list[str]:
    """Returns the cases whose attributes name a Tmax map, without those that a later conversion excluded."""
    attributes = {case_id: read_attributes(store, case_id) for case_id in case_ids}
    return [case_id for case_id, found in attributes.items() if "tmax" in found["maps"] and "excluded" not in found]


def frame_interval_s(frame_times_s: Sequence[float]) -> float:
    """Returns the median distance of the frames in seconds; 1 for a single frame."""
    return float(np.median(np.diff(frame_times_s))) if len(frame_times_s) > 1 else 1.0


def case_order(n_cases: int, *, seed: int, fold: int, epoch: int) -> np.ndarray:
    """Returns the order of one epoch, int64 `[case]`.

    Example:
      >>> sorted(case_order(4, seed=0, fold=1, epoch=2).tolist())
      [0, 1, 2, 3]
    """
    return np.random.default_rng((seed, fold, epoch)).permutation(n_cases)


def batched(indices: np.ndarray, batch_size: int) -> np.ndarray:
    """Cuts indices into batches of one size, the last one filled up with `PADDING`.

    Args:
      indices: int64 `[case]`.
      batch_size: cases a batch.

    Returns:
      int64 `[batch, batch_size]`.

    Example:
      >>> batched(np.arange(3), 2)
      array([[ 0,  1],
             [ 2, -1]])
    """
    batches = -(-len(indices) // batch_size)
    padded = np.full(batches * batch_size, PADDING, np.int64)
    padded[: len(indices)] = indices
    return padded.reshape(batches, batch_size)


def take(cohort: Cohort, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Stacks one batch.

    Args:
      cohort: in memory.
      indices: int64 `[case]`; `PADDING` gives a case that does not count.

    Returns:
      `perfusion [case, z, y, x, time]` in the stored type, `inserted [case, z, time]`, `mask` and
      `tmax_s [case, z, y, x]`, `intensity_min`, `intensity_max`, `frame_interval_s` and `valid` (bool) `[case]`, and
      `spacing_mm [case, 3]`; `map_<name> [case, z, y, x]` for the maps beside Tmax.
    """
    # Any real case will do where `valid` is False: one of the batch, since others may have to be read for it.
    place = np.where(indices == PADDING, max(indices.max(), 0), indices)
    return {
        "perfusion": np.stack([cohort.perfusion[i] for i in place]),
        "inserted": np.stack([cohort.inserted[i] for i in place]),
        "mask": np.stack([cohort.mask[i] for i in place]),
        "tmax_s": np.stack([cohort.tmax_s[i] for i in place]),
        "intensity_min": cohort.intensity_min[place],
        "intensity_max": cohort.intensity_max[place],
        "frame_interval_s": cohort.frame_interval_s[place],
        "spacing_mm": cohort.spacing_mm[place],
        "valid": indices != PADDING,
    } | {f"map_{name}": np.stack([maps[i] for i in place]) for name, maps in cohort.maps.items()}
