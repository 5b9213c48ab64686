"""The main job on a small simulated cohort: what it leaves, how it goes on, and what it refuses."""

import functools
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from configs.two_layer import get_config
from tests.phantom_cohort import cohort_folder
from tmax_jax import experiment, fold
from tmax_jax.cohort.folds import FoldError
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import CohortError, list_cases
from tmax_jax.convert import convert_cohort
from tmax_jax.experiment import ExperimentError
from tmax_jax.results.records import read_cases, read_json, read_records, read_run
from tmax_jax.results.run import finish

QUIET = Console(quiet=True)


@functools.cache
def _store_folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    convert_cohort(cohort_folder() / "dicom", Path(folder.name) / "cohort.zarr", Rules(), 1, QUIET)
    (Path(folder.name) / "truth.zarr").symlink_to(cohort_folder() / "truth.zarr")
    return folder


def store() -> Path:
    """Returns the store of the session's six simulated patients."""
    return Path(_store_folder().name) / "cohort.zarr"


def small_config(**changes):
    config = get_config()
    config.data.store = str(store())
    config.folds, config.epochs, config.batch_size = 2, 3, 2
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "two_layer"
    assert experiment.run(small_config(), workdir, console=QUIET)
    finish(workdir, QUIET)
    return workdir


def test_every_patient_is_scored_once_by_a_model_that_did_not_train_on_them(finished):
    folds = read_json(finished / "folds.json")
    run = read_run(finished)
    methods = {row.method for row in run.cases}
    trivial = {"predict zero", "predict training mean", "time to peak"}
    assert methods == {"two_layer", *trivial, "sSVD", "cSVD", "oSVD", "Tikhonov"}
    scored = [row.case for row in run.cases if row.method == "two_layer"]
    assert sorted([*scored, folds["holdout"]]) == list_cases(store())
    for row in run.cases:
        assert row.case in folds["validation"][row.fold]
    assert {row.case for row in run.holdout} == {folds["holdout"]}


def test_the_run_folder_holds_what_was_promised(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if "checkpoints" not in str(path)}
    wanted = {"config.json", "environment.json", "folds.json", "results.csv", "results_true_delay.csv", "summary.json"}
    wanted |= {f"figures/{name}.png" for name in ("holdout", "learning_curves", "agreement")}
    each = ("cases.csv", "cases_true_delay.csv", "metrics.jsonl")
    wanted |= {f"{part}/{name}" for part in ("fold-0", "fold-1", "final") for name in each}
    assert wanted | {"final/holdout.npz"} <= names
    assert read_json(finished / "summary.json")["data"] == "phantom"
    assert [record["epoch"] for record in read_records(finished / "fold-0" / "metrics.jsonl")] == [1, 2, 3]


def test_the_holdouts_prediction_is_the_one_that_was_scored(finished):
    with np.load(finished / "final" / "holdout.npz") as arrays:
        error = (arrays["prediction_s"] - arrays["tmax_s"])[arrays["mask"]]
    row = next(row for row in read_run(finished).holdout if row.method == "two_layer")
    np.testing.assert_allclose(np.mean(error**2), row.scores["mse_brain_s2"], rtol=1e-5)


def test_a_finished_run_trains_nothing_and_gives_the_same_results(finished, monkeypatch):
    before = (finished / "results.csv").read_bytes()
    monkeypatch.setattr(experiment, "run_part", lambda *_: pytest.fail("trained again"))
    assert experiment.run(small_config(), finished, console=QUIET)
    finish(finished, QUIET)
    assert (finished / "results.csv").read_bytes() == before


def test_folds_as_jobs_of_their_own_give_the_same_rows_as_one_run(finished, tmp_path):
    for part in ("1", "final", "0"):
        complete = experiment.run(small_config(), tmp_path, part=part, console=QUIET)
    assert complete
    for part in ("fold-0", "fold-1", "final"):
        assert (tmp_path / part / "cases.csv").read_bytes() == (finished / part / "cases.csv").read_bytes()


def test_early_stopping_keeps_each_folds_best_epoch_and_the_final_fit_trains_as_long_on_average(tmp_path):
    changes = {"epochs": 12, "patience_epochs": 2, "optimizer.learning_rate": 0.3}  # so fast that it soon gets worse
    config = small_config(**changes)
    with pytest.raises(ExperimentError, match="fold-0, fold-1 has not finished; run the folds first"):
        experiment.run(config, tmp_path, part="final", console=QUIET)
    assert experiment.run(config, tmp_path, console=QUIET)
    best = []
    for name in ("fold-0", "fold-1"):
        scores = [record["mse_brain_s2"] for record in read_records(tmp_path / name / "metrics.jsonl")]
        best.append(int(np.argmin(scores)) + 1)
        assert len(scores) == min(12, best[-1] + 2)
        rows = [row for row in read_cases(tmp_path / name / "cases.csv") if row.method == "two_layer"]
        np.testing.assert_allclose(np.mean([row.scores["mse_brain_s2"] for row in rows]), min(scores), rtol=1e-6)
    assert len(read_records(tmp_path / "final" / "metrics.jsonl")) == round(np.mean(best))
    assert min(best) < 10  # else nothing was stopped


@pytest.mark.parametrize("mesh", ["data=1,space=1", "data=2,space=4"])
def test_nothing_is_compiled_after_the_first_epoch_of_a_fit(mesh, tmp_path, monkeypatch):
    """One shape a step, the last batch included: three patients train, two a step.

    On several devices orbax cuts each replicated array into a slice a device when it saves for the first time, after
    the first epoch's record: those slices are the only thing that is compiled then.
    """
    compiled, after_epoch = [], []

    def count(event: str, duration_secs: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration_secs)

    def append(path: Path, record: dict[str, object]) -> None:
        after_epoch.append(len(compiled))

    jax.monitoring.register_event_duration_secs_listener(count)
    monkeypatch.setattr(fold, "append_record", append)
    try:
        experiment.run(small_config(epochs=4), tmp_path, part="0", mesh=mesh, console=QUIET)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert len(compiled) > 0
    assert len(after_epoch) == 4
    first, *later = after_epoch
    assert len(set(later)) == 1
    if mesh == "data=1,space=1":
        assert later[0] == first


def test_a_changed_config_is_refused_with_the_difference(finished):
    with pytest.raises(ExperimentError, match=r"config\.epochs: 3 before, 5 now") as error:
        experiment.run(small_config(epochs=5), finished, console=QUIET)
    assert "batch_size" not in str(error.value)


def test_a_run_from_before_an_entry_existed_goes_on_where_the_entry_has_its_default(tmp_path):
    experiment.claim_workdir(small_config(), tmp_path)
    recorded = read_json(tmp_path / "config.json")
    del recorded["augment"], recorded["patience_epochs"]
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    experiment.claim_workdir(small_config(), tmp_path)
    with pytest.raises(ExperimentError, match=r"config\.patience_epochs: 0 before, 3 now"):
        experiment.claim_workdir(small_config(patience_epochs=3), tmp_path)


def test_the_store_may_move_but_not_change_its_patients(finished, tmp_path):
    moved = tmp_path / "moved.zarr"
    moved.symlink_to(store())
    assert experiment.run(small_config(**{"data.store": str(moved)}), finished, console=QUIET)
    fewer = tmp_path / "fewer.zarr"
    fewer.mkdir()
    for path in [store() / "zarr.json", *sorted(store().glob("case-*"))[1:]]:
        (fewer / path.name).symlink_to(path)
    with pytest.raises(FoldError, match="case-0001"):
        experiment.run(small_config(**{"data.store": str(fewer)}), finished, console=QUIET)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data.store": "nowhere.zarr"}, CohortError, "there is no cohort at nowhere.zarr; make one with"),
        ({"loss.name": "huge"}, ExperimentError, "config.loss.name is 'huge'; choose one of: squared_error"),
        ({"loss.voxels": "head"}, ExperimentError, "choose 'brain' or 'all'"),
        ({"epochs": 0}, ExperimentError, "config.epochs is 0; it must be at least 1"),
        ({"folds": 9}, FoldError, "9"),
        ({"data.holdout": "case-0099"}, FoldError, "case-0099"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence_before_anything_is_computed(tmp_path, changes, error, message):
    with pytest.raises(error, match=message.replace(".", r"\.")):
        experiment.run(small_config(**changes), tmp_path, console=QUIET)


def test_a_fold_that_is_not_there_lists_those_that_are(tmp_path):
    with pytest.raises(ExperimentError, match="no fold '7'; choose one of: 0, 1, final"):
        experiment.run(small_config(), tmp_path, part="7", console=QUIET)


def test_out_of_memory_names_the_remedy():
    parts = experiment.build(small_config())
    error = fold._explained(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), parts)
    assert isinstance(error, ExperimentError)
    assert "lower --config.batch_size" in str(error)
    other = RuntimeError("something else")
    assert fold._explained(other, parts) is other


def test_a_sigmoid_that_cannot_reach_the_target_is_warned_of(tmp_path):
    from configs.unet import get_config as unet

    with tempfile.TemporaryFile("w+") as file:
        console = Console(file=file, width=200)
        cohort = experiment.read_cohort(store(), list_cases(store()))
        experiment._warn_of_unreachable_targets(experiment.build(unet("paper")), cohort, console)
        experiment._warn_of_unreachable_targets(experiment.build(unet("sigmoid")), cohort, console)
        file.seek(0)
        text = file.read()
    assert text.count("cannot be learnt") == 1
    assert "ends at 0.001 s" in text


def test_the_config_of_a_run_is_written_whole(finished):
    written = json.loads((finished / "config.json").read_text())
    assert written["optimizer"]["learning_rate"] == 1e-2
    assert written["model"] == {"name": "two_layer", "features": 12}
