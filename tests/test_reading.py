"""What was read becomes a case: counts, places of holes, attributes, whatever the files were."""

from collections.abc import Callable

import numpy as np
import pytest

from tmax_jax.cohort.reading import (
    Outcome,
    Reading,
    ReadMap,
    TooFewError,
    check_missing,
    convert_case,
    describe_holes,
    interpolate_missing,
)
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import CohortError, has_case, list_cases, read_case


def reading(**changes: object) -> Reading:
    """A scan of 3 slices and 20 times with one image missing."""
    values = np.full((3, 8, 8, 20), 40, np.int16)
    inserted = np.zeros((3, 20), bool)
    inserted[1, 4] = True
    values[1, :, :, 4] = 0
    affine = np.diag([5.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    said = {"echo_time_ms": 30.0, "repetition_time_ms": 1500.0, "field_strength_t": 3.0, "vendor": "v", "model": "m"}
    order = {"order_source": "key", "order_rejected": {"other": "repeats"}, "times_source": "clock"}
    maps = {"maps": {"tmax": ReadMap(np.ones((3, 8, 8), np.float32), "s", "ms", 0)}}
    fields = {"values": values, "scale": 1.5, "inserted": inserted, "slices": 3, "affine": affine, "not_finite": 0}
    fields |= {"times_s": 1.5 * np.arange(20), "findings": [], **said, **order, **maps}
    return Reading(**(fields | changes))  # pyright: ignore[reportArgumentType] (by name)


def convert(store: str, read: Callable[[], Reading], fingerprint: str = "f", **rules: object) -> Outcome:
    given = Rules(**rules)  # pyright: ignore[reportArgumentType] (by name)
    return convert_case(store, "case-0001", fingerprint, given, 60, read)


def test_a_case_tells_what_was_measured_and_what_is_missing():
    store = "memory://reading/told.zarr"
    outcome = convert(store, reading)
    assert outcome == Outcome("case-0001", "converted", 59, 60, ("1 missing images inserted as zeros",))
    case = read_case(store, "case-0001")
    assert case.perfusion is not None
    assert (case.perfusion.dtype, case.perfusion.max(), case.perfusion[1, :, :, 4].max()) == (np.float32, 60, 0)
    found = case.attributes
    assert (found["intensity_min"], found["intensity_max"]) == (60, 60)  # real ones, of the images that are there
    assert (found["spacing_mm"], found["orientation"], found["data"]) == ([5, 2, 2], "SAR", "real")
    assert found["maps"]["tmax"]["stored_unit"] == "ms"
    assert convert(store, lambda: pytest.fail("read again")).status == "unchanged"
    assert convert(store, reading, "g").status == "converted"
    assert convert(store, reading, "g", repair="interpolate").status == "converted"
    repaired = read_case(store, "case-0001")
    assert repaired.inserted.sum() == 1
    assert repaired.perfusion is not None
    assert (repaired.perfusion == 60).all()


def test_too_many_missing_images_drop_the_patient_and_errors_refuse_it():
    store = "memory://reading/bad.zarr"
    outcome = convert(store, lambda: reading(slices=4), max_missing=0.2)
    assert (outcome.status, outcome.found, outcome.expected) == ("dropped", 59, 80)
    assert outcome.notes[0] == "21 of 80 perfusion images missing (26.2% > 20%)"
    assert outcome.notes[1].startswith("missing: 1 slices at an end, slice 1 at time 4; keep the patient with")

    def fails() -> Reading:
        raise CohortError("no map")

    assert convert(store, fails) == Outcome("case-0001", "refused", 60, 0, ("no map",))
    assert not has_case(store, "case-0001")
    assert convert(store, reading).status == "converted"
    assert list_cases(store) == ["case-0001"]


def test_the_papers_limit_is_72_of_1440_images():
    missing = np.zeros((24, 60), bool)
    missing.flat[:72] = True
    check_missing(missing, 24, Rules())
    missing.flat[72] = True
    with pytest.raises(TooFewError) as raised:
        check_missing(missing, 24, Rules())
    assert (raised.value.found, raised.value.expected) == (1367, 1440)
    remedy = float(raised.value.notes[1].rpartition("=")[2])
    check_missing(missing, 24, Rules(max_missing=remedy))


def test_holes_are_named_whole_slices_and_times_first():
    missing = np.zeros((4, 5), bool)
    assert describe_holes(missing, 4) == ""
    missing[2] = missing[:, 3] = missing[0, 0] = True
    assert describe_holes(missing, 4) == "slice 2, time 3, slice 0 at time 0"
    missing[1, 1] = True
    assert describe_holes(missing, 6) == "2 slices at an end, slice 2, time 3 and 2 more"


def test_times_weigh_the_neighbours_of_a_missing_image():
    values = np.array([[[[10.0, 0.0, 40.0, 0.0]]]])
    interpolate_missing(values, np.array([[False, True, False, True]]), np.array([0.0, 1.0, 3.0, 4.0]))
    assert values.ravel().tolist() == [10, 20, 40, 40]
