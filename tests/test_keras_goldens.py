"""The three networks against an independent build in Keras: outputs, statistics, and one step of Adam."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tmax_jax import losses, models
from tmax_jax.training.optimizer import adam
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import TrainState, variables_of
from tmax_jax.training.step import Task, make_train_step

FOLDER = Path(__file__).parent / "goldens"
NAMES = ("one_layer", "two_layer", "unet")
FIELDS = {"unet": {"head_activation": "sigmoid"}}


@functools.cache
def rule():
    spec = importlib.util.spec_from_file_location("rule", FOLDER / "rule.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / "keras.npz") as everything:
        return {key.split("/")[1]: everything[key] for key in everything.files if key.startswith(f"{name}/")}


def state_of(name: str, optimizer) -> TrainState:
    variables = unflatten_dict(rule().arrays(name), sep="/")
    params = variables["params"]
    key = jax.random.key_data(jax.random.key(0))
    return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), optimizer.init(params), {}, key)


@functools.cache
def ours(name: str) -> dict[str, np.ndarray]:
    """What the Flax network makes of the same weights and inputs, the step by the project's own train step."""
    model = models.build(name, **FIELDS.get(name, {}))
    keras_eps = 1e-7 / np.sqrt(
        1 - 0.999
    )  # Keras adds 1e-7 before the bias correction: in the first step, this after it
    optimizer = adam(learning_rate=1e-3, b1=0.9, b2=0.999, eps=keras_eps)
    state = state_of(name, optimizer)
    perfusion, target = rule().batch()

    @jax.jit
    def predict(state: TrainState):
        return model.apply(variables_of(state), jnp.asarray(perfusion), train=False)

    training, _ = model.apply(variables_of(state), jnp.asarray(perfusion), train=True, mutable=["batch_stats"])
    found = {"inference": np.asarray(predict(state)), "training": np.asarray(training)}
    shardings = make_shardings(2, jax.devices()[:1])
    task = Task(normalise=False, target_scale_s=1.0, loss_over="all", strip_prediction=False)
    step = make_train_step(model, optimizer, losses.squared_error, task, shardings)
    batch = {
        "perfusion": perfusion,
        "mask": np.ones(target.shape, bool),
        "tmax_s": target,
        "intensity_min": np.zeros(2, np.float32),
        "intensity_max": np.ones(2, np.float32),
        "frame_interval_s": np.ones(2, np.float32),
        "valid": np.ones(2, bool),
    }
    state, metrics = step(jax.device_put(state, shardings.replicated), put_batch(batch, shardings))
    np.testing.assert_allclose(metrics["loss"], np.mean((golden(name)["training"] - target) ** 2), rtol=1e-4)
    found["after_step"] = np.asarray(predict(state))
    after = [
        functools.reduce(lambda tree, key: tree[key], path.split("/"), variables_of(state))
        for path in rule().arrays(name)
    ]
    found["first_entries"] = np.stack([np.resize(np.asarray(value), 8) for value in after])
    found["sums"] = np.array([np.asarray(value, np.float64).sum() for value in after])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_keras_counts_as_many_parameters(name):
    total = {"one_layer": 61, "two_layer": 1033, "unet": 13_123_329}[name]
    assert golden(name)["parameters"] == total == sum(value.size for value in rule().arrays(name).values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_outputs_are_those_of_keras(name, mode):
    np.testing.assert_allclose(ours(name)[mode], golden(name)[mode], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_of_adam_leads_to_the_same_weights_statistics_and_outputs(name):
    np.testing.assert_allclose(ours(name)["first_entries"], golden(name)["first_entries"], atol=2e-5)
    np.testing.assert_allclose(ours(name)["after_step"], golden(name)["after_step"], atol=2e-4)
    sizes = np.array([value.size for value in rule().arrays(name).values()])
    drift = np.abs(ours(name)["sums"] - golden(name)["sums"]) / sizes  # of a mean weight; the step is up to 1e-3
    cancelled = np.array(
        [path == "params/hidden/bias" for path in rule().arrays(name)]
    )  # by the normalisation after it
    assert drift[~cancelled].max() < 1e-6
    assert drift[cancelled].max(initial=0) < 1e-4  # its gradient is rounding alone


@pytest.mark.parametrize("name", NAMES)
def test_the_step_moved_the_outputs_by_more_than_the_tolerance(name):
    assert np.abs(golden(name)["after_step"] - golden(name)["inference"]).max() > 2e-3
