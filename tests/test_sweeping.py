"""A sweep on a small simulated cohort: paired folds, what is done stays done, and who fails stops nobody."""

import json

import pytest
from rich.console import Console

from configs.one_layer import get_config
from tests.test_experiment import store
from tmax_jax import sweeping
from tmax_jax.experiment import part_folder
from tmax_jax.parts import ExperimentError
from tmax_jax.results.records import read_failures, read_json, read_run
from tmax_jax.results.summary import summarise_runs
from tmax_jax.sweeping import Cell, run_sweep

QUIET = Console(quiet=True)
PARTS = ("0", "1", "final")


def variants(**changed):
    """Two networks that can learn and one that cannot; `changed` are entries of the second."""
    configs = {}
    for name in ("slow", "fast", "hopeless"):
        configs[name] = get_config()
        configs[name].name = name
        configs[name].data.store = str(store())
        configs[name].folds, configs[name].epochs, configs[name].batch_size = 2, 1, 2
        configs[name].loss.name = "absolute_error"  # learnt one cell after the other; the squared error is not
    configs["fast"].optimizer.learning_rate = 0.1
    configs["hopeless"].optimizer.learning_rate = float("inf")
    configs["hopeless"].epochs = 2
    configs["fast"].update_from_flattened_dict(changed)
    return configs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rates"
    assert run_sweep(variants(), folder, question="Which rate?", console=QUIET)
    return folder


def test_all_variants_are_scored_on_the_same_folds_in_ordinary_run_folders(finished):
    folds = {read_json(path)["sha256"] for path in [finished / "folds.json", *finished.glob("*/folds.json")]}
    assert len(folds) == 1
    runs = [read_run(finished / name) for name in ("slow", "fast")]
    assert [(row.fold, row.case) for row in runs[0].cases] == [(row.fold, row.case) for row in runs[1].cases]
    comparison = summarise_runs([run.folder for run in runs])
    assert [row.method for row in comparison.summaries[:2]] == ["slow", "fast"]


def test_a_variant_that_cannot_learn_leaves_its_reason_and_stops_no_other(finished):
    reasons = read_failures(finished / "hopeless")
    assert list(reasons) == ["fold-0"]  # its other folds would say nothing
    assert "the loss is" in reasons["fold-0"]
    assert not (finished / "hopeless" / "final" / "cases.csv").exists()
    assert (finished / "fast" / "final" / "cases.csv").exists()


def test_a_finished_cell_is_never_run_twice(finished, monkeypatch):
    monkeypatch.setattr(sweeping, "run_part", lambda *_: pytest.fail("trained again"))
    assert run_sweep(variants(), finished, question="Which rate?", console=QUIET)


def test_what_a_network_costs_stands_beside_the_sweep(finished):
    plan = read_json(finished / "sweep.json")
    assert plan["variants"] == ["slow", "fast", "hopeless"]
    assert plan["costs"]["slow"]["parameters"] == 41  # 40 frames and a bias
    seconds = [read_json(part_folder(finished / "fast", part) / "cost.json")["seconds"] for part in PARTS]
    assert all(0 < value < 600 for value in seconds)


def test_a_network_that_sees_the_physics_is_counted_with_its_own_channels(tmp_path):
    configs = variants()
    configs["fast"].data.inputs = ("concentration", "masks")
    sweep = sweeping.open_sweep(configs, tmp_path / "inputs")
    sweeping._write_plan(sweep, "Which input?", {})
    costs = read_json(tmp_path / "inputs" / "sweep.json")["costs"]
    assert [costs[name]["parameters"] for name in ("slow", "fast")] == [41, 43]  # two masks


def test_shards_share_the_cells_and_give_the_same_scores(finished, tmp_path, monkeypatch):
    ran: list[Cell] = []
    run_cell = sweeping.run_cell
    monkeypatch.setattr(
        sweeping, "run_cell", lambda sweep, cell, console: (ran.append(cell), run_cell(sweep, cell, console))
    )
    configs = {name: config for name, config in variants().items() if name != "hopeless"}
    assert not run_sweep(configs, tmp_path, question="", shard=(1, 2), console=QUIET)  # folds of others are missing
    assert [cell.part for cell in ran] == ["1", "1"]
    assert not run_sweep(configs, tmp_path, question="", shard=(0, 2), console=QUIET)  # a final fit is another's
    assert run_sweep(configs, tmp_path, question="", shard=(1, 2), console=QUIET)
    assert len(ran) == len(set(ran)) == 6
    for name in configs:
        for part in PARTS:
            one, other = (part_folder(folder / name, part) / "cases.csv" for folder in (tmp_path, finished))
            assert one.read_bytes() == other.read_bytes()


def test_cells_that_can_be_are_trained_together_and_leave_the_same_files(finished, tmp_path, monkeypatch):
    configs = variants(**{"loss.name": "squared_error"})
    for name in ("slow", "hopeless"):
        configs[name].loss.name = "squared_error"
    monkeypatch.setattr(sweeping, "run_part", lambda *_: pytest.fail("trained alone"))
    assert run_sweep(configs, tmp_path, question="", console=QUIET)
    for name in ("slow", "fast"):
        read_run(tmp_path / name)
        for part in PARTS:
            one, other = (part_folder(folder / name, part) for folder in (tmp_path, finished))
            assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert "the loss is" in read_failures(tmp_path / "hopeless")["fold-0"]
    assert not (tmp_path / "hopeless" / "final" / "cases.csv").exists()


@pytest.mark.parametrize(("entry", "value"), [("seed", 1), ("folds", 3), ("data.holdout", "case-0001")])
def test_variants_that_could_not_be_paired_are_refused(tmp_path, entry, value):
    with pytest.raises(ExperimentError, match=f"the variants differ in config.{entry}") as error:
        run_sweep(variants(**{entry: value}), tmp_path, question="", console=QUIET)
    assert "slow, hopeless" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_variants_that_cannot_be_built_are_all_named_before_anything_is_computed(tmp_path):
    configs = variants()
    configs["slow"].loss.name, configs["fast"].model.name = "huge", "huger"
    with pytest.raises(ExperimentError, match=r"(?s)slow: config.loss.name is 'huge'.*fast: unknown model 'huger'"):
        run_sweep(configs, tmp_path, question="", console=QUIET)


def test_a_variant_with_folds_of_its_own_is_refused(finished, tmp_path):
    other = tmp_path / "fast"
    other.mkdir()
    folds = variants(seed=1)["fast"]
    sweeping.draw_folds(folds, other / "folds.json", list(sweeping.list_cases(store())))
    with pytest.raises(ExperimentError, match=r"fast has other folds than .*cannot be paired"):
        run_sweep(variants(), tmp_path, question="", console=QUIET)
    assert json.loads((tmp_path / "folds.json").read_text()) == json.loads((finished / "folds.json").read_text())


def test_time_left_counts_a_variant_by_itself_where_it_is_known():
    cells = [Cell("quick", "1"), Cell("long", "1"), Cell("new", "0")]
    assert sweeping._time_left_s(cells, {"quick": [1.0], "long": [100.0, 110.0]}) == pytest.approx(1 + 105 + 211 / 3)
