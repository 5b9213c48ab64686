"""Pixels to one array: every type and rescale, in the smallest type that loses nothing."""

import numpy as np
import pytest

from tests.dicom_dev import scan
from tests.dicom_files import one_image, read_all, read_folder
from tmax_jax.dicom import assemble
from tmax_jax.dicom.assemble import read_stored, rescale, to_real
from tmax_jax.dicom.header import DicomError
from tmax_jax.dicom.series import order_series

RAMP = np.arange(-4, 8).reshape(1, 2, 2, 3)


def rescaled(stored: np.ndarray, slope: object, intercept: object = 0.0) -> tuple[np.ndarray, float, int]:
    return rescale(stored, np.array(slope, float), np.array(intercept, float))


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype", "scale"),
    [
        (RAMP.astype(np.int16), 1, 0, np.int16, 1),
        (RAMP.astype(np.int32), 1, 0, np.int16, 1),
        (abs(RAMP).astype(np.uint16), 1, 0, np.uint16, 1),
        (abs(RAMP).astype(np.uint32) + 2**31, 1, 0, np.float32, 1),
        (RAMP.astype(np.int16), 3, -7, np.int16, 1),
        (RAMP.astype(np.int16), 10_000, 0, np.int32, 1),
        (abs(RAMP).astype(np.uint8), 6000, 0, np.uint16, 1),
        (RAMP.astype(np.int16), 1.25, 0, np.int16, 1.25),
        (RAMP.astype(np.int32), 1.25, 0, np.int16, 1.25),
        (RAMP.astype(np.int16), 1.25, 1, np.float32, 1),
        (RAMP.astype(np.int16), 1e9, 0, np.float32, 1),
    ],
)
def test_values_are_real_in_the_smallest_type_that_holds_them(stored, slope, intercept, dtype, scale):
    values, factor, not_finite = rescaled(stored, slope, intercept)
    assert (values.dtype, factor, not_finite) == (dtype, scale, 0)
    np.testing.assert_allclose(values * factor, stored.astype(float) * slope + intercept, rtol=1e-6)


def test_slopes_of_their_own_make_floats_and_whole_ones_integers():
    stored = np.ones((2, 2, 2, 3), np.uint16)
    slopes = np.array([[1, 2, 3], [4, 5, 6.0]])[:, None, None]
    for factor, dtype in ((1, np.int16), (0.5, np.float32)):
        values, scale, _ = rescaled(stored, slopes * factor)
        assert (values.dtype, scale) == (dtype, 1)
        np.testing.assert_array_equal(values[:, 0, 0], slopes[:, 0, 0] * factor)


def test_what_is_not_finite_or_overflows_a_float_is_zero_and_counted():
    stored = np.array([[[[1.0, np.nan, np.inf, 1e300]]]])
    values, _, not_finite = rescaled(stored, 2)
    assert (values.tolist(), not_finite) == ([[[[2.0, 0.0, 0.0, 0.0]]]], 3)


def test_padding_and_missing_images_are_real_zeros_whatever_the_intercept(tmp_path):
    for number, position in enumerate([1, 2, 3, 5, 6]):
        dataset = one_image()
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.PixelPaddingValue = 2, -10, 7
        dataset.TemporalPositionIdentifier = dataset.InstanceNumber = position
        dataset.SOPInstanceUID = f"1.2.{number}"
        dataset.save_as(tmp_path / f"{number}")
    series = order_series(read_folder(tmp_path))
    stored, inserted, _ = read_stored(series)
    values, scale, _ = to_real(series, stored, inserted)
    assert inserted.tolist() == [[False, False, False, True, False, False]]
    assert (values[0, 0, 0] * scale).tolist() == [-10, -10, -10, 0, -10, -10]
    assert not values[0, 1, 2].any()  # 7 is padding


def test_a_series_larger_than_memory_allows_is_refused_before_any_is_taken(monkeypatch):
    series = order_series(read_folder(scan("siemens_classic_dynamic_3x3")[0]))
    monkeypatch.setattr(assemble, "MAX_VOXELS", 1000)
    with pytest.raises(DicomError, match="up to 1000 are read"):
        read_stored(series)


def test_files_that_vanished_are_missing_images_unless_all_did(tmp_path):
    for number in range(2):
        dataset = one_image()
        dataset.TemporalPositionIdentifier = dataset.InstanceNumber = number + 1
        dataset.SOPInstanceUID = f"1.2.{number}"
        dataset.save_as(tmp_path / f"{number}")
    series = order_series([frame for path in sorted(tmp_path.iterdir()) for frame in read_all(path)])
    (tmp_path / "1").unlink()
    _, inserted, damaged = read_stored(series)
    assert inserted.tolist() == [[False, True]]
    assert damaged == ["1: its pixel data cannot be read (FileNotFoundError)"]
    (tmp_path / "0").unlink()
    with pytest.raises(DicomError, match="no image of the series"):
        read_stored(series)
