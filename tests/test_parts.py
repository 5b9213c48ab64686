"""From a config to objects: what is on reaches the objects, what cannot be is refused with its name."""

import jax
import jax.numpy as jnp
import optax
import pytest
from ml_collections import ConfigDict

from tmax_jax import defaults
from tmax_jax.parts import ExperimentError, build
from tmax_jax.training.augment import OFF


def config_with(**changes):
    config = defaults.get_config()
    config.update_from_flattened_dict(changes)
    return config


def test_by_default_nothing_is_varied_averaged_or_scheduled():
    parts = build(defaults.get_config())
    assert parts.augmentation == OFF
    assert parts.ema_decay == 0
    state = parts.optimizer(7).init({"w": jnp.zeros(1)})
    assert jax.tree.structure(state) == jax.tree.structure(parts.optimizer(70).init({"w": jnp.zeros(1)}))


def test_epochs_of_a_schedule_become_steps():
    config = config_with(**{"epochs": 4, "optimizer.schedule": "cosine", "optimizer.learning_rate": 1.0})
    params = {"w": jnp.ones(())}
    for steps_an_epoch in (1, 5):
        optimizer = build(config).optimizer(steps_an_epoch)
        state, moves = optimizer.init(params), []
        for _ in range(4 * steps_an_epoch + 1):
            update, state = optimizer.update({"w": jnp.ones(())}, state, params)
            moves.append(float(optax.tree.norm(update)))
        assert moves[0] == pytest.approx(1.0, rel=1e-4)
        assert moves[-2] > 0
        assert moves[-1] == pytest.approx(0.0, abs=1e-6)


def test_strengths_of_augmentation_are_entries_of_the_config():
    assert build(config_with(**{"augment.rotation_degrees": 5.0})).augmentation.rotation_degrees == 5


def loss_of(**loss):
    config = defaults.get_config()
    config.loss = ConfigDict(config.loss.to_dict() | loss)
    return build(config).loss


def test_a_weighted_sum_names_its_terms_their_weights_and_their_options():
    nested = {"huber": {"weight": 2.0, "delta": 0.5}, "absolute_error": {}}
    loss = loss_of(name="weighted_sum", terms={"squared_error": {"weight": 0.5}, "weighted_sum": {"terms": nested}})
    found = loss(jnp.full((1, 1, 1, 1), 3.0), jnp.full((1, 1, 1, 1), 1.0))
    assert found[0] == pytest.approx(0.5 * 4 + 2.0 * 0.5 * (2 - 0.25) + 2)


def test_the_options_of_a_loss_do_not_collide_with_those_of_its_place():
    loss = loss_of(name="asymmetric_squared_error", over=4.0, under=1.0)
    assert loss(jnp.full((1, 1, 1, 1), 3.0), jnp.full((1, 1, 1, 1), 1.0))[0] == 16


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({}, "config.loss.terms names no loss to add up"),
        ({"terms": {"huge": {"weight": 1.0}}}, "config.loss.name is 'huge'; choose one of: squared_error"),
    ],
)
def test_a_weighted_sum_of_nothing_or_of_the_unknown_is_refused(loss, message):
    with pytest.raises(ExperimentError, match=message.replace(".", r"\.")):
        loss_of(name="weighted_sum", **loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment.noise_percent": -1.0}, "config.augment.noise_percent is -1.0; it must be between 0 and 100"),
        ({"augment.dropped_images_percent": 101.0}, "dropped_images_percent is 101.0; it must be between 0 and 100"),
        ({"augment.flip_probability": 1.5}, "flip_probability is 1.5; it must be between 0 and 1"),
        ({"augment.bolus_shift_frames": -2}, "bolus_shift_frames is -2; it must be at least 0"),
        ({"ema_decay": 1.0}, "config.ema_decay is 1.0; it must be 0 (off) or below 1"),
        ({"optimizer.schedule": "linear"}, "config.optimizer.schedule is 'linear'; choose 'constant' or 'cosine'"),
        (
            {"optimizer.warmup_epochs": 25},
            "config.optimizer.warmup_epochs is 25; it must be at least 0 and below the 25 epochs",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_name(changes, message):
    with pytest.raises(ExperimentError) as error:
        build(config_with(**changes))
    assert message in str(error.value)
