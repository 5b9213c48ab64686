"""The loop: interrupted or not, the same bits; a loss that is not finite stops with the facts."""

import functools
import itertools
from typing import Any

import jax
import numpy as np
import pytest

from tmax_jax import losses, models
from tmax_jax.training.augment import Augmentation
from tmax_jax.training.checkpoint import open_checkpoints
from tmax_jax.training.loop import TrainingError, best_epoch, fit, is_out_of_patience
from tmax_jax.training.optimizer import adam, learning_rate_schedule
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import init_state
from tmax_jax.training.step import Task, make_train_step

SIZE = (2, 4, 4, 10)
TASK = Task(normalise=True, target_scale_s=20.0, loss_over="brain", strip_prediction=True)
MODEL = models.build("pointwise", features=(4, 3), dropout=0.3)  # all that is drawn at random is on
VARIED = Augmentation(0.5, 20.0, 2, 20.0, 5.0, 20.0)
OPTIMIZER = adam(
    learning_rate=learning_rate_schedule(1e-2, schedule="cosine", warmup_steps=2, steps=9),
    b1=0.9,
    b2=0.999,
    eps=1e-7,
    weight_decay=1e-2,
    clip_norm=1.0,
)
SHARDINGS = make_shardings(2, jax.devices()[:2])
MAKE_STATE = jax.jit(
    lambda key: init_state(MODEL, OPTIMIZER, key, (1, *SIZE), ema=True), out_shardings=SHARDINGS.replicated
)
TRAIN_STEP: Any = make_train_step(  # compiled once for all tests
    MODEL, OPTIMIZER, losses.squared_error, TASK, SHARDINGS, augmentation=VARIED, ema_decay=0.9
)


def batch_of(seed: int, cases: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "perfusion": rng.integers(0, 4000, (cases, *SIZE)).astype(np.uint16),
        "mask": rng.random((cases, *SIZE[:3])) > 0.3,
        "tmax_s": rng.gamma(2, 2, (cases, *SIZE[:3])).astype(np.float32),
        "intensity_min": np.zeros(cases, np.float32),
        "intensity_max": np.full(cases, 4000, np.float32),
        "frame_interval_s": np.full(cases, 1.5, np.float32),
        "valid": np.ones(cases, bool),
    }


def run(folder, epochs, *, spoil=None, stop_after=None, scores=None, should_stop=lambda: False, kept=None):
    """Trains three steps an epoch; `stop_after` steps, a kill. `kept` takes the scores that were recorded."""
    steps = itertools.count()

    def batches(epoch):
        for step in range(3):
            batch = batch_of(10 * epoch + step)
            if spoil == (epoch, step):
                batch["tmax_s"][batch["mask"]] = np.nan
            yield [f"case-{epoch}{step}"], put_batch(batch, SHARDINGS)

    def on_step():
        if next(steps) == stop_after:
            raise KeyboardInterrupt

    def validate(state):
        step = int(jax.device_get(state.step))
        return {"score": scores[step // 3 - 1] if scores else float(step)}

    def on_epoch(record):
        records.append(record)
        if kept is not None:
            kept.append(record["score"])

    records, compiled = [], TRAIN_STEP._cache_size()
    with open_checkpoints(folder, score="score") as checkpoints:
        state = fit(
            MAKE_STATE(jax.random.key(0)),
            epochs=epochs,
            train_step=TRAIN_STEP,
            batches=batches,
            validate=validate,
            checkpoints=checkpoints,
            sharding=SHARDINGS.replicated,
            on_step=on_step,
            on_epoch=on_epoch,
            should_stop=should_stop,
        )
        assert TRAIN_STEP._cache_size() - compiled <= 1  # no recompilation after the first step
        return jax.device_get(state), records, list(checkpoints.all_steps())


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("stop_after", [0, 2, 4, 8])
def test_a_stopped_run_ends_with_the_bits_of_one_that_was_never_stopped(tmp_path, stop_after):
    whole, records, _ = run(tmp_path / "whole", 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 3, stop_after=stop_after)
    resumed, _, _ = run(tmp_path / "stopped", 3)
    assert_same_bits(resumed, whole)
    assert [record["epoch"] for record in records] == [1, 2, 3]


def test_a_finished_run_trains_nothing(tmp_path):
    first, _, _ = run(tmp_path, 2)
    again, records, _ = run(tmp_path, 2, stop_after=0)
    assert_same_bits(again, first)
    assert records == []


def test_latest_and_best_are_kept_by_a_resumed_run_too(tmp_path):
    _, _, kept = run(tmp_path, 2)
    assert kept == [1, 2]  # the score grows, so the first epoch is the best
    _, _, kept = run(tmp_path, 4)
    assert kept == [1, 4]
    with open_checkpoints(tmp_path, score="score") as checkpoints:
        assert checkpoints.best_step() == 1


def test_a_loss_that_is_not_finite_names_step_cases_and_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"nan in epoch 2, step 2 \(cases case-11\).*last good checkpoint: epoch 1"):
        run(tmp_path, 3, spoil=(1, 1))


def test_two_devices_state_comes_back_on_four(tmp_path):
    from tmax_jax.training.checkpoint import restore_epoch

    state, _, _ = run(tmp_path, 1)
    other = make_shardings(4, jax.devices()[:4]).replicated
    with open_checkpoints(tmp_path, score="score") as checkpoints:
        moved = restore_epoch(checkpoints, 1, state, other)
    assert all(leaf.sharding == other for leaf in jax.tree.leaves(moved))
    assert_same_bits(jax.device_get(moved), state)


def test_a_batch_that_was_not_put_on_the_device_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "put_batch", lambda batch, shardings: batch)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(tmp_path, 1)


@pytest.mark.parametrize("stop_after", [4, 11])
def test_patience_ends_at_the_same_epoch_with_the_same_bits_interrupted_or_not(tmp_path, stop_after):
    scores = [5.0, 3.0, 4.0, 3.0, 6.0, 7.0]  # the second is the best, and nothing is better for two epochs

    def train(folder, kept, stop_after=None):
        out_of_patience = functools.partial(is_out_of_patience, kept, 2)
        return run(folder, 6, stop_after=stop_after, scores=scores, should_stop=out_of_patience, kept=kept)

    whole, records, steps = train(tmp_path / "whole", [])
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert best_epoch([record["score"] for record in records]) == 2
    with open_checkpoints(tmp_path / "whole", score="score") as checkpoints:
        assert scores[(checkpoints.best_step() or 0) - 1] == 3
    assert 4 in steps
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", [], stop_after)
    finished = stop_after // 3  # epochs whose record a run folder would still have
    for _ in range(2):  # the second time it finds that it has already stopped
        resumed, _, _ = train(tmp_path / "stopped", scores[:finished])
        assert_same_bits(resumed, whole)
        finished = 4
