"""A trained run's folder is a network again: what it predicts is what the run itself predicted."""

import dataclasses
import json

import numpy as np
import pytest

from tests.test_experiment import finished, store  # noqa: F401 (a fixture)
from tests.test_prediction import make
from tmax_jax.cohort.store import read_case
from tmax_jax.parts import ExperimentError
from tmax_jax.results.records import RecordError, read_json
from tmax_jax.trained import load, predict_tmax_s, read_config


def test_the_holdouts_map_is_predicted_again(finished):  # noqa: F811
    trained = load(finished)
    holdout = read_json(finished / "folds.json")["holdout"]
    found = predict_tmax_s(trained, read_case(store(), holdout, maps=()))
    with np.load(finished / "final" / "holdout.npz") as arrays:
        np.testing.assert_allclose(found, arrays["prediction_s"], atol=1e-5)
    assert (trained.name, trained.data) == ("two_layer", "phantom")


def test_the_config_comes_back_as_it_was_and_older_runs_get_defaults(finished, tmp_path):  # noqa: F811
    written = read_json(finished / "config.json")
    assert json.loads(read_config(finished).to_json()) == written
    del written["augment"], written["patience_epochs"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert read_config(tmp_path).patience_epochs == 0


def test_a_scan_of_another_number_of_frames_is_refused(finished):  # noqa: F811
    case = read_case(store(), "case-0001", maps=())
    assert case.perfusion is not None
    shorter = dataclasses.replace(case, perfusion=case.perfusion[..., :30], inserted=case.inserted[:, :30])
    with pytest.raises(ExperimentError, match=r"two_layer cannot take a scan of \(8, 16, 16, 30\)"):
        predict_tmax_s(load(finished), shorter)


def test_a_run_that_is_not_finished_is_refused(finished, tmp_path):  # noqa: F811
    (tmp_path / "config.json").write_text((finished / "config.json").read_text())
    with pytest.raises(RecordError, match="has no finished final fit"):
        load(tmp_path)


def test_a_network_makes_tmax_alone_and_says_what_it_was_trained_on(finished, tmp_path):  # noqa: F811
    case = "case-0001"
    summary = make(tmp_path / "maps", model=str(finished), kind="store", place=store(), case=case)
    assert set(summary["maps"]) == {"tmax"}
    assert summary["trained_on"] == "phantom"
    assert "core_ml" not in summary["clinical"]
    assert {path.name for path in (tmp_path / "maps").iterdir()} >= {"tmax.nii.gz", "maps.png", "summary.json"}
