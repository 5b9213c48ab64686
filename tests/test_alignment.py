"""Curves on a common grid: what does not depend on the scan, and what is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmax_jax.perfusion.alignment import BEFORE_S, CHANNELS, POINTS, Aligned, align
from tmax_jax.perfusion.curves import Bolus, Tissue, tissue_curves

ONE = jnp.ones(1)


def scan(*, dt: float, frames: int, arrival_s: float = 15.0) -> tuple[jax.Array, jax.Array]:
    bolus = Bolus(arrival_s, 4.5, 3.0, 300.0, 0.2, 11.0)
    tissue = Tissue(4 * ONE, 6 * ONE, 4 * ONE, 0 * ONE, ONE, 0 * ONE)
    return tissue_curves(bolus, tissue, dt=dt, frames=frames), bolus.curve(dt * jnp.arange(frames))


def aligned(dt: float, frames: int) -> Aligned:
    return align(*scan(dt=dt, frames=frames), dt=dt)


def centre_s(curve: jax.Array) -> float:
    """The centre of the first 40 s on the grid."""
    first = np.asarray(curve)[0, : BEFORE_S + 40]
    return float(first @ np.arange(first.size) / first.sum())


@pytest.mark.parametrize(("dt", "frames"), [(1.2, 80), (1.8, 50), (2.5, 40)])
def test_another_frame_interval_and_number_of_frames_give_the_same_delay(dt, frames):
    lag = [centre_s(found.curve) - centre_s(found.artery) for found in (aligned(1.0, 100), aligned(dt, frames))]
    assert lag[1] == pytest.approx(
        lag[0], abs=0.15
    )  # straight lines between frames, and 40 s from a slightly other start


def test_a_later_bolus_and_a_stronger_signal_change_nothing_but_what_is_seen():
    curve, aif = scan(dt=1.5, frames=60)
    late_curve, late_aif = scan(dt=1.5, frames=60, arrival_s=21.0)
    found, late = align(curve, aif, dt=1.5), align(7.0 * late_curve, 7.0 * late_aif, dt=1.5)
    assert float(found.seen_s[0] - late.seen_s[0]) == pytest.approx(6.0, abs=0.4)
    np.testing.assert_allclose(found.curve[0, :48], late.curve[0, :48], atol=0.02)
    assert float(late.flow_unit[0] / found.flow_unit[0]) == pytest.approx(1.0, abs=0.02)


def test_the_unit_of_flow_brings_back_the_ratio_of_tissue_and_artery():
    curve, aif = scan(dt=1.0, frames=71)  # its end is the grid's
    found = align(curve, aif, dt=1.0)
    ratio = float(found.flow_unit[0] * found.curve.sum() / found.artery.sum())
    assert ratio == pytest.approx(float(curve.sum() / aif.sum()), rel=1e-3)


def test_before_the_scan_and_after_its_end_there_is_nothing():
    curve, aif = scan(dt=1.0, frames=40)
    found = align(curve + 1.0, aif, dt=1.0)
    outside = jnp.arange(POINTS) - BEFORE_S > found.seen_s[0]
    assert bool(outside.any())
    assert bool((found.curve[0] == 0)[outside].all())


def test_channels_come_apart_as_they_went_together():
    curve, aif = scan(dt=1.5, frames=60)
    found = align(curve + 0.1 * jax.random.normal(jax.random.key(0), curve.shape), aif, dt=1.5)
    channels = found.channels()
    assert channels.shape == (1, CHANNELS)
    for name, value in Aligned.from_channels(channels)._asdict().items():
        np.testing.assert_allclose(value, getattr(found, name), rtol=1e-3, atol=1e-6)


def test_an_empty_voxel_and_an_empty_artery_stay_finite():
    channels = align(jnp.zeros((2, 40)), jnp.zeros(40), dt=1.5).channels()
    assert bool(jnp.isfinite(channels).all())
