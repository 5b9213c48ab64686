"""Fits trained together: each has the records that it would have alone, and is stopped and resumed like it."""

import functools
import itertools
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from rich.console import Console

from configs.one_layer import get_config as one_layer
from configs.two_layer import get_config as two_layer
from configs.unet import get_config as unet
from tmax_jax import experiment, group, losses, models
from tmax_jax.cohort.batches import read_cohort, take
from tmax_jax.cohort.folds import read_folds
from tmax_jax.cohort.sigma_points import condense
from tmax_jax.cohort.store import Case, list_cases, write_case
from tmax_jax.group import Fit, make_groups, run_group
from tmax_jax.results.records import read_cases, read_records
from tmax_jax.training.checkpoint import open_checkpoints, save_epoch
from tmax_jax.training.group import affine_map, make_group_epoch, make_group_init, make_group_predict
from tmax_jax.training.sharding import make_shardings
from tmax_jax.training.step import Task

PARTS = ("0", "1", "final")
ALONE = (("one", "0"), ("two", "1"), ("two", "final"), ("slow", "1"))  # run and part
QUIET = Console(quiet=True)
SIZE = (2, 8, 8, 12)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Six patients whose signal falls the later the longer their Tmax."""
    folder = tempfile.TemporaryDirectory()
    for number in range(6):
        rng = np.random.default_rng(number)
        tmax_s = rng.gamma(3, 1, SIZE[:3]).astype(np.float32)
        depth = rng.uniform(0.3, 0.6, (*SIZE[:3], 1))
        arrival = np.exp(-((np.arange(SIZE[3]) - 4 - tmax_s[..., None] / 2) ** 2) / 3)
        signal = 1000 * (1 - depth * arrival) + rng.normal(0, 20, SIZE)
        mask = rng.random(SIZE[:3]) < 0.5 + 0.05 * number
        attributes = {
            "data": "phantom",
            "intensity_min": float(np.floor(signal.min())),
            "intensity_max": float(np.ceil(signal.max())),
            "frame_times_s": [1.5 * frame for frame in range(SIZE[3])],
            "spacing_mm": [5.0, 1.8, 1.8],
        }
        case = Case(
            f"case-{number}", signal.astype(np.uint16), mask, np.zeros((2, 12), bool), {"tmax": tmax_s}, attributes
        )
        write_case(store(folder.name), case)
    return folder


def store(folder: str = "") -> Path:
    return Path(folder or _folder().name) / "cohort.zarr"


def small(get_config, **changes):
    config = get_config()
    config.data.store = str(store())
    config.folds, config.epochs, config.batch_size = 2, 3, 2
    config.update_from_flattened_dict(changes)
    return config


def runs():
    """Returns runs of both networks by name; two rates of one of them."""
    return {
        "one": small(one_layer),
        "two": small(two_layer),
        "slow": small(two_layer, **{"optimizer.learning_rate": 1e-3, "ema_decay": 0.0}),
    }


def fits_of(folder: Path, configs) -> list[Fit]:
    fits = []
    for name, config in configs.items():
        parts = experiment.build(config)
        experiment.claim_workdir(config, folder / name)
        experiment.draw_folds(config, folder / name / "folds.json", list_cases(store()))
        fits += [Fit(config, parts, part, folder / name) for part in PARTS]
    return fits


def train_together(folder: Path, configs):
    """Trains all groups of these runs, as a sweep does, and returns what failed."""
    fits = fits_of(folder, configs)
    cohort = read_cohort(store(), list_cases(store()))
    failures = {}
    for places in make_groups(fits):
        group = [fits[place] for place in places]
        folds = read_folds(group[0].workdir / "folds.json", cohort.case_ids)
        failures |= {places[at]: reason for at, reason in run_group(group, cohort, folds, QUIET).items()}
    return {(fits[place].workdir.name, fits[place].part): reason for place, reason in failures.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    for name, part in ALONE:
        experiment.run(runs()[name], folder / name, part=part, console=QUIET)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    assert train_together(folder, runs()) == {}
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "checkpoints" not in str(path)}


@pytest.mark.parametrize(("name", "part"), ALONE)
def test_records_are_those_of_runs_made_one_by_one(alone, together, name, part):
    alone, together = (folder / name / (part if part == "final" else f"fold-{part}") for folder in (alone, together))
    assert files(together) == files(alone)
    wanted, found = (read_records(folder / "metrics.jsonl") for folder in (alone, together))
    assert [record.keys() for record in found] == [record.keys() for record in wanted]
    for one, other in zip(found, wanted, strict=True):
        for metric in one.keys() - {"time"}:
            np.testing.assert_allclose(one[metric], other[metric], rtol=1e-4, atol=1e-4, err_msg=metric)
    rows, others = (read_cases(folder / "cases.csv") for folder in (together, alone))
    assert [row[:3] for row in rows] == [row[:3] for row in others]
    for one, other in zip(rows, others, strict=True):
        for metric, value in one.scores.items():
            np.testing.assert_allclose(value, other.scores[metric], rtol=1e-4, atol=1e-4, err_msg=metric)


@pytest.mark.parametrize(("name", "part"), ALONE)
def test_checkpoints_are_those_of_runs_made_one_by_one(alone, together, name, part):
    states = []
    for folder in (alone, together):
        folder = folder / name / (part if part == "final" else f"fold-{part}") / "checkpoints"
        with open_checkpoints(folder, score="train_loss") as checkpoints:
            states.append(checkpoints.restore(3))
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *states)


def test_a_stopped_group_goes_on_and_a_part_that_ran_alone_is_taken_over(alone, together, tmp_path, monkeypatch):
    configs, saved = {"two": runs()["two"]}, itertools.count()
    monkeypatch.setattr(
        group, "save_epoch", lambda *arguments: sys.exit() if next(saved) == 4 else save_epoch(*arguments)
    )
    shutil.copytree(alone / "two" / "final", tmp_path / "two" / "final")
    (tmp_path / "two" / "final" / "cases.csv").unlink()  # stopped while it wrote its results
    with pytest.raises(SystemExit):
        train_together(tmp_path, configs)
    monkeypatch.undo()
    assert train_together(tmp_path, configs) == {}
    for part in ("fold-0", "fold-1", "final"):
        records, wanted = (read_records(folder / "two" / part / "metrics.jsonl") for folder in (tmp_path, together))
        assert [record["epoch"] for record in records] == [1, 2, 3]
        for one, other in zip(records, wanted, strict=True):
            np.testing.assert_allclose(one["train_loss"], other["train_loss"], rtol=1e-5)
        for one, other in zip(*(read_cases(f / "two" / part / "cases.csv") for f in (tmp_path, together)), strict=True):
            np.testing.assert_allclose(one.scores["mse_brain_s2"], other.scores["mse_brain_s2"], rtol=1e-4)


def test_a_fit_whose_loss_is_not_finite_says_where_and_stops_no_other(tmp_path):
    configs = {"fast": small(one_layer, **{"optimizer.learning_rate": 1e30}), "one": runs()["one"]}
    failures = train_together(tmp_path, configs)
    assert set(failures) == {("fast", part) for part in PARTS}
    assert "in epoch 2, step 1 (cases case-" in failures["fast", "0"]
    assert (tmp_path / "one" / "final" / "cases.csv").exists()
    assert not (tmp_path / "fast" / "final" / "cases.csv").exists()


def test_only_fits_of_one_program_are_grouped(tmp_path):
    configs = runs() | {
        "seed": small(two_layer, seed=5, name="other"),
        "epochs": small(two_layer, epochs=2),
        "patient": small(two_layer, patience_epochs=2),
        "robust": small(two_layer, **{"loss.name": "absolute_error"}),
        "varied": small(two_layer, **{"augment.flip_probability": 0.5}),
        "cosine": small(two_layer, **{"optimizer.schedule": "cosine"}),
        "unet": small(unet),
    }
    fits = [Fit(config, experiment.build(config), "0", tmp_path / name) for name, config in configs.items()]
    groups = {frozenset(fits[place].workdir.name for place in places) for places in make_groups(fits)}
    assert groups == {frozenset({"one"}), frozenset({"two", "slow", "seed"}), frozenset({"epochs"})}


def test_eight_devices_train_and_score_five_fits_as_one_device_does():
    """Raw updates of plain descent, so that no normalisation hides a wrong factor."""
    model, task = models.build("two_layer", features=3), Task(True, 20.0, "all", False)
    patients = condense(read_cohort(store(), list_cases(store())), normalise=True, over="all")
    arrays = take(patients, np.arange(6))
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(6).reshape(3, 2) for _ in range(8)])
    rows[1, 2:], rows[2, 1, 1] = -1, -1  # a shorter epoch, a smaller last batch
    keys = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(0), 8)))
    rates, found = np.linspace(1e-5, 5e-5, 8, dtype=np.float32), []
    batch = take(read_cohort(store(), list_cases(store())), np.array([2]))
    for devices in (1, 8):
        shardings = make_shardings(8, jax.devices()[:devices])
        init = make_group_init(model, optax.sgd, (1, 1, 1, 24, SIZE[-1]), ema=True, shardings=shardings)
        states = init(jax.device_put(keys, shardings.per_case))
        before = jax.device_get(states)
        train = make_group_epoch(model, optax.sgd, losses.squared_error, task, ema_decay=0.9, shardings=shardings)
        states, values = train(
            states,
            jax.device_put(rates, shardings.per_case),
            jax.device_put({name: arrays[name] for name in ("perfusion", "mask", "tmax_s")}, shardings.replicated),
            jax.device_put(rows, shardings.per_case),
        )
        predict = make_group_predict(model, task, shardings)
        fits = jax.device_put(np.arange(8)[::-1].copy(), shardings.per_case)
        prediction = predict(states, fits, jax.device_put(batch, shardings.replicated))
        assert states.step.sharding.device_set == set(jax.devices()[:devices])
        found.append(jax.device_get((states, values, prediction)))
    assert found[0][0].step.tolist() == [3, 2, 3, 3, 3, 3, 3, 3]
    assert not np.array_equal(before.params["head"]["kernel"], found[1][0].params["head"]["kernel"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), *found)


def test_a_linear_network_folds_into_one_weight_a_frame():
    model = models.build("two_layer", features=3)
    curves = np.random.default_rng(0).uniform(size=(1, 2, 3, 4, SIZE[-1])).astype(np.float32)
    variables = model.init(jax.random.key(0), curves, train=False)
    stats = jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])
    variables = {"params": variables["params"], "batch_stats": stats}
    weights, offset = affine_map(model, variables, SIZE[-1])
    wanted = np.asarray(model.apply(variables, curves, train=False))
    np.testing.assert_allclose(curves @ np.asarray(weights) + offset, wanted, rtol=1e-5, atol=1e-6)
