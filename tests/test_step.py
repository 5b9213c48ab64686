"""The steps: every patient counts once, on any number of devices; normalisation is one mask and one scale."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tmax_jax import losses, models
from tmax_jax.training.augment import OFF, Augmentation
from tmax_jax.training.inserted import fill_inserted
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import init_state
from tmax_jax.training.step import Task, make_predict_step, make_train_step, network_input

SIZE = (8, 8, 8, 12)
TASK = Task(normalise=True, target_scale_s=20.0, loss_over="brain", strip_prediction=True, loss_unit_s=20.0)
SGD = optax.sgd(1.0)  # the update is the raw gradient: Adam's normalisation would hide a wrong factor
MODELS = {
    "one_layer": {},
    "two_layer": {"features": 3},
    "unet": {"features": (2, 3, 4, 5), "bottleneck": 6},
}
VARIED = Augmentation(0.5, 20.0, 2, 20.0, 5.0, 20.0)


def cohort(cases: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "perfusion": rng.integers(0, 4000, (cases, *SIZE)).astype(np.int16),
        "mask": rng.random((cases, *SIZE[:3])) > 0.3,
        "tmax_s": rng.gamma(2, 2, (cases, *SIZE[:3])).astype(np.float32),
        "intensity_min": np.zeros(cases, np.float32),
        "intensity_max": rng.uniform(3000, 4000, cases).astype(np.float32),
        "frame_interval_s": np.full(cases, 1.5, np.float32),
        "spacing_mm": np.full((cases, 3), 2, np.float32),
        "valid": np.ones(cases, bool),
    }


def one_step(name: str, batch: dict[str, np.ndarray], devices: int, augmentation: Augmentation = OFF, **fields):
    """Returns gradient, statistics, loss and metrics of one step on so many devices."""
    model = models.build(name, **MODELS.get(name, {}) | fields)
    shardings = make_shardings(len(batch["valid"]), jax.devices()[:devices])
    make_state = jax.jit(
        lambda key: init_state(model, SGD, key, (1, *SIZE)),
        out_shardings=shardings.replicated,
        compiler_options={"xla_backend_optimization_level": 0},  # random numbers compile ten times faster
    )
    before = make_state(jax.random.key(0))
    params = jax.device_get(before.params)
    _, sums = make_predict_step(model, TASK, shardings)(before, put_batch(batch, shardings))
    train_step = make_train_step(model, SGD, losses.squared_error, TASK, shardings, augmentation=augmentation)
    after, metrics = train_step(before, put_batch(batch, shardings))
    gradient = jax.tree.map(lambda old, new: old - new, params, jax.device_get(after.params))
    return gradient, jax.device_get((after.batch_stats, metrics["loss"], sums))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("pointwise", {"features": (4, 3), "dropout": 0.3}),
        ("unet", {"features": (2,), "norm": "batch", "dropout": 0.3, "slice_wise": True, "pool_bottleneck": True}),
    ],
)
def test_what_is_drawn_at_random_is_the_same_on_any_number_of_devices(name, fields):
    batch = cohort(7)
    (gradient, (stats, loss, _)), (gradient_4, (stats_4, loss_4, _)) = (
        one_step(name, batch, devices, VARIED, **fields) for devices in (1, 4)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        (gradient, stats, loss),
        (gradient_4, stats_4, loss_4),
    )


def test_each_step_draws_anew_and_seeds_differ():
    batch, model = cohort(2), models.build("pointwise", features=(8,), dropout=0.5)
    shardings = make_shardings(2, jax.devices()[:1])
    step = make_train_step(model, optax.sgd(0.0), losses.squared_error, TASK, shardings, augmentation=VARIED)

    def first_losses(seed: int) -> list[float]:
        state = jax.device_put(init_state(model, optax.sgd(0.0), jax.random.key(0), (1, *SIZE)), shardings.replicated)
        state = dataclasses.replace(state, key=jax.random.key_data(jax.random.key(seed)))
        found = []
        for _ in range(3):
            state, metrics = step(jax.device_put(state, shardings.replicated), put_batch(batch, shardings))
            found.append(float(metrics["loss"]))
        return found

    one, again, other = first_losses(0), first_losses(0), first_losses(1)
    assert len(set(one + other)) == 6  # nothing but the draws differs between these steps
    assert one == again
    assert step._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]


def test_the_moving_average_is_what_predicts_and_the_last_parameters_are_what_learn():
    batch, model = cohort(2), models.build("one_layer")
    shardings = make_shardings(2, jax.devices()[:1])

    def trained(decay: float):
        make_state = functools.partial(init_state, model, SGD, input_shape=(1, *SIZE), ema=decay > 0)
        state = jax.jit(make_state, out_shardings=shardings.replicated)(jax.random.key(0))
        step = make_train_step(model, SGD, losses.squared_error, TASK, shardings, ema_decay=decay)
        seen = []
        for _ in range(4):
            state, _ = step(state, put_batch(batch, shardings))
            seen.append(jax.device_get(state.params))
        return state, seen

    plain, seen = trained(0.0)
    state, _ = trained(0.9)
    assert plain.ema == {}
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), seen[-1])
    average = jax.device_get(init_state(model, SGD, jax.random.key(0), (1, *SIZE)).params)
    for number, params in enumerate(seen):
        kept = min(0.9, (1 + number) / (10 + number))
        average = jax.tree.map(lambda old, new, kept=kept: kept * old + (1 - kept) * new, average, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.ema, average)
    predict = make_predict_step(model, TASK, shardings)
    expected, _ = predict(dataclasses.replace(plain, params=state.ema), put_batch(batch, shardings))
    np.testing.assert_array_equal(predict(state, put_batch(batch, shardings))[0], expected)


def test_input_lies_in_0_to_1_inside_the_mask_and_is_0_outside():
    batch = cohort(2)
    batch["perfusion"] = np.minimum(
        batch["perfusion"], batch["intensity_max"].astype(np.int16)[:, None, None, None, None]
    )
    scaled = np.asarray(network_input(jax.device_put(batch), TASK))
    assert 0.9 < scaled.max() <= 1
    assert scaled.min() >= 0
    assert not scaled[~batch["mask"]].any()


def test_raw_input_keeps_the_scanners_intensities():
    batch = cohort(1)
    raw = np.asarray(network_input(jax.device_put(batch), Task(False, 20.0, "brain", True)))
    np.testing.assert_array_equal(raw[batch["mask"]], batch["perfusion"][batch["mask"]])


def test_loss_over_all_voxels_counts_the_background():
    batch = cohort(1)
    batch["mask"][:] = False  # nothing but background: an empty mask has no loss, all voxels have
    model = models.build("one_layer")
    shardings = make_shardings(1)
    values = {}
    for over in ("brain", "all"):
        step = make_train_step(model, SGD, losses.squared_error, Task(True, 1.0, over, False), shardings)
        state = init_state(model, SGD, jax.random.key(0), (1, *SIZE))
        values[over] = float(step(jax.device_put(state, shardings.replicated), put_batch(batch, shardings))[1]["loss"])
    assert values["brain"] == 0
    np.testing.assert_allclose(values["all"], np.mean(batch["tmax_s"] ** 2), rtol=1e-5)


@pytest.mark.parametrize("unit_s", [1.0, 0.001])
def test_the_loss_is_in_its_own_unit_whatever_an_output_of_1_means(unit_s):
    batch = cohort(1)
    model = models.build("one_layer")
    shardings = make_shardings(1)
    state = init_state(model, SGD, jax.random.key(0), (1, *SIZE))
    task = Task(True, 20.0, "brain", True, loss_unit_s=unit_s)
    prediction_s, _ = make_predict_step(model, task, shardings)(state, put_batch(batch, shardings))
    step = make_train_step(model, SGD, losses.absolute_error, task, shardings)
    loss = float(step(jax.device_put(state, shardings.replicated), put_batch(batch, shardings))[1]["loss"])
    error_s = np.abs(np.asarray(prediction_s) - batch["tmax_s"])[batch["mask"]].mean()
    np.testing.assert_allclose(loss * unit_s, error_s, rtol=1e-4)


def test_predictions_are_in_seconds_and_stripped():
    batch = cohort(1)
    model = models.build("unet", **MODELS["unet"])
    shardings = make_shardings(1)
    make_state = jax.jit(
        lambda key: init_state(model, SGD, key, (1, *SIZE)),
        out_shardings=shardings.replicated,
        compiler_options={"xla_backend_optimization_level": 0},
    )
    state = make_state(jax.random.key(0))
    prediction_s, _ = make_predict_step(model, TASK, shardings)(state, put_batch(batch, shardings))
    prediction_s = np.asarray(prediction_s)
    assert not prediction_s[~batch["mask"]].any()
    assert prediction_s[batch["mask"]].min() > 0
    assert 5 < prediction_s[batch["mask"]].mean() < 15  # a sigmoid near its middle, times 20 s


def test_missing_images_can_be_filled_or_their_slices_left_out():
    batch = cohort(2)
    inserted = np.zeros((2, SIZE[0], SIZE[3]), bool)
    inserted[0, 3, 5] = inserted[1, 2, :4] = True
    batch["perfusion"][np.broadcast_to(inserted[:, :, None, None], batch["perfusion"].shape)] = 0
    batch["inserted"] = inserted
    model, shardings = models.build("one_layer"), make_shardings(2, jax.devices()[:1])

    def loss(batch: dict[str, np.ndarray], task: Task) -> tuple[float, float]:
        state = jax.device_put(init_state(model, SGD, jax.random.key(0), (1, *SIZE)), shardings.replicated)
        metrics = make_train_step(model, SGD, losses.squared_error, task, shardings)(
            state, put_batch(batch, shardings)
        )[1]
        return float(metrics["loss"]), float(metrics["grad_norm"])

    full = batch | {
        "perfusion": np.asarray(fill_inserted(*map(jnp.asarray, (batch["perfusion"].astype(np.float32), inserted))))
    }
    filling = dataclasses.replace(TASK, fill_inserted=True)
    np.testing.assert_allclose(loss(batch, filling), loss(full, TASK), rtol=1e-5)
    assert loss(batch, filling) != loss(batch, TASK)
    masked = batch["mask"].copy()
    masked[1, 2] = False  # 4 of 12 images of this slice are missing, 1 of 12 of the other
    left_out = loss(batch, dataclasses.replace(TASK, max_inserted=0.2))
    # The input outside the mask is 0, so only the loss may tell the two apart: it does not look there.
    np.testing.assert_allclose(left_out, loss(batch | {"mask": masked}, TASK), rtol=1e-5)
    everywhere = dataclasses.replace(TASK, loss_over="all", max_inserted=0.2)
    assert loss(batch, everywhere) != loss(batch, dataclasses.replace(TASK, loss_over="all"))
