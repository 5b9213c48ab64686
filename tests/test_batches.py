"""A cohort in memory: every patient once an epoch, padding never counted, bad cohorts refused whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tmax_jax.cohort.batches import (
    batched,
    case_order,
    draw_cases,
    frame_interval_s,
    read_cohort,
    take,
    trainable_cases,
    without_images,
)
from tmax_jax.cohort.store import Case, CohortError, read_case, write_case


def fill(store: Path, cases: int = 3, *, without_map: tuple[int, ...] = (), odd: tuple[int, ...] = ()) -> list[str]:
    """Writes small cases; those of `odd` have another matrix."""
    names = [f"case-{number:04d}" for number in range(1, cases + 1)]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        shape = (2, 4, 6) if number in odd else (2, 4, 4)
        maps = {} if number in without_map else {"tmax": rng.uniform(0, 9, shape).astype(np.float32)}
        attributes = {
            "data": "phantom",
            "intensity_min": 10.0 * number,
            "intensity_max": 900.0,
            "frame_times_s": [0.0, 1.5, 3.0],
            "spacing_mm": [5.0, 1.8, 1.8],
        }
        perfusion = rng.integers(0, 900, (*shape, 3)).astype(np.uint16)
        inserted = np.arange(6).reshape(2, 3) == number
        write_case(store, Case(name, perfusion, np.ones(shape, bool), inserted, maps, attributes))
    return names


def test_a_cohort_keeps_the_scanners_type_and_the_scales_beside_it(tmp_path):
    cohort = read_cohort(tmp_path, fill(tmp_path))
    assert cohort.perfusion[0].dtype == np.uint16
    assert cohort.intensity_min.tolist() == [0, 10, 20]
    assert cohort.frame_interval_s.tolist() == [1.5, 1.5, 1.5]
    assert cohort.data == "phantom"


def test_take_stacks_the_cases_asked_for_and_marks_padding(tmp_path):
    cohort = read_cohort(tmp_path, fill(tmp_path))
    batch = take(cohort, np.array([2, -1]))
    assert batch["valid"].tolist() == [True, False]
    np.testing.assert_array_equal(batch["perfusion"][0], cohort.perfusion[2])
    np.testing.assert_array_equal(batch["tmax_s"][0], cohort.tmax_s[2])
    assert batch["inserted"].shape == (2, 2, 3)
    np.testing.assert_array_equal(batch["inserted"][0], read_case(tmp_path, "case-0003").inserted)
    assert batch["inserted"].any()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_every_case_is_in_exactly_one_batch(batch_size):
    rows = batched(case_order(7, seed=3, fold=1, epoch=4), batch_size)
    assert rows.shape[1] == batch_size
    assert sorted(rows[rows >= 0].tolist()) == list(range(7))
    assert (rows[:-1] >= 0).all()  # only the last batch is padded


def test_the_order_is_another_in_every_epoch_and_fold_but_the_same_when_asked_again():
    orders = {tuple(case_order(20, seed=0, fold=fold, epoch=epoch)) for fold in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert tuple(case_order(20, seed=0, fold=2, epoch=2)) in orders


def test_cases_without_a_map_are_named_together(tmp_path):
    names = fill(tmp_path, 4, without_map=(1, 3))
    with pytest.raises(CohortError, match=r"2 of 4 cases have no Tmax map to learn from: case-0002, case-0004"):
        read_cohort(tmp_path, names)
    assert trainable_cases(tmp_path, names) == ["case-0001", "case-0003"]


def test_cases_of_different_shape_are_listed(tmp_path):
    names = fill(tmp_path, 3, odd=(2,))
    with pytest.raises(CohortError, match=r"case-0003: \(2, 4, 6, 3\)"):
        read_cohort(tmp_path, names)


def test_a_single_frame_has_an_interval_of_one_second():
    assert frame_interval_s([0.0]) == 1.0
    assert frame_interval_s([0.0, 2.0, 3.0, 4.0]) == 1.0


def test_images_taken_away_are_zeros_and_a_larger_share_holds_the_smaller(tmp_path):
    perfusion = np.ones((4, 2, 2, 25), np.uint16)
    inserted = (np.zeros((4, 25), bool),) * 2
    cohort = read_cohort(tmp_path, fill(tmp_path))
    cohort = dataclasses.replace(cohort, perfusion=(perfusion, perfusion), inserted=inserted)
    lost = {}
    for percent in (0.0, 2.0, 20.0):
        holed = without_images(cohort, percent, seed=3)
        lost[percent] = [np.argwhere((case == 0).all(axis=(1, 2))).tolist() for case in holed.perfusion]
        assert [len(places) for places in lost[percent]] == [percent, percent]  # of 100 images
        assert all(((case == 0).any(axis=(1, 2)) == (case == 0).all(axis=(1, 2))).all() for case in holed.perfusion)
    assert all(place in lost[20.0][0] for place in lost[2.0][0])
    assert lost[20.0][0] != lost[20.0][1]
    assert (cohort.perfusion[0] == 1).all()


def test_a_larger_draw_of_patients_holds_the_smaller_and_zero_is_all():
    cases = tuple(f"case-{number:04d}" for number in range(20))
    few, many = draw_cases(cases, 5, seed=1), draw_cases(cases, 10, seed=1)
    assert set(few) < set(many) < set(cases)
    assert draw_cases(cases, 0, seed=1) == cases
    with pytest.raises(CohortError, match="asks for 21 patients to train on and the cohort has 20 beside the holdout"):
        draw_cases(cases, 21, seed=1)
