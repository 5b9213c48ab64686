"""Folds by patient that cannot lie."""

import json

import pytest

from tmax_jax.cohort.folds import FoldError, make_folds, read_folds, write_folds

PATIENTS = [f"case-{i:04}" for i in range(45)]


def test_sizes_are_the_papers():
    folds = make_folds(PATIENTS, folds=6, seed=0)
    assert [len(part) for part in folds.validation] == [8, 8, 7, 7, 7, 7]


def test_every_patient_is_validated_once_and_the_holdout_never():
    folds = make_folds(PATIENTS, folds=6, seed=3, holdout="case-0007")
    validated = [case for part in folds.validation for case in part]
    assert sorted([*validated, "case-0007"]) == PATIENTS
    for fold in range(6):
        training, validation = folds.split(fold)
        assert not set(training) & set(validation)
        assert "case-0007" not in training
        assert len(training) + len(validation) == 44


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_the_ids():
    assert make_folds(PATIENTS[::-1], folds=6, seed=1) == make_folds(PATIENTS, folds=6, seed=1)
    assert make_folds(PATIENTS, folds=6, seed=2) != make_folds(PATIENTS, folds=6, seed=1)


def test_folds_come_back_as_written(tmp_path):
    folds = make_folds(PATIENTS, folds=6, seed=0)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json", PATIENTS) == folds


def test_an_edited_file_is_refused(tmp_path):
    path = tmp_path / "folds.json"
    write_folds(path, make_folds(PATIENTS, folds=6, seed=0))
    record = json.loads(path.read_text())
    record["validation"][0][0], record["validation"][1][0] = (
        record["validation"][1][0],
        record["validation"][0][0],
    )
    path.write_text(json.dumps(record))
    with pytest.raises(FoldError, match="was changed after it was written"):
        read_folds(path, PATIENTS)
    path.write_text("{")
    with pytest.raises(FoldError, match="not a folds file"):
        read_folds(path, PATIENTS)


def test_another_cohort_is_refused_with_the_difference(tmp_path):
    write_folds(tmp_path / "folds.json", make_folds(PATIENTS, folds=6, seed=0))
    with pytest.raises(FoldError, match=r"1 cases are gone \(case-0000\) and 1 are new \(case-0099\)"):
        read_folds(tmp_path / "folds.json", [*PATIENTS[1:], "case-0099"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"case_ids": PATIENTS[:6], "folds": 6}, "need at least 7 patients"),
        ({"case_ids": PATIENTS, "folds": 1}, "2 folds"),
        ({"case_ids": PATIENTS, "folds": 6, "holdout": "case-9999"}, "'case-9999' is not in the cohort"),
        ({"case_ids": [*PATIENTS, "case-0003"], "folds": 6}, "case-0003 more than once"),
    ],
)
def test_impossible_folds_are_refused(arguments, message):
    with pytest.raises(FoldError, match=message):
        make_folds(seed=0, **arguments)
