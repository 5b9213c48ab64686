"""The command: a run killed at any moment ends with the bits of one that never was; its flags and errors."""

import json
import random
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.two_layer import get_config
from tests.test_experiment import store
from tmax_jax import experiment
from tmax_jax.training.checkpoint import open_checkpoints, restore_epoch
from tmax_jax.training.state import init_state

ROOT = Path(__file__).parents[1]
SIZE = (1, 8, 16, 16, 40)
KILLS = 10
EPOCHS = 40


def command(workdir: Path) -> list[str]:
    flags = [f"--workdir={workdir}", f"--config.data.store={store()}", "--config.folds=2", f"--config.epochs={EPOCHS}"]
    return [sys.executable, "-m", "tmax_jax.main", "--config=configs/two_layer.py", *flags]


def final_bits(workdir: Path) -> dict[str, object]:
    """All that a run computed: states, rows, records without their clock, prediction."""
    parts = experiment.build(get_config())
    template = jax.eval_shape(lambda key: init_state(parts.model, parts.optimizer(1), key, SIZE), jax.random.key(0))
    bits: dict[str, object] = {}
    for part in ("fold-0", "fold-1", "final"):
        with open_checkpoints(workdir / part / "checkpoints", score="train_loss") as checkpoints:
            state = restore_epoch(checkpoints, EPOCHS, template, parts.shardings.replicated)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            bits[f"{part}{jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
        bits[f"{part} rows"] = (workdir / part / "cases.csv").read_text()
        records = [json.loads(line) for line in (workdir / part / "metrics.jsonl").read_text().splitlines()]
        bits[f"{part} records"] = [{k: v for k, v in record.items() if k != "time"} for record in records]
    with np.load(workdir / "final" / "holdout.npz") as arrays:
        bits["prediction"] = arrays["prediction_s"].tobytes()
    return bits


def test_killed_ten_times_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    whole = subprocess.run(command(tmp_path / "whole"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "two_layer" in whole.stdout
    moments = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(tmp_path / "killed"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=moments.uniform(3.0, 7.0))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.wait()
    assert killed > KILLS // 2  # else the moments were too late to test anything
    subprocess.run(command(tmp_path / "killed"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert final_bits(tmp_path / "killed") == final_bits(tmp_path / "whole")


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tmax_jax.main", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("name", "total"), [("one_layer", "61"), ("two_layer", "1,033"), ("unet", "13,123,329")])
def test_describe_prints_the_papers_parameter_counts_and_stops(name, total, tmp_path):
    done = run(f"--config=configs/{name}.py", "--describe", f"--workdir={tmp_path / 'none'}")
    assert done.returncode == 0, done.stderr
    assert total in done.stdout
    assert "FLOPs" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "say which experiment: --config=configs/two_layer.py"),
        (["--config=configs/unet.py", "--describe", "--size=24,100,128,60"], "halves its input"),
        (["--config=configs/unet.py:papre"], "choose one of: sigmoid, paper"),
        (["--config=configs/two_layer.py", "--config.data.store=none.zarr"], "there is no cohort at none.zarr"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(flags, message, tmp_path):
    done = run(*flags, f"--workdir={tmp_path / 'run'}") if flags else run()
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
