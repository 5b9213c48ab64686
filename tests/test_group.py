"""Fits trained together: each has the records that it would have alone, and is stopped and resumed like it."""

from pathlib import Path

import jax
import numpy as np
import pytest

from configs.one_layer import get_config as one_layer
from configs.two_layer import get_config as two_layer
from tests.test_experiment import QUIET, store
from tmax_jax import experiment
from tmax_jax.cohort.batches import read_cohort
from tmax_jax.cohort.folds import read_folds
from tmax_jax.cohort.store import list_cases
from tmax_jax.group import Fit, make_groups, run_group
from tmax_jax.results.records import read_cases, read_records, read_run
from tmax_jax.training.checkpoint import open_checkpoints

PARTS = ("0", "1", "final")


def small(get_config, variant="", **changes):
    config = get_config(variant)
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
        experiment._folds(config, folder / name / "folds.json", list_cases(store()))
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
    for name, config in runs().items():
        experiment.run(config, folder / name, console=QUIET)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    assert train_together(folder, runs()) == {}
    for name in runs():
        experiment.write_json(folder / name / "environment.json", {"data": "phantom"})
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "checkpoints" not in str(path)}


@pytest.mark.parametrize("name", runs())
def test_records_are_those_of_runs_made_one_by_one(alone, together, name):
    assert files(together / name) == files(alone / name)
    assert read_run(together / name).folds_sha256 == read_run(alone / name).folds_sha256
    for part in ("fold-0", "fold-1", "final"):
        wanted, found = (read_records(folder / name / part / "metrics.jsonl") for folder in (alone, together))
        assert [record.keys() for record in found] == [record.keys() for record in wanted]
        for one, other in zip(found, wanted, strict=True):
            for metric in one.keys() - {"time"}:
                np.testing.assert_allclose(one[metric], other[metric], rtol=2e-3, atol=2e-3, err_msg=metric)
        rows, others = (read_cases(folder / name / part / "cases.csv") for folder in (together, alone))
        assert [row[:3] for row in rows] == [row[:3] for row in others]
        for one, other in zip(rows, others, strict=True):
            for metric in ("mse_brain_s2", "mae_brain_s", "bias_brain_s"):
                np.testing.assert_allclose(one.scores[metric], other.scores[metric], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", runs())
def test_checkpoints_are_those_of_runs_made_one_by_one(alone, together, name):
    for part in ("fold-1", "final"):
        states = []
        for folder in (alone, together):
            with open_checkpoints(folder / name / part / "checkpoints", score="train_loss") as checkpoints:
                states.append(checkpoints.restore(3))
        assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-3), *states)
