"""The optimiser: schedules in steps, decay of kernels alone, clipped gradients, an average that forgets its start."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tmax_jax.training.optimizer import OptimizerError, adam, learning_rate_schedule, moving_average

ADAM = {"learning_rate": 0.1, "b1": 0.9, "b2": 0.999, "eps": 1e-7}
PARAMS = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
NOTHING = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}


def update(optimizer: optax.GradientTransformation, gradient: dict) -> dict:
    return optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)[0]  # pyright: ignore[reportReturnType]


def test_a_constant_rate_is_a_number_and_leaves_adam_as_it_was():
    assert learning_rate_schedule(0.1) == 0.1
    plain, ours = optax.adam(0.1, eps=1e-7), adam(**ADAM)
    assert str(plain.init(PARAMS)) == str(ours.init(PARAMS))


def test_the_warm_up_rises_from_zero_and_the_rate_stays():
    rate: Any = learning_rate_schedule(0.4, warmup_steps=4, steps=10)
    np.testing.assert_allclose([rate(step) for step in range(7)], [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4], rtol=1e-6)


def test_the_cosine_starts_at_the_rate_without_a_warm_up_and_ends_at_zero():
    rate: Any = learning_rate_schedule(0.4, schedule="cosine", steps=10)
    expected = 0.2 * (1 + np.cos(np.pi * np.arange(11) / 10))
    np.testing.assert_allclose([rate(step) for step in range(11)], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "step", "steps": 9}, "config.optimizer.schedule is 'step'; choose 'constant' or 'cosine'"),
        ({"warmup_steps": 9, "steps": 9}, "the warm-up of 9 steps leaves none of the 9 steps"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options, message):
    with pytest.raises(OptimizerError, match=message):
        learning_rate_schedule(0.1, **options)


def test_weight_decay_takes_its_share_of_kernels_and_leaves_biases():
    found = update(adam(**ADAM, weight_decay=0.5), NOTHING)
    np.testing.assert_allclose(found["kernel"], np.full((2, 2), -0.1 * 0.5 * 3), rtol=1e-6)
    np.testing.assert_array_equal(found["bias"], np.zeros(2))


def test_gradients_are_clipped_by_their_common_norm():
    huge = {"kernel": jnp.full((2, 2), 1e6), "bias": jnp.full(2, 1e6)}
    optimizer = adam(**ADAM | {"eps": 1.0}, clip_norm=1e-3)  # with so large an epsilon a step is about the gradient
    size = float(optax.tree.norm(update(optimizer, huge)))
    np.testing.assert_allclose(size, 0.1 * 1e-3, rtol=0.01)


def test_the_average_forgets_the_initial_parameters_and_then_decays_as_asked():
    average = {"w": jnp.float32(100.0)}
    for step in range(50):
        average = moving_average(average, {"w": jnp.float32(1.0)}, jnp.int32(step), 0.999)
    assert abs(float(average["w"]) - 1) < 1e-3
    late = moving_average({"w": jnp.float32(0.0)}, {"w": jnp.float32(1.0)}, jnp.int32(100_000), 0.99)
    np.testing.assert_allclose(late["w"], 0.01, rtol=1e-4)
