"""Starting from another run: its parameters, nothing else, and no other network's."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from tmax_jax.models import build
from tmax_jax.training.checkpoint import CheckpointError, open_checkpoints, save_epoch, start_from
from tmax_jax.training.sharding import make_shardings
from tmax_jax.training.state import TrainState, init_state

SHARDING: Any = make_shardings(1).replicated


def new_state(seed: int, name: str = "two_layer", *, ema: bool = False) -> TrainState:
    return init_state(build(name), optax.adam(1e-3), jax.random.key(seed), (1, 2, 2, 2, 5), ema=ema)


def write(folder: Path, state: TrainState) -> Path:
    with open_checkpoints(folder, score="train_loss") as manager:
        save_epoch(manager, 3, state, {"train_loss": 1.0})
    return folder


@pytest.mark.parametrize("ema", [False, True])
def test_it_takes_the_parameters_and_starts_at_step_zero(tmp_path, ema):
    before = new_state(0)
    folder = write(tmp_path, dataclasses.replace(before, step=before.step + 7))
    found = start_from(folder, new_state(1, ema=ema), SHARDING)
    jax.tree.map(np.testing.assert_array_equal, found.params, before.params)
    jax.tree.map(np.testing.assert_array_equal, found.ema, before.params if ema else {})
    assert int(found.step) == 0
    np.testing.assert_array_equal(found.key, new_state(1).key)


def test_it_takes_the_averaged_parameters_where_the_other_run_kept_them(tmp_path):
    before = new_state(0, ema=True)
    averaged = jax.tree.map(lambda leaf: leaf + 1, before.params)
    found = start_from(write(tmp_path, dataclasses.replace(before, ema=averaged)), new_state(1), SHARDING)
    jax.tree.map(np.testing.assert_array_equal, found.params, averaged)


def test_another_network_is_refused_by_the_first_shape_that_differs(tmp_path):
    folder = write(tmp_path, new_state(0, "one_layer"))
    with pytest.raises(CheckpointError, match=r"is another one: head/kernel is .*Give this config that run's config"):
        start_from(folder, new_state(0, "pointwise"), SHARDING)


def test_a_run_that_was_not_trained_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no checkpoint; train that run first"):
        start_from(tmp_path / "missing", new_state(0), SHARDING)
