"""Maps beside Tmax, from the scanner's series to scores: each keeps its unit, its channel and its patient."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from configs.multi_task import get_config
from tests.phantom_cohort import simulate
from tests.test_configs import batch_of
from tests.test_experiment import store as store_of_tmax
from tmax_jax import experiment, losses
from tmax_jax.cohort.convert import Rules
from tmax_jax.cohort.places import path_beside
from tmax_jax.cohort.scan import read_private
from tmax_jax.cohort.store import read_case
from tmax_jax.convert import convert_cohort
from tmax_jax.parts import ExperimentError, build
from tmax_jax.results.further import MapRow, read_map_rows, write_map_rows
from tmax_jax.results.run import finish
from tmax_jax.training.augment import Augmentation, augment
from tmax_jax.training.sharding import make_shardings
from tmax_jax.training.state import init_state
from tmax_jax.training.step import FurtherMap, Task, make_train_step

QUIET = Console(quiet=True)
MAPS = ("tmax", "cbf", "cbv", "mtt")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    dicom = simulate(Path(folder.name) / "phantom", 4, maps=MAPS, shuffle=True)
    convert_cohort(dicom, Path(folder.name) / "cohort.zarr", Rules(), 1, QUIET)
    return folder


def store() -> Path:
    return Path(_folder().name) / "cohort.zarr"


def small_config(**changes):
    config = get_config()
    config.data.store = str(store())
    config.folds, config.epochs, config.batch_size, config.model.features = 2, 1, 4, (4,)
    config.update_from_flattened_dict(changes)
    return config


def test_map_series_are_converted_with_their_units_and_equal_the_truth():
    truth = Path(_folder().name) / "phantom" / "truth.zarr"
    for case_id, patient in read_private(path_beside(store(), ".private.json")).items():
        found, true = read_case(store(), case_id, maps=MAPS), read_case(truth, patient, maps=MAPS)
        assert [found.attributes["maps"][name]["unit"] for name in MAPS] == ["s", "ml/100 g/min", "ml/100 g", "s"]
        for name, step in (("cbf", 0.01), ("cbv", 0.001), ("mtt", 0.001)):
            np.testing.assert_allclose(found.maps[name], true.maps[name], atol=0.51 * step)
        assert not any("CBF" in finding for finding in found.attributes["findings"])


def test_a_run_scores_every_map_and_tmax_as_ever(tmp_path):
    assert experiment.run(small_config(), tmp_path, console=QUIET)
    finish(tmp_path, QUIET)
    rows = [row for fold in range(2) for row in read_map_rows(tmp_path / f"fold-{fold}" / "maps.csv")]
    assert {row.map for row in rows} == set(MAPS) - {"tmax"}
    assert {row.method for row in rows} == {"multi_task", "predict training mean"}
    assert {row.unit for row in rows if row.map == "cbf"} == {"ml/100 g/min"}
    assert len({row.case for row in rows}) == 3  # a fourth is held out
    with np.load(tmp_path / "final" / "maps.npz") as arrays:
        error = (arrays["predicted_cbf"] - arrays["true_cbf"])[arrays["mask"]]
    [final] = [
        row for row in read_map_rows(tmp_path / "final" / "maps.csv") if (row.map, row.method) == ("cbf", "multi_task")
    ]
    assert final.mae == pytest.approx(np.abs(error).mean(), rel=1e-4)
    assert final.bias == pytest.approx(error.mean(), rel=1e-4)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"holdout.png", "holdout_cbf.png", "holdout_cbv.png", "holdout_mtt.png"} <= names
    assert (tmp_path / "results_maps.csv").exists()


def test_maps_that_the_store_lacks_are_named_with_those_that_it_has(tmp_path):
    config = small_config(**{"data.store": str(store_of_tmax())})
    with pytest.raises(ExperimentError, match=r"names cbf, cbv, mtt, and not all .*all have: tmax\. Convert"):
        experiment.run(config, tmp_path, part="0", console=QUIET)


def test_a_map_without_a_scale_is_refused():
    with pytest.raises(ExperimentError, match=r"config\.target\.further\.cbf is .*; it must have a scale above 0"):
        build(small_config(**{"target.further.cbf.scale": 0.0}))


def test_the_loss_is_the_weighted_sum_over_maps_of_scaled_values():
    config = small_config()
    built = build(config)
    further = (FurtherMap("cbf", scale=50.0, weight=0.5),)
    task = Task(normalise=True, target_scale_s=20.0, loss_over="brain", strip_prediction=True, further=further)
    model, shardings = built.model.clone(outputs=2, norm="none"), make_shardings(2, jax.devices()[:1])
    batch = {name: jnp.asarray(values) for name, values in batch_of(2, (2, 4, 4, 5)).items()}
    batch |= {"map_cbf": jnp.full((2, 2, 4, 4), 25.0), "inserted": jnp.zeros((2, 2, 5), bool)}
    optimizer = built.optimizer(1)
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), jnp.zeros((1, 2, 4, 4, 5)), train=False))
    state = init_state(model, optimizer, jax.random.key(0), (1, 2, 4, 4, 5))
    state = dataclasses.replace(state, params=params["params"])  # an untrained network of zeros predicts zeros
    step = make_train_step(model, optimizer, losses.squared_error, task, shardings)
    _, metrics = step(state, batch)
    expected = jnp.mean(batch["tmax_s"] ** 2) + 0.5 * (25 / 50 * 20) ** 2
    assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_augmentation_turns_every_map_with_the_images():
    batch = {name: jnp.asarray(values) for name, values in batch_of(1, (1, 4, 4, 3)).items()}
    batch |= {"map_cbf": batch["tmax_s"] + 1, "inserted": jnp.zeros((1, 1, 3), bool)}
    found = augment(jax.random.key(0), batch, Augmentation(flip_probability=1.0))
    np.testing.assert_array_equal(found["map_cbf"], batch["map_cbf"][..., ::-1])
    np.testing.assert_array_equal(found["tmax_s"] + 1, found["map_cbf"])


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [MapRow("net", 0, "case-0001", "cbf", "ml/100 g/min", 1.5, -0.5, 0.25)]
    write_map_rows(tmp_path / "maps.csv", rows)
    assert read_map_rows(tmp_path / "maps.csv") == rows
    assert read_map_rows(tmp_path / "none.csv") == []
