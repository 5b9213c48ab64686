"""A trained run's folder is a network again: what it predicts is what the run itself predicted."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from tests.bolus_patients import CASE, patients
from tests.test_experiment import finished, store  # noqa: F401 (a fixture)
from tests.test_prediction import image, make
from tests.test_simulated import train
from tmax_jax.chain import find_artery, find_curves
from tmax_jax.cohort.store import read_case
from tmax_jax.parts import ExperimentError
from tmax_jax.perfusion.alignment import align
from tmax_jax.prediction import PredictionError
from tmax_jax.results.records import RecordError, read_json
from tmax_jax.trained import estimate_maps, load, load_estimator, predict_maps, read_config


def test_the_holdouts_map_is_predicted_again(finished):  # noqa: F811
    trained = load(finished)
    holdout = read_json(finished / "folds.json")["holdout"]
    found = predict_maps(trained, read_case(store(), holdout, maps=()))
    assert set(found) == {"tmax"}
    with np.load(finished / "final" / "holdout.npz") as arrays:
        np.testing.assert_allclose(found["tmax"], arrays["prediction_s"], atol=1e-5)
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
        predict_maps(load(finished), shorter)


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


@pytest.mark.parametrize("given", [{"artery": "1,2,3"}, {"smooth": True}])
def test_a_network_of_the_signal_refuses_what_would_not_reach_it(finished, tmp_path, given):  # noqa: F811
    with pytest.raises(PredictionError, match="two_layer reads the signal itself"):
        make(tmp_path / "maps", model=str(finished), kind="store", place=store(), case="case-0001", **given)


@pytest.fixture(scope="module")
def simulated_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "simulated"
    train(folder)
    return folder


def test_a_network_of_simulated_curves_makes_maps_with_their_uncertainty(simulated_run, tmp_path):
    summary = make(tmp_path / "maps", model=str(simulated_run), dicom_out=True)
    assert set(summary["maps"]) == {"cbf", "cbv", "mtt", "tmax", "tmax_uncertainty", "delay"}
    assert "core_ml" in summary["clinical"]
    assert {path.name for path in (tmp_path / "maps" / "dicom").iterdir()} == {
        f"{name}.dcm" for name in ("cbf", "cbv", "mtt", "tmax")
    }
    own = ";".join(",".join(map(str, place)) for place in summary["aif"]["voxels_zyx"][:1])
    make(tmp_path / "own", model=str(simulated_run), artery=own)
    assert not np.allclose(image(tmp_path / "own" / "mtt.nii.gz"), image(tmp_path / "maps" / "mtt.nii.gz"))


def test_estimates_do_not_depend_on_the_blocks_they_are_made_in(simulated_run, monkeypatch):
    curves = find_curves(read_case(patients() / "cohort.zarr", CASE, maps=()))
    artery = np.asarray(find_artery(curves).curve)
    monkeypatch.setattr("tmax_jax.trained._BLOCK", 1000)
    found = estimate_maps(load(simulated_run), curves.concentration, artery, curves.tissue, dt=curves.dt)
    at_once = load_estimator(simulated_run)(align(curves.concentration, jnp.asarray(artery), dt=curves.dt).channels())
    for name, wanted in (("tmax", at_once.classical_s), ("delay", at_once.delay_s), ("mtt", np.exp(at_once.log_mtt))):
        np.testing.assert_allclose(found[name], np.where(curves.tissue, wanted, 0.0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["cbv"], found["cbf"] * found["mtt"] / 60, rtol=1e-5)
