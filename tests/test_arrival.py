"""The bolus in a mean curve: found where it is, refused with a reason where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from tests.dicom_dev import scan as real_scan
from tests.test_signal import FRAMES, bolus
from tmax_jax.cohort.select import Rules
from tmax_jax.cohort.store import read_case
from tmax_jax.convert import convert_cohort
from tmax_jax.perfusion import arrival as a
from tmax_jax.perfusion.aif import arterial_input
from tmax_jax.perfusion.signal import signal_to_concentration


@pytest.mark.parametrize("arrival", [6, 10, 20])
def test_the_bolus_arrives_in_the_last_frame_before_the_fall(arrival):
    assert int(a.bolus_arrival(jnp.asarray(bolus(arrival)))) == arrival


def test_no_bolus_is_reported_as_the_number_of_frames():
    assert int(a.bolus_arrival(jnp.full(FRAMES, 100.0))) == FRAMES


@pytest.mark.parametrize("arrival_s", [12.0, 16.3, 20.7])
@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_the_bend_is_found_between_frames(arrival_s, noise):
    time_s = 1.5 * jnp.arange(50)
    curve = arterial_input(
        time_s, arrival_s=arrival_s, rise_s=5.0, shape=2.0, recirculation=0.2, recirculation_delay_s=11.0
    )
    signal = 100 * jnp.exp(-0.25 * curve) + 100 * noise * jax.random.normal(jax.random.key(0), (50,))
    found = a.find_bolus(signal)
    assert bool(found.found)
    assert float(found.arrival) * 1.5 == pytest.approx(arrival_s, abs=1.5)
    assert float(found.fall) == pytest.approx(1 - np.exp(-0.25), abs=0.03)


def test_many_curves_are_searched_as_each_alone():
    curves = jnp.asarray(np.stack([bolus(8), bolus(14), np.full(FRAMES, 100.0)]))
    together = a.find_bolus(curves)
    assert together.found.tolist() == [True, True, False]
    for number in range(2):
        assert float(a.find_bolus(curves[number]).arrival) == float(together.arrival[number])


def message(curve: np.ndarray) -> str:
    with pytest.raises(a.PerfusionError) as error:
        a.require_bolus(a.find_bolus(jnp.asarray(curve)))
    return str(error.value)


def test_scans_without_a_usable_bolus_are_refused_each_with_its_reason():
    noise = 100 + 0.5 * np.random.default_rng(0).normal(size=FRAMES)
    assert "no bolus found: the mean signal falls by" in message(noise)
    assert "started too late" in message(bolus(1))
    assert "ends before the bolus has passed" in message(bolus(20)[:25])
    a.require_bolus(a.find_bolus(jnp.asarray(bolus(10))))


def test_a_real_series_of_sixty_frames_without_contrast_agent_has_no_bolus(tmp_path):
    folder, _ = real_scan("philips_classic_pcasl_16x60")
    convert_cohort(folder, tmp_path / "cohort.zarr", Rules(), 1, Console(quiet=True))
    case = read_case(tmp_path / "cohort.zarr", "case-0001", maps=None)
    assert case.perfusion is not None
    assert case.perfusion.shape[-1] == 60
    found = signal_to_concentration(
        jnp.asarray(case.perfusion, jnp.float32),
        echo_time_s=0.02,
        mask=jnp.asarray(case.mask),
        inserted=jnp.asarray(case.inserted)[:, None, None],
    )
    assert not bool(found.bolus.found)
    with pytest.raises(a.PerfusionError, match="no bolus found"):
        a.require_bolus(found.bolus)
