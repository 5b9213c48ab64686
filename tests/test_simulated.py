"""Training on simulated curves: as drawn, learnable, resumable, restorable."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from rich.console import Console

from configs.hybrid_finetuned import get_config as get_finetuned
from configs.simulated import get_config
from tests.test_experiment import store
from tmax_jax import experiment, simulated
from tmax_jax.models.voxelwise import Estimate
from tmax_jax.parts import ExperimentError
from tmax_jax.perfusion.alignment import CHANNELS
from tmax_jax.perfusion.curves import Ranges
from tmax_jax.results.records import RecordError, read_cases
from tmax_jax.trained import load_estimator
from tmax_jax.training.checkpoint import restore_saved

QUIET = Console(quiet=True)


def small_config(epochs: int = 2) -> Any:
    config = get_config()
    config.model.features = (16,)
    config.epochs = epochs
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_epochs = 0
    config.simulation.update({"steps_an_epoch": 3, "scans": 2, "curves": 16, "frames": (40,)})
    return config


def train(workdir: Path, epochs: int = 2) -> None:
    config = small_config(epochs)
    experiment.claim_workdir(config, workdir)
    simulated.run(config, workdir, console=QUIET)


@pytest.fixture(scope="module", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the compiled step, most of a small run's time, for the runs that repeat it."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("cache")))
    yield
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "simulated"
    train(folder)
    return folder


def test_curves_lie_in_the_ranges_asked_for_and_steps_draw_others():
    draw = jax.jit(
        functools.partial(simulated.draw_curves, ranges=Ranges(delay_s=(-3.0, 5.0)), scans=4, curves=50, frames=40)
    )
    first, second = (draw(jax.random.key(seed)) for seed in (0, 1))
    assert first.channels.shape == (200, CHANNELS)
    delay_s = np.asarray(first.truth[:, 0])
    assert -3.0 <= delay_s.min() < -2.0
    assert 4.0 < delay_s.max() <= 5.0
    assert not np.allclose(first.truth, second.truth)
    assert (first.truth[:, 1] > first.truth[:, 0] - 1.5).mean() > 0.95  # classical Tmax reads late, not early


def test_the_likelihood_is_best_at_the_truth_and_at_the_mean_absolute_error():
    errors = np.array([1.0, -3.0, 2.0, 0.5], np.float32)
    truth = jnp.zeros((4, 4))

    def mean(shift: float, scale: float) -> float:
        shifted = jnp.asarray(errors + shift)
        estimate = Estimate(shifted, shifted, shifted, shifted, jnp.full((4, 4), scale))
        return float(simulated.negative_log_likelihood(estimate, truth).mean())

    scale = float(np.abs(errors).mean())
    assert mean(0.0, scale) < min(mean(0.0, 0.7 * scale), mean(0.0, 1.5 * scale), mean(3.0, scale))


def test_a_run_records_its_epochs_and_can_be_read_back(workdir):
    records = [json.loads(line) for line in (workdir / "final" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert {"train_loss", "delay_mae_s", "classical_mae_s", "delay_coverage_90"} <= set(records[0])
    estimate = load_estimator(workdir)(jnp.zeros((2, 3, CHANNELS)))
    assert estimate.delay_s.shape == (2, 3)
    assert bool((estimate.scales > 0).all())


def test_an_interrupted_run_ends_with_the_same_bits(workdir, tmp_path):
    train(tmp_path / "run", epochs=1)
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 2}))  # as if it had been killed after one
    train(tmp_path / "run", epochs=2)
    x = jnp.ones((5, CHANNELS))
    found, whole = (load_estimator(folder)(x) for folder in (tmp_path / "run", workdir))
    jax.tree.map(np.testing.assert_array_equal, found, whole)


def test_its_network_is_trained_further_on_patients_and_starts_from_what_it_knew(workdir, tmp_path):
    config = get_finetuned()
    config.model.features = (16,)
    config.data.store, config.start_from = str(store()), str(workdir)
    config.folds, config.epochs, config.optimizer.learning_rate = 2, 1, 1e-9  # so small that nothing is forgotten
    assert not experiment.run(config, tmp_path / "finetuned", part="0", console=QUIET)
    where = SingleDeviceSharding(jax.devices()[0])
    before, after = (
        restore_saved(folder / "checkpoints", where).params
        for folder in (workdir / "final", tmp_path / "finetuned" / "fold-0")
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-7), after, before)
    scores = read_cases(tmp_path / "finetuned" / "fold-0" / "cases.csv")
    assert {row.method for row in scores} >= {"hybrid_finetuned", "oSVD"}


def test_a_network_that_gives_a_map_alone_is_refused(tmp_path):
    config = small_config()
    config.model = {"name": "one_layer"}
    with pytest.raises(ExperimentError, match="'one_layer', which gives a map alone"):
        simulated.run(config, tmp_path, console=QUIET)


def test_unknown_ranges_and_too_few_scans_are_named():
    config = small_config()
    config.simulation.ranges = {"tr_s": (1.0, 2.0)}
    with pytest.raises(ExperimentError, match="has no 'tr_s'; it has: dt_s, echo_time_s"):
        simulated.draw_function(config)
    config = small_config()
    config.simulation.frames = (40, 60, 80)
    with pytest.raises(ExperimentError, match="must be at least 3"):
        simulated.draw_function(config)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RecordError, match=str(tmp_path)):
        load_estimator(tmp_path)
