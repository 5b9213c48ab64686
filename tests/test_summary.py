"""From rows to means: what is undefined is left out and counted, what is not finite is shown."""

import csv
import io
import json
import math

import pytest

from tmax_jax.metrics import METRICS
from tmax_jax.results.records import CaseRow, RecordError, read_cases, write_cases
from tmax_jax.results.summary import Spread, results_csv, summarise, summary_json


def row(method: str, fold: int, case: int, **scores: float) -> CaseRow:
    return CaseRow(method, fold, f"case-{case:04d}", dict.fromkeys(METRICS, 1.0) | scores)


ROWS = [
    row("unet", 0, 1, mse_brain_s2=4, dice_6s=0.8, volume_predicted_6s_ml=12, volume_true_6s_ml=10),
    row("unet", 0, 2, mse_brain_s2=6, dice_6s=math.nan, volume_predicted_6s_ml=0, volume_true_6s_ml=0),
    row("unet", 1, 3, mse_brain_s2=8, dice_6s=0.4, volume_predicted_6s_ml=50, volume_true_6s_ml=54),
]


def test_means_over_folds_and_patients_by_hand():
    [summary] = summarise(ROWS)
    spread = summary.values["mse_brain_s2"]
    assert spread.mean_over_folds == 6.5
    assert spread.mean_over_patients == 6
    assert spread.sd_over_patients == 2
    assert spread.patients == 3


def test_a_patient_for_whom_a_metric_is_undefined_is_left_out_and_the_rest_counted():
    spread = summarise(ROWS)[0].values["dice_6s"]
    assert spread.mean_over_patients == pytest.approx(0.6)
    assert spread.mean_over_folds == pytest.approx(0.6)
    assert spread.patients == 2


def test_a_metric_that_no_patient_has_is_undefined():
    rows = [row("predict zero", fold, fold, dice_6s=math.nan) for fold in range(2)]
    spread = summarise(rows)[0].values["dice_6s"]
    assert math.isnan(spread.mean_over_folds)
    assert spread.patients == 0


def test_one_patients_error_that_is_not_finite_is_the_cohorts():
    spread = summarise([*ROWS, row("unet", 1, 4, mse_brain_s2=math.nan)])[0].values["mse_brain_s2"]
    assert math.isnan(spread.mean_over_patients)
    assert math.isnan(spread.mean_over_folds)


def test_the_volumes_of_the_cohort_have_limits_of_agreement():
    volumes = summarise(ROWS)[0].volumes
    assert volumes["bias_ml"] == pytest.approx(-2 / 3)
    sd = math.sqrt(((2 + 2 / 3) ** 2 + (2 / 3) ** 2 + (-4 + 2 / 3) ** 2) / 2)
    assert volumes["upper_ml"] == pytest.approx(-2 / 3 + 1.96 * sd)
    assert summary_json(summarise(ROWS), ROWS[:1], data="phantom")["volumes_6s"]["unet"]["patients"] == 3


def test_results_csv_has_every_metric_and_an_empty_field_where_there_is_none():
    rows = [row("predict zero", 0, 1, pearson_brain=math.nan)]
    [line] = csv.DictReader(io.StringIO(results_csv(summarise(rows))))
    assert {f"{metric}_{part}" for metric in METRICS for part in Spread._fields} <= set(line)
    assert line["pearson_brain_mean_over_folds"] == ""
    assert line["mse_all_s2_mean_over_folds"] == "1.0"


def test_the_summary_is_strict_json():
    rows = [row("predict zero", 0, 1, pearson_brain=math.nan, psnr_brain_db=math.inf)]
    text = json.dumps(summary_json(summarise(rows), rows, data="phantom"), allow_nan=False)
    assert json.loads(text)["holdout"]["methods"]["predict zero"]["pearson_brain"] is None


def test_rows_come_back_as_they_were_written(tmp_path):
    write_cases(tmp_path / "cases.csv", ROWS)
    again = read_cases(tmp_path / "cases.csv")
    for written, found in zip(ROWS, again, strict=True):
        assert (found.method, found.fold, found.case) == (written.method, written.fold, written.case)
        assert found.scores == pytest.approx(written.scores, nan_ok=True)


def test_rows_of_another_version_are_refused_with_the_columns(tmp_path):
    write_cases(tmp_path / "cases.csv", ROWS)
    text = (tmp_path / "cases.csv").read_text().replace("whiteout", "whiteness")
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(RecordError, match="missing columns: whiteout; unknown columns: whiteness"):
        read_cases(tmp_path / "cases.csv")
