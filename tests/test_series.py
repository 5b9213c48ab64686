"""Real scans of three vendors become the arrays that an independent converter makes of them, holes or not."""

import hashlib

import numpy as np
import pytest

from tests.dicom_dev import scan
from tests.dicom_files import read_folder as read
from tmax_jax.dicom.assemble import read_stored, to_real
from tmax_jax.dicom.geometry import affine_ras
from tmax_jax.dicom.header import DicomError
from tmax_jax.dicom.pixels import read_pixels
from tmax_jax.dicom.series import Overrides, Series, extend_slices, is_tmax, order_series, split_series

CLASSIC = (
    "ge_classic_instanceonly_15x10",
    "ge_classic_multiphase_desc_10x10",
    "philips_classic_1903_40x6",
    "philips_classic_pcasl_16x60",
    "philips_classic_timefastest_9x3",
    "siemens_classic_dynamic_3x3",
    "generic_rescale_nonsquare",
    "generic_compressed_rle",
    "generic_compressed_j2k",
)


def assemble(series: Series) -> tuple[np.ndarray, np.ndarray, list[str]]:
    stored, inserted, damaged = read_stored(series)
    values, scale, _ = to_real(series, stored, inserted)
    return values if scale == 1 else np.multiply(values, scale, dtype=np.float32), inserted, damaged


def stored_array(series: Series) -> np.ndarray:
    """Stored values in the reference's layout: rows, columns, slices, time."""
    first = read_pixels(series.frames[0])
    stored = np.zeros((*first.shape, series.grid.count, series.time.count), first.dtype)
    for frame, z, t in zip(series.frames, series.z, series.time.index, strict=True):
        stored[:, :, z, t] = read_pixels(frame)
    return stored


@pytest.mark.parametrize("name", CLASSIC)
def test_every_image_is_at_the_slice_and_time_where_the_reference_has_it(name):
    folder, reference = scan(name)
    series = order_series(read(folder))
    layout = reference["dicom_layout"]
    stored = stored_array(series)
    assert list(stored.shape) == layout["shape"]
    assert hashlib.sha256(np.ascontiguousarray(stored).tobytes()).hexdigest() == layout["sha256"]
    by_row_column_slice = affine_ras(series.frames[0], series.grid)[:, [1, 2, 0, 3]]
    np.testing.assert_allclose(by_row_column_slice, layout["affine_RAS_of_(row,col,slice)"], atol=1e-3)


@pytest.mark.parametrize("name", CLASSIC[:5])
@pytest.mark.parametrize("seed", range(4))
def test_a_missing_file_leaves_a_hole_and_moves_nothing(name, seed):
    folder, _ = scan(name)
    frames = read(folder)
    whole = stored_array(order_series(frames))
    rng = np.random.default_rng(seed)
    lost = rng.choice(len(frames), max(1, round(0.05 * len(frames))), replace=False)
    rng.shuffle(rest := [frame for number, frame in enumerate(frames) if number not in lost])
    series = order_series(rest)
    assert series.time.count == whole.shape[3]
    with_holes = stored_array(series)
    there = np.zeros(whole.shape[2:], bool)
    there[series.z, series.time.index] = True
    assert (~there).sum() == len(lost)
    np.testing.assert_array_equal(with_holes[:, :, there], whole[:, :, there])
    assert not with_holes[:, :, ~there].any()


def test_inserted_images_are_zero_after_rescale_and_marked(tmp_path):
    folder, _ = scan("philips_classic_timefastest_9x3")
    frames = read(folder)
    gone = frames.pop(10)
    series = order_series(frames)
    values, inserted, damaged = assemble(series)
    assert (values.dtype, values.shape, damaged) == (np.float32, (9, 64, 64, 3), [])
    assert inserted.sum() == 1
    z, t = np.argwhere(inserted)[0]
    assert not values[z, :, :, t].any()
    whole, _, _ = assemble(order_series([*frames, gone]))
    np.testing.assert_allclose(whole[z, :, :, t], read_pixels(gone) * gone.pixels.slope, rtol=1e-6)


def test_an_integer_scanner_stays_integer():
    folder, _ = scan("ge_classic_instanceonly_15x10")
    values, _, _ = assemble(order_series(read(folder)))
    assert values.dtype == np.int16


def test_frame_slopes_are_applied_one_by_one():
    folder, _ = scan("generic_rescale_nonsquare")
    series = order_series(read(folder))
    assert len({frame.pixels.slope for frame in series.frames}) == 4
    values, _, _ = assemble(series)
    for frame, z in zip(series.frames, series.z, strict=True):
        expected = read_pixels(frame) * frame.pixels.slope + frame.pixels.intercept
        np.testing.assert_allclose(values[z, :, :, 0], expected, rtol=1e-5)


def test_label_and_control_images_are_named_not_flattened_unnoticed():
    folder, _ = scan("philips_classic_1903_40x6")
    findings = " ".join(order_series(read(folder)).findings)
    assert "CONTROL and LABEL, interleaved" in findings
    assert "declares 3 time points, 6 are there" in findings


def test_a_slice_lost_at_the_end_comes_back_as_room_from_the_maps_geometry():
    folder, _ = scan("philips_classic_timefastest_9x3")
    frames = read(folder)
    whole = order_series(frames)
    for edge in (0, 8):
        series = order_series([frame for frame, z in zip(whole.frames, whole.z, strict=True) if z != edge])
        assert series.grid.count == 8
        extended = extend_slices(series, [frame for frame, t in zip(frames, whole.time.index, strict=True) if t == 0])
        assert extended.grid.count == 9
        np.testing.assert_allclose(affine_ras(frames[0], extended.grid), affine_ras(frames[0], whole.grid), atol=1e-3)
        assert edge not in extended.z


def test_a_missing_inner_slice_is_a_gap_not_another_spacing():
    folder, _ = scan("ge_classic_instanceonly_15x10")
    frames = read(folder)
    whole = order_series(frames)
    series = order_series([frame for frame, z in zip(whole.frames, whole.z, strict=True) if z != 7])
    assert series.grid.count == 15
    assert series.grid.gap_mm == pytest.approx(whole.grid.gap_mm)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("echo_time_ms", 60.0, "echo time"),
        ("flip_angle_deg", 12.0, "flip angle"),
        ("shape", (32, 32), "matrix"),
        ("orientation", (0.0, 1.0, 0.0, 0.0, 0.0, -1.0), "image orientation"),
    ],
)
def test_images_of_two_kinds_in_one_series_are_refused_by_name(field, value, named):
    folder, _ = scan("philips_classic_timefastest_9x3")
    frames = read(folder)
    frames[3] = frames[3]._replace(**{field: value})
    with pytest.raises(DicomError, match=named):
        order_series(frames)


def test_a_file_copied_twice_counts_once_and_a_changed_copy_is_refused():
    folder, _ = scan("philips_classic_timefastest_9x3")
    frames = read(folder)
    series = order_series([*frames, frames[0]._replace(name="copy")])
    assert len(series.frames) == 27
    assert "1 repeated images left out" in series.findings
    changed = frames[0]._replace(name="changed", source=frames[1].source, pixels=frames[1].pixels)
    with pytest.raises(DicomError, match="and changed claim to be one image but differ"):
        order_series([*frames, changed])


def test_slices_that_are_not_evenly_spaced_are_refused():
    folder, _ = scan("philips_classic_timefastest_9x3")
    frames = read(folder)
    x, y, z = frames[5].position_mm
    frames[5] = frames[5]._replace(position_mm=(x, y, z + 3.0))
    with pytest.raises(DicomError, match="not evenly spaced"):
        order_series(frames)


def test_series_are_split_by_their_uid_and_named_by_their_headers():
    folder, _ = scan("philips_classic_timefastest_9x3")
    frames = read(folder)
    others = [frame._replace(series_uid="1.2") for frame in frames[:9]]
    assert sorted(map(len, split_series(frames + others))) == [9, 27]
    one_time = [frame for frame in frames if frame.temporal_position == 1]
    assert not is_tmax(order_series(one_time))
    assert is_tmax(order_series([frame._replace(description="rapid_TMax") for frame in one_time]))
    assert not is_tmax(order_series([frame._replace(description="Tmax source") for frame in frames]))


@pytest.mark.parametrize("n_times", [0, 3])
def test_row_04_an_absurd_number_of_times_takes_no_memory_and_can_be_overridden(n_times):
    frames = [frame._replace(temporal_positions=2.0**31) for frame in read(scan("philips_classic_timefastest_9x3")[0])]
    if n_times:
        assert order_series(frames, Overrides(n_times=n_times)).expected == 27
        return
    with pytest.raises(DicomError, match="claim 2147483648 time points of 9 slices, and 27 images are there"):
        order_series(frames)
