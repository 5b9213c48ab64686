"""When frames were acquired: by the first value that tells them apart, holes filled evenly."""

import numpy as np
import pytest

from tests.dicom_files import BLANK
from tmax_jax.dicom.frame_times import frame_times_s
from tmax_jax.dicom.header import Frame
from tmax_jax.dicom.timing import TimeOrder

T = np.repeat(np.arange(5), 3)  # of three slices


def frames_with(**fields: np.ndarray) -> list[Frame]:
    rows = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    return [BLANK._replace(**row) for row in rows]


def times(frames: list[Frame], index: np.ndarray = T, count: int = 5) -> tuple[list[float], str]:
    found, source = frame_times_s(frames, TimeOrder(index, count, "key"))
    return [float(time_s) for time_s in found], source


def test_slices_of_a_frame_are_acquired_one_after_the_other_and_their_median_counts():
    acquired = 36000 + 1.5 * T + np.tile([0.0, 0.5, 1.0], 5)
    assert times(frames_with(acquired_s=acquired)) == ([0, 1.5, 3, 4.5, 6], "AcquisitionTime")


def test_a_time_point_without_images_is_interpolated_and_beyond_the_ends_it_goes_on():
    kept = (T != 2) & (T != 4)
    frames = frames_with(acquired_s=100 + 2.0 * T[kept])
    assert times(frames, T[kept]) == ([0, 2, 4, 6, 8], "AcquisitionTime")


def test_a_scan_past_midnight_goes_on():
    acquired = (86_398 + 1.0 * T) % 86_400
    assert times(frames_with(acquired_s=acquired)) == ([0, 1, 2, 3, 4], "AcquisitionTime")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"trigger_time_ms": 1500.0 * T, "acquired_s": 0.0 * T}, ([0, 1.5, 3, 4.5, 6], "TriggerTime")),
        ({"temporal_resolution_ms": 0.0 * T + 1400}, ([0, 1.4, 2.8, 4.2, 5.6], "TemporalResolution")),
        ({"repetition_time_ms": 0.0 * T + 1600}, ([0, 1.6, 3.2, 4.8, 6.4], "RepetitionTime")),
        ({"echo_time_ms": 0.0 * T}, ([0, 1, 2, 3, 4], "frame number, for want of any time")),
    ],
)
def test_the_next_value_counts_where_one_tells_nothing(fields, wanted):
    found, source = times(frames_with(**fields))
    assert source == wanted[1]
    assert found == pytest.approx(wanted[0])
