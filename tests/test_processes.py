"""Several real processes on this machine train as one; one that dies takes the others down, and the repeat goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.two_layer import get_config
from tests.test_experiment import store
from tmax_jax import experiment
from tmax_jax.results.records import read_cases
from tmax_jax.training.checkpoint import open_checkpoints, restore_epoch
from tmax_jax.training.processes import REQUEUE, ProcessError, join
from tmax_jax.training.sharding import make_shardings
from tmax_jax.training.state import init_state

ROOT = Path(__file__).parents[1]
EPOCHS = 12


def start(workdir: Path, count: int, devices: int, *flags: str) -> list[subprocess.Popen[str]]:
    """Starts a job of so many processes of so many simulated devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "tmax_jax.main", "--config=configs/two_layer.py", "--fold=0"]
    command += [f"--workdir={workdir}", f"--config.data.store={store()}", "--config.folds=2", "--config.batch_size=2"]
    # Adam divides the gradient of a bias before a normalisation, which is rounding alone, by its own size.
    command += [f"--config.epochs={EPOCHS}", "--config.optimizer.eps=1e-3", *flags]
    join_flags = [f"--coordinator={address}", f"--processes={count}"] if count > 1 else []
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    return [
        subprocess.Popen(
            command + (join_flags and [*join_flags, f"--process={number}"]),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Waits for a job that must succeed."""
    texts = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(texts)
    return texts


def result(workdir: Path, devices: int = 1) -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
    """The state after the last epoch, read back onto so many devices, and the patients' scores."""
    parts = experiment.build(get_config())
    template = jax.eval_shape(
        lambda key: init_state(parts.model, parts.optimizer(1), key, (1, 8, 16, 16, 40)), jax.random.key(0)
    )
    replicated = make_shardings(devices, jax.devices()[:devices]).replicated
    with open_checkpoints(workdir / "fold-0" / "checkpoints", score="mse_brain_s2") as checkpoints:
        state = restore_epoch(checkpoints, EPOCHS, template, replicated)
    leaves = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    return leaves, [dict(row.scores) for row in read_cases(workdir / "fold-0" / "cases.csv")]


def assert_alike(found: Path, expected: Path) -> None:
    """To rounding: sums over devices have another order."""
    (leaves, scores), (expected_leaves, expected_scores) = result(found), result(expected)
    for name, leaf in expected_leaves.items():
        of_the_largest = 1e-4 * float(
            np.max(np.abs(leaf))
        )  # a moment near 0 is what larger gradients left of each other
        np.testing.assert_allclose(leaves[name], leaf, rtol=1e-3, atol=1e-5 + of_the_largest, err_msg=name)
    for row, expected_row in zip(scores, expected_scores, strict=True):
        for name, value in expected_row.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def epochs_done(workdir: Path) -> int:
    path = workdir / "fold-0" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all run folders lie, beside the compilation cache that they share."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(runs: Path) -> Path:
    finish(start(runs / "alone", 1, 1))
    return runs / "alone"


@pytest.fixture(scope="module")
def together(runs: Path) -> Path:
    first, second = finish(start(runs / "together", 2, 2))
    assert "data=2,space=2" in first  # a patient a process, its rows over both of its devices
    assert all(line.startswith("[Gloo]") for line in second.splitlines())  # one process writes and speaks
    return runs / "together"


def test_two_processes_of_two_devices_give_what_one_process_gives(together, alone):
    assert_alike(together, alone)
    records = (together / "fold-0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == list(range(1, EPOCHS + 1))


def test_what_two_processes_saved_comes_back_bit_for_bit_on_one_device_and_on_four(together):
    (one, _), (four, _) = result(together, 1), result(together, 4)
    for name, leaf in one.items():
        np.testing.assert_array_equal(four[name], leaf, err_msg=name)


def test_a_process_that_dies_takes_the_job_down_and_the_repeat_on_other_devices_ends_alike(runs, alone):
    first, second = start(runs / "killed", 2, 2)
    while epochs_done(runs / "killed") < 2 and first.poll() is None:
        time.sleep(0.01)
    second.kill()
    killed_at = time.monotonic()
    text = first.communicate(timeout=60)[0]
    second.communicate()
    assert first.returncode != 0
    assert time.monotonic() - killed_at < 60
    assert "the same command goes on" in text, text
    assert 2 <= epochs_done(runs / "killed") < EPOCHS
    finish(start(runs / "killed", 1, 4))
    assert_alike(runs / "killed", alone)


def test_a_job_that_is_told_to_stop_ends_at_once_with_the_status_that_asks_to_be_repeated(runs, alone):
    (process,) = start(runs / "stopped", 1, 1, "--config.epochs=4000")
    while epochs_done(runs / "stopped") < 1 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    text = process.communicate(timeout=10)[0]
    assert process.returncode == REQUEUE
    assert "the same command goes on" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("", 2, 0), "need --coordinator"), (("127.0.0.1:1", 2, 2), "--process=2 must be from 0 to --processes=2 - 1")],
)
def test_half_an_address_is_refused(arguments, message):
    with pytest.raises(ProcessError, match=message):
        join(*arguments)
