"""The brain in the head: the pieces that SciPy finds, all of the brain and none of the scalp, inside jit and vmap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tmax_jax.cohort.mask import foreground_mask
from tmax_jax.models.inputs import read_patient
from tmax_jax.perfusion import brain_mask, select_aif, signal_to_concentration
from tmax_jax.perfusion.brain import _largest_piece, _pieces, _rise
from tmax_jax.perfusion.phantom import Phantom, draw_subject, simulate_patient
from tmax_jax.perfusion.signal import Concentration

SIZE = (8, 48, 48)


@functools.cache
def patient(number: int) -> tuple[float, Phantom, jax.Array, Concentration]:
    """Returns a simulated patient: seconds between frames, truth, head as a store has it, and curves."""
    subject = draw_subject(0, number)
    key = jax.random.fold_in(jax.random.key(0), number)
    found = jax.device_get(simulate_patient(key, subject, size=SIZE, frames=60))
    head = jnp.asarray(foreground_mask(found.signal, np.zeros((SIZE[0], 60), bool)))
    scan = signal_to_concentration(jnp.asarray(found.signal), echo_time_s=0.03, mask=head)
    return subject.frame_interval_s, found, head, scan


def by_scipy(scan: Concentration, head: np.ndarray) -> np.ndarray:
    """The same steps with SciPy's morphology."""
    area, rise = (np.asarray(values) for values in _rise(scan.curves, scan.bolus.arrival))
    seen = head & (rise > 4.0)
    seen &= area > 0.3 * np.percentile(area[seen], 75)
    cross = scipy.ndimage.generate_binary_structure(2, 1)
    labels = np.zeros(seen.shape, np.int32)
    scipy.ndimage.label(scipy.ndimage.binary_opening(seen, cross[None]), output=labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    padded = np.pad(labels == sizes.argmax(), ((0, 0), (4, 4), (4, 4)))
    closed = scipy.ndimage.binary_closing(padded, cross[None], iterations=4)[:, 4:-4, 4:-4]
    return np.stack([np.asarray(scipy.ndimage.binary_fill_holes(image)) for image in closed]) & head


@pytest.mark.parametrize("number", [0, 1, 2])
def test_it_is_what_the_same_steps_with_scipy_give_and_nearly_the_true_brain(number):
    _, truth, head, scan = patient(number)
    found = np.asarray(brain_mask(scan.curves, head, arrival_frame=scan.bolus.arrival))
    np.testing.assert_array_equal(found, by_scipy(scan, np.asarray(head)))
    assert 2.0 * (found & truth.brain).sum() / (found.sum() + truth.brain.sum()) > 0.9
    assert np.asarray(head).sum() > 1.2 * found.sum()  # there is scalp to tell it from


@pytest.mark.parametrize("density", [0.2, 0.35, 0.5, 0.9])
@pytest.mark.parametrize("axes", [(1, 2), (0, 1, 2)])
def test_pieces_are_those_of_scipy(density, axes):
    mask = np.random.default_rng(round(100 * density)).random((6, 23, 31)) < density
    joined = scipy.ndimage.generate_binary_structure(3, 1)
    if 0 not in axes:
        joined[[0, 2]] = False
    labels = np.zeros(mask.shape, np.int32)
    scipy.ndimage.label(mask, joined, output=labels)
    count = labels.max()
    found = np.asarray(_pieces(jnp.asarray(mask), axes))
    assert len(np.unique(found[mask])) == count
    for label in range(1, count + 1):
        assert (found[labels == label] == 1 + np.flatnonzero(labels == label).max()).all()
    assert not found[~mask].any()


def test_the_largest_piece_of_a_spiral_and_a_square_is_the_longer_one():
    spiral = np.zeros((1, 9, 9), bool)
    spiral[0, 0, :] = spiral[0, :, 8] = spiral[0, 8, :] = spiral[0, 2:, 0] = spiral[0, 2, :7] = True
    square = np.zeros_like(spiral)
    square[0, 4:7, 3:6] = True
    np.testing.assert_array_equal(_largest_piece(jnp.asarray(spiral | square)), spiral)


def test_where_nothing_rises_there_is_no_brain():
    noise = jax.random.normal(jax.random.key(0), (4, 16, 16, 60))
    assert not brain_mask(noise, jnp.ones((4, 16, 16), bool), arrival_frame=15.0).any()


def test_patients_side_by_side_give_what_each_gives_alone():
    scans = [patient(number) for number in (0, 1)]
    found = jax.vmap(lambda curves, head, frame: brain_mask(curves, head, arrival_frame=frame))(
        jnp.stack([scan.curves for *_, scan in scans]),
        jnp.stack([head for _, _, head, _ in scans]),
        jnp.stack([scan.bolus.arrival for *_, scan in scans]),
    )
    for mask, (_, _, head, scan) in zip(found, scans, strict=True):
        np.testing.assert_array_equal(mask, brain_mask(scan.curves, head, arrival_frame=scan.bolus.arrival))


@pytest.mark.parametrize("number", [0, 1, 2, 3])  # in the head of the last three another curve than the artery is found
def test_a_network_is_given_the_artery_of_the_brain_although_the_scalp_is_in_its_mask(number):
    dt, truth, head, _ = patient(number)
    whole = jnp.zeros((SIZE[0], 60), bool)
    read = jax.jit(read_patient)(jnp.asarray(truth.signal), head, whole, jnp.float32(dt))
    brain = jnp.asarray(truth.brain)
    scan = signal_to_concentration(jnp.asarray(truth.signal), echo_time_s=0.03, mask=brain)
    known = select_aif(scan.curves, brain, dt=dt, arrival_frame=scan.bolus.arrival)
    assert bool(known.found)
    assert np.corrcoef(read.aif, known.curve)[0, 1] > 0.95


@pytest.mark.parametrize("shape", [(2, 1), (1, 4), (2, 4)])
def test_devices_that_share_patients_and_rows_find_the_brains_of_one_device(shape):
    scans = [patient(number) for number in (0, 1)]
    curves, heads, frames = (
        jnp.stack([scan.curves for *_, scan in scans]),
        jnp.stack([head for _, _, head, _ in scans]),
        jnp.stack([scan.bolus.arrival for *_, scan in scans]),
    )
    mesh = jax.make_mesh(shape, ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    put = [
        jax.device_put(values, NamedSharding(mesh, PartitionSpec(*parts)))
        for values, parts in ((curves, ("data", None, "space")), (heads, ("data", None, "space")), (frames, ("data",)))
    ]
    find = jax.jit(jax.vmap(lambda curves, head, frame: brain_mask(curves, head, arrival_frame=frame)))
    np.testing.assert_array_equal(find(*put), find(curves, heads, frames))
