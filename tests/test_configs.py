"""Every config is built and traced at full size, without computing anything."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tmax_jax import experiment
from tmax_jax.training.state import init_state
from tmax_jax.training.step import make_train_step

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.py"))
FULL_SIZE = (24, 128, 128, 60)


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("variant", ["", "paper"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_a_step_at_full_size_on_paper(path, variant):
    config = load(path).get_config(variant)
    parts = experiment.build(config)
    size = parts.shardings.batch_size
    state = jax.eval_shape(
        lambda key: init_state(parts.model, parts.optimizer, key, (size, *FULL_SIZE)), jax.random.key(0)
    )
    shape = jax.ShapeDtypeStruct
    batch = {
        "perfusion": shape((size, *FULL_SIZE), jnp.uint16),
        "mask": shape((size, *FULL_SIZE[:3]), jnp.bool_),
        "tmax_s": shape((size, *FULL_SIZE[:3]), jnp.float32),
        "intensity_min": shape((size,), jnp.float32),
        "intensity_max": shape((size,), jnp.float32),
        "frame_interval_s": shape((size,), jnp.float32),
        "valid": shape((size,), jnp.bool_),
    }
    step = make_train_step(parts.model, parts.optimizer, parts.loss, parts.task, parts.shardings)
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_says_how_to_run_it_and_what_to_expect(path):
    doc = load(path).__doc__ or ""
    assert f"--config=configs/{path.stem}.py:paper" in doc
    assert f"--config=configs/{path.stem}.py" in doc
    assert "parameters" in doc


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_unknown_variant_lists_the_known_ones(path):
    with pytest.raises(SystemExit, match=r"no variant 'papre' of .*; choose one of: .*paper"):
        load(path).get_config("papre")
