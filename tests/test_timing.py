"""Time keys: a value is a place, and a key that contradicts the others is not believed."""

import numpy as np
import pytest

from tests.dicom_files import BLANK
from tmax_jax.dicom.frame_times import frame_times_s
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.source import Source
from tmax_jax.dicom.timing import order_in_time

SLICES, TIMES = 4, 10
Z, T = (axis.ravel() for axis in np.mgrid[:SLICES, :TIMES])


def frames_with(keep: np.ndarray | None = None, **fields: np.ndarray | float | None) -> tuple[list[Frame], np.ndarray]:
    """Makes a lattice of images; each field is one value or one an image."""
    columns = {name: np.broadcast_to(np.array(value, object), Z.shape) for name, value in fields.items()}
    keep = np.ones(Z.shape, bool) if keep is None else keep
    numbers = np.flatnonzero(keep)
    made = [
        BLANK._replace(source=Source(str(i)), **{name: column[i] for name, column in columns.items()}) for i in numbers
    ]
    return made, Z[numbers]


def without(*places: tuple[int, int]) -> np.ndarray:
    return ~np.isin(Z * TIMES + T, [z * TIMES + t for z, t in places])


LOST = without((0, 0), (2, 5))
SLICES_FASTEST, TIMES_FASTEST = T * SLICES + Z + 1, Z * TIMES + T + 1


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("TemporalPositionIdentifier", {"temporal_position": T + 1}),
        ("AcquisitionNumber", {"acquisition_number": T + 7}),
        ("TriggerTime", {"trigger_time_ms": 1500.0 * T, "acquisition_number": 1}),
        ("InstanceNumber, slices fastest", {"instance_number": SLICES_FASTEST}),
        (
            "InstanceNumber, slices fastest",
            {"instance_number": T * SLICES + np.array([0, 2, 1, 3])[Z] + 1},
        ),  # interleaved
        ("InstanceNumber, times fastest", {"instance_number": TIMES_FASTEST}),
    ],
)
def test_a_hole_stays_a_hole_under_every_key(key, fields):
    frames, z = frames_with(LOST, **fields)
    order = order_in_time(frames, z, SLICES)
    assert (order.key, order.count) == (key, TIMES)
    np.testing.assert_array_equal(order.index, T[LOST])


def test_a_whole_lost_time_point_stays_a_gap():
    keep = T != 4
    for fields in ({"temporal_position": T + 1}, {"trigger_time_ms": 1500.0 * T}, {"instance_number": SLICES_FASTEST}):
        frames, z = frames_with(keep, **fields)
        order = order_in_time(frames, z, SLICES)
        assert order.count == TIMES
        np.testing.assert_array_equal(order.index, T[keep])


def test_times_lost_at_the_end_are_known_where_the_header_declares_their_number():
    frames, z = frames_with(T < 9, temporal_position=T + 1, temporal_positions=TIMES)
    assert order_in_time(frames, z, SLICES).count == TIMES


def test_a_trigger_time_of_its_own_for_every_image_is_not_a_time_key():
    frames, z = frames_with(trigger_time_ms=100.0 * SLICES_FASTEST, instance_number=SLICES_FASTEST)
    order = order_in_time(frames, z, SLICES)
    assert order.key == "InstanceNumber, slices fastest"


def test_values_that_repeat_at_a_slice_are_not_a_time_key():
    frames, z = frames_with(temporal_position=T // 2 + 1, temporal_positions=5, instance_number=SLICES_FASTEST)
    order = order_in_time(frames, z, SLICES)
    assert order.key == "InstanceNumber, slices fastest"
    assert order.warnings == ("the header declares 5 time points, 10 are there",)


def test_two_keys_that_contradict_each_other_are_refused_by_name():
    frames, z = frames_with(temporal_position=T + 1, instance_number=(TIMES - T) * SLICES + Z)
    with pytest.raises(DicomError, match=r"TemporalPositionIdentifier and InstanceNumber order .* differently"):
        order_in_time(frames, z, SLICES)


def test_ranks_are_used_only_where_every_slice_has_as_many_images():
    rng = np.random.default_rng(0)
    odd = 3 * TIMES_FASTEST + rng.integers(0, 2, Z.shape)  # anonymised: ascending, but no lattice
    frames, z = frames_with(instance_number=odd)
    order = order_in_time(frames, z, SLICES)
    np.testing.assert_array_equal(order.index, T)
    assert "ranks of InstanceNumber" in order.warnings[0]
    frames, z = frames_with(LOST, instance_number=odd)
    with pytest.raises(DicomError, match="from 9 to 10 images each"):
        order_in_time(frames, z, SLICES)


def test_acquisition_time_alone_orders_only_a_complete_series():
    frames, z = frames_with(acquired_s=1.5 * T)
    assert order_in_time(frames, z, SLICES).key == "AcquisitionTime"
    frames, z = frames_with(LOST, acquired_s=1.5 * T)
    with pytest.raises(DicomError):
        order_in_time(frames, z, SLICES)


def test_one_image_a_slice_needs_no_key():
    frames, z = frames_with(T == 0)
    assert order_in_time(frames, z, SLICES).count == 1


def test_frame_times_come_from_the_first_value_that_tells_frames_apart():
    late = {"temporal_position": T + 1, "repetition_time_ms": 1400.0}
    for fields, source in (
        ({"acquired_s": 36000 + 1.5 * T + 0.1 * Z}, "AcquisitionTime"),
        ({"acquired_s": 36000.0, "trigger_time_ms": 1500.0 * T}, "TriggerTime"),
        ({"temporal_resolution_ms": 1500.0}, "TemporalResolution"),
    ):
        frames, z = frames_with(T != 3, **late, **fields)
        order = order_in_time(frames, z, SLICES)
        times_s, name = frame_times_s(frames, order)
        assert name == source
        np.testing.assert_allclose(times_s, 1.5 * np.arange(TIMES), atol=1e-5)
    frames, z = frames_with(**late)
    times_s, name = frame_times_s(frames, order_in_time(frames, z, SLICES))
    assert name == "RepetitionTime"
    np.testing.assert_allclose(times_s, 1.4 * np.arange(TIMES))
