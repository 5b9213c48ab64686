"""Condensed patients: a linear network's loss, gradient and statistics are those of all voxels."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import optax
import pytest

from tmax_jax import losses, models
from tmax_jax.cohort.batches import Cohort, take
from tmax_jax.cohort.sigma_points import brain_moments, condense, with_background
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import init_state
from tmax_jax.training.step import Task, given_input, make_train_step, network_input

SIZE = (4, 8, 8, 12)
NETWORKS = {
    "one_layer": {},
    "two_layer": {"features": 3},
}


@functools.cache
def cohort(dtype: str = "uint16") -> Cohort:
    """Five patients whose frames are as correlated as a scan's, with differing shares of brain."""
    rng = np.random.default_rng(0)
    curve = 1500 - 600 * np.exp(-((np.arange(SIZE[-1]) - 6.0) ** 2) / 4)
    perfusion, masks, maps = [], [], []
    for share in (0.25, 0.4, 0.6, 0.9, 1.0):
        depth, noise = rng.gamma(4, 0.25, (*SIZE[:3], 1)), rng.normal(0, 20, SIZE)
        perfusion.append((200 + depth * curve + noise).astype(dtype))
        masks.append(np.arange(np.prod(SIZE[:3])).reshape(SIZE[:3]) < share * np.prod(SIZE[:3]))
        maps.append((2 * depth[..., 0] + rng.gamma(2, 1, SIZE[:3])).astype(np.float32))
    low, high = (np.array([extreme(images) for images in perfusion], np.float32) for extreme in (np.min, np.max))
    ones, whole = np.ones(len(masks), np.float32), (np.zeros((SIZE[0], SIZE[3]), bool),) * len(masks)
    names = tuple(f"case-{number}" for number in range(len(masks)))
    return Cohort(
        case_ids=names,
        perfusion=(*perfusion,),
        inserted=whole,
        mask=(*masks,),
        tmax_s=(*maps,),
        intensity_min=low,
        intensity_max=high,
        frame_interval_s=ones,
        spacing_mm=np.ones((len(masks), 3), np.float32),
        data="phantom",
    )


def seen(case: int, *, normalise: bool) -> np.ndarray:
    """Returns what the ordinary step sees of a patient: frames and Tmax of every voxel, in double precision."""
    batch = jax.device_put(take(cohort(), np.array([case])))
    frames = np.asarray(network_input(batch, Task(normalise, 1.0, "all", False)), np.float64)
    return np.concatenate([frames.reshape(-1, SIZE[-1]), np.asarray(batch["tmax_s"]).reshape(-1, 1)], axis=1)


@pytest.mark.parametrize("normalise", [True, False])
def test_points_have_the_mean_and_covariance_of_the_voxels(normalise):
    for over in ("all", "brain"):
        condensed = condense(cohort(), normalise=normalise, over=over)
        for case, mask in enumerate(cohort().mask):
            voxels = seen(case, normalise=normalise)
            points = np.concatenate([condensed.perfusion[case], condensed.tmax_s[case][..., None]], axis=-1)[0, 0]
            counts = condensed.mask[case][0, 0]
            pairs = [(voxels if over == "all" else voxels[mask.ravel()], points[counts])]
            pairs.append((voxels[:, :-1], points[:, :-1]))  # for batch statistics, over all voxels
            for wanted, found in pairs:
                scale = wanted.std(axis=0) + np.abs(wanted.mean(axis=0))
                np.testing.assert_allclose(found.mean(0, dtype=float) / scale, wanted.mean(0) / scale, atol=1e-6)
                one, other = (np.cov(each.T.astype(float), bias=True) for each in (found, wanted))
                np.testing.assert_allclose(one / np.outer(scale, scale), other / np.outer(scale, scale), atol=1e-6)


def test_moments_of_16_bit_images_are_exact():
    brain = brain_moments(cohort(), 2, normalise=False)
    inside = cohort().mask[2]
    voxels = [*map(int, cohort().perfusion[2][inside][:, 3])]
    mean = sum(voxels) / len(voxels)
    variance = sum(v * v for v in voxels) / len(voxels) - mean * mean
    assert brain.voxels == len(voxels)
    assert brain.mean[3] == mean
    assert brain.covariance[3, 3] == variance


def test_a_patient_without_background_keeps_the_moments_of_the_brain():
    brain = brain_moments(cohort(), 4, normalise=True)
    whole = with_background(brain, np.empty(0, np.float32))
    np.testing.assert_array_equal(whole.covariance, brain.covariance)


@functools.cache
def one_step(name: str, over: str, *, condensed: bool, rows: tuple[int, ...], normalise: bool = True):
    """Returns the raw gradient, the batch statistics and the loss of one ordinary step."""
    task = Task(normalise, 20.0, over, over == "brain", loss_unit_s=1.0)
    model, optimizer, shardings = models.build(name, **NETWORKS[name]), optax.sgd(1.0), make_shardings(1)
    patients = condense(cohort(), normalise=normalise, over=over) if condensed else cohort()
    make_state = jax.jit(
        lambda: init_state(model, optimizer, jax.random.key(0), (1, *SIZE)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    before = jax.device_put(make_state(), shardings.replicated)
    params = jax.device_get(before.params)
    step = make_train_step(
        model,
        optimizer,
        losses.squared_error,
        task,
        shardings,
        network_input=given_input if condensed else network_input,
    )
    after, metrics = step(before, put_batch(take(patients, np.array(rows)), shardings))
    gradient = jax.tree.map(lambda old, new: old - new, params, jax.device_get(after.params))
    return gradient, jax.device_get((after.batch_stats, metrics["loss"]))


@pytest.mark.parametrize("over", ["all", "brain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_ordinary_step_on_points_is_the_ordinary_step_on_all_voxels(name, over):
    wanted, found = (one_step(name, over, condensed=condensed, rows=(3, 1, 4, -1)) for condensed in (False, True))
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(wanted[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * largest), found[0], wanted[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found[1], wanted[1])


def test_one_layer_follows_the_gram_matrix_of_its_voxels():
    """Loss and gradient written out: mean (w x + b - y)^2 needs the 14 x 14 products of [x, 1, y] alone."""
    voxels = seen(1, normalise=True)[cohort().mask[1].ravel()]
    augmented = np.concatenate([voxels[:, :-1], np.ones((len(voxels), 1)), voxels[:, -1:]], axis=1)
    gram = augmented.T @ augmented / len(voxels)
    gradient, (_, loss) = one_step("one_layer", "brain", condensed=True, rows=(1,))
    model = models.build("one_layer")
    head: Any = model.init(jax.random.key(0), np.zeros((1, *SIZE), np.float32), train=False)["params"]["head"]
    weights = np.append(20 * np.concatenate([head["kernel"][:, 0], head["bias"]]), -1.0)  # outputs are in 20 s
    np.testing.assert_allclose(loss, weights @ gram @ weights, rtol=1e-5)
    wanted = 20 * 2 * (gram @ weights)[:-1]
    found = np.concatenate([gradient["head"]["kernel"][:, 0], gradient["head"]["bias"]])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_a_patient_without_brain_teaches_nothing_and_a_map_with_holes_is_not_hidden():
    patients = cohort()
    empty = np.zeros_like(patients.mask[0])
    maps = (*patients.tmax_s[:4], np.full_like(patients.tmax_s[4], np.nan))
    spoilt = dataclasses.replace(patients, mask=(empty, *patients.mask[1:]), tmax_s=maps)
    condensed = condense(spoilt, normalise=True, over="brain")
    assert not condensed.mask[0].any()
    assert not condensed.perfusion[0].any()
    assert np.isnan(condensed.tmax_s[4]).all()
    assert np.isfinite(condensed.tmax_s[3]).all()
