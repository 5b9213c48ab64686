"""Sums that merge: over slabs, batches and devices; padding counts nothing; large offsets lose no digits."""

import dataclasses
import functools
import itertools
import operator
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmax_jax.metrics import TmaxSums, pool, sum_values, tmax_sums
from tmax_jax.metrics.sums import on_host
from tmax_jax.training.sharding import make_shardings

rng = np.random.default_rng(0)
PREDICTION, TRUTH = rng.gamma(2, 2, (2, 3, 6, 8, 8)).astype(np.float32)
MASK = rng.random(TRUTH.shape) > 0.4
SPACING = np.array([[5, 2, 2], [5, 2, 2], [4, 1.8, 1.8]], np.float32)


def sums_of(*, cases: Any = slice(None), slices: Any = slice(None), **changes: Any) -> TmaxSums:
    maps = (values[cases, slices] for values in (PREDICTION, TRUTH, MASK))
    return tmax_sums(*maps, spacing_mm=SPACING[cases], **changes)


def assert_same(some, others, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-4), on_host(some), on_host(others))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 5), unique=True, max_size=4), st.randoms(use_true_random=False))
def test_slabs_of_a_volume_merge_to_the_whole_however_cut_and_in_any_order(cuts, order):
    edges = [0, *sorted(cuts), 6]
    parts = [sums_of(slices=slice(low, high)) for low, high in itertools.pairwise(edges)]
    order.shuffle(parts)
    assert_same(functools.reduce(operator.add, parts), sums_of())


def test_sums_merge_inside_jit_and_on_the_host_alike():
    halves = [sums_of(slices=part) for part in (slice(0, 2), slice(2, 6))]
    assert_same(jax.jit(operator.add)(*halves), operator.add(*map(on_host, halves)))


def test_a_cohort_in_batches_pools_to_the_cohort_in_one():
    first, rest = pool(sums_of(cases=slice(0, 1))), pool(sums_of(cases=slice(1, 3)))
    assert_same(first + rest, pool(sums_of()), rtol=1e-9)


def test_padding_counts_nothing_even_where_it_is_not_finite():
    valid = np.array([True, False, True])
    prediction = np.where(valid[:, None, None, None], PREDICTION, np.nan)
    padded = tmax_sums(prediction, TRUTH, MASK, spacing_mm=SPACING, valid=valid)
    for leaf in jax.tree.leaves(padded):
        assert not np.any(leaf[1])
    assert_same(pool(padded), pool(sums_of(cases=np.array([0, 2]))), rtol=1e-9)


@pytest.mark.parametrize("devices", [1, 4])
def test_any_number_of_devices_gives_the_same_sums(devices):
    shardings = make_shardings(8, jax.devices()[:devices])
    batch = [np.resize(values, (8, *values.shape[1:])) for values in (PREDICTION, TRUTH, MASK, SPACING)]
    step = jax.jit(
        lambda p, t, m, s: tmax_sums(p, t, m, spacing_mm=s),
        in_shardings=shardings.per_case,
        out_shardings=shardings.per_case,
    )
    assert_same(step(*jax.device_put(batch, shardings.per_case)), tmax_sums(*batch[:3], spacing_mm=batch[3]))


def test_a_small_spread_about_a_large_mean_keeps_its_correlation():
    offset = np.float32(1000)  # sums of squares in float32 would leave nothing of a spread of 0.1
    noise = rng.normal(size=TRUTH.shape)
    truth = (offset + 0.1 * noise).astype(np.float32)
    prediction = (offset + 0.1 * (noise + rng.normal(size=TRUTH.shape))).astype(np.float32)
    found = sum_values(tmax_sums(prediction, truth, MASK, spacing_mm=SPACING))["pearson_brain"]
    expected = [
        np.corrcoef(prediction[case][MASK[case]].astype(float), truth[case][MASK[case]].astype(float))[0, 1]
        for case in range(3)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_every_field_is_per_case():
    for field in dataclasses.fields(TmaxSums):
        assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(getattr(sums_of(), field.name)))
