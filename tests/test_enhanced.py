"""Objects of many frames: shared and own functional groups, dimensions, converted legacy objects, maps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from tests.dicom_dev import scan
from tests.dicom_files import one_image, read_all, read_folder, saved
from tmax_jax.dicom.assemble import read_stored, to_real
from tmax_jax.dicom.frame_times import frame_times_s
from tmax_jax.dicom.header import DamagedError, DicomError
from tmax_jax.dicom.series import Overrides, Series, is_tmax, order_series

SLICES, TIMES = 3, 4
STORED = np.arange(SLICES * TIMES * 6, dtype=np.uint16).reshape(SLICES, TIMES, 2, 3)


def item(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def group(**sequences: Dataset) -> Dataset:
    return item(**{keyword: Sequence([content]) for keyword, content in sequences.items()})


def code(value: str, scheme: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def enhanced(
    places: list[tuple[int, int]], content: Callable[[int, int], dict] | None = None, *, times_in_file: bool = True
) -> Dataset:
    """Makes an object whose frames lie at (slice, time); `content` adds to the frame content of each."""
    dataset = one_image()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.4.1")
    for keyword in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "RescaleSlope",
        "AcquisitionTime",
    ):
        delattr(dataset, keyword)
    for keyword in ("RescaleIntercept", "TemporalPositionIdentifier", "NumberOfTemporalPositions", "TriggerTime"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(places)
    dataset.PixelData = b"".join(STORED[z, t].tobytes() for z, t in places)
    dataset.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
                PixelMeasuresSequence=item(PixelSpacing=[2, 1.5], SliceThickness=5),
                PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=0, RescaleType="US"),
            )
        ]
    )
    frames = []
    for z, t in places:
        values = (
            content(z, t) if content else {"TemporalPositionIndex": t + 1, "DimensionIndexValues": [1, z + 1, t + 1]}
        )
        frames.append(
            group(
                FrameContentSequence=item(**values),
                PlanePositionSequence=item(ImagePositionPatient=[0, 0, 5.0 * z]),
            )
        )
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dataset


def lattice(order: str = "zt") -> list[tuple[int, int]]:
    places = [(z, t) for z in range(SLICES) for t in range(TIMES)]
    return places if order == "zt" else sorted(places, key=lambda place: place[::-1])


def ordered(path: Path) -> Series:
    return order_series(read_all(path))


def assert_in_place(series: Series) -> None:
    stored, inserted, damaged = read_stored(series)
    np.testing.assert_array_equal(stored, STORED.transpose(0, 2, 3, 1))
    assert not inserted.any()
    assert not damaged


@pytest.mark.parametrize("order", ["zt", "tz"])
def test_frames_lie_where_their_index_says_in_whatever_order_they_are_stored(tmp_path, order):
    series = ordered(saved(tmp_path, enhanced(lattice(order))))
    assert series.time.key == "TemporalPositionIndex"
    assert_in_place(series)
    values, scale, _ = to_real(series, *read_stored(series)[:2])
    np.testing.assert_array_equal(values * scale, 2 * STORED.transpose(0, 2, 3, 1))


def test_a_frames_own_groups_win_over_shared_ones(tmp_path):
    dataset = enhanced(lattice())
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame.PixelValueTransformationSequence = Sequence([item(RescaleSlope=number + 0.5, RescaleIntercept=-1)])
    series = ordered(saved(tmp_path, dataset))
    values, _, _ = to_real(series, *read_stored(series)[:2])
    slopes = np.arange(SLICES * TIMES).reshape(SLICES, 1, 1, TIMES) + 0.5
    np.testing.assert_allclose(values, STORED.transpose(0, 2, 3, 1) * slopes - 1, rtol=1e-6)
    assert values.dtype == np.float32


def test_without_any_index_the_frames_are_counted_through_the_lattice(tmp_path):
    for order, key in (("zt", "times fastest"), ("tz", "slices fastest")):
        series = ordered(saved(tmp_path, enhanced(lattice(order), lambda z, t: {"StackID": "1"})))
        assert series.time.key == f"InstanceNumber of the frame in its object, {key}"
        assert_in_place(series)


def test_a_time_that_only_the_dimension_index_tells(tmp_path):
    dataset = enhanced(lattice("tz"), lambda z, t: {"DimensionIndexValues": [1, z + 1, t + 1]})
    pointers = (0x00209056, 0x00209057, 0x00189151)  # stack, place in it, frame reference date and time
    dataset.DimensionIndexSequence = Sequence([item(DimensionIndexPointer=pointer) for pointer in pointers])
    series = ordered(saved(tmp_path, dataset))
    assert series.time.key == "DimensionIndexValues (FrameReferenceDateTime)"
    assert_in_place(series)


def test_a_second_dimension_is_refused_unless_it_is_named(tmp_path):
    def content(z: int, t: int) -> dict:
        return {"TemporalPositionIndex": t // 2 + 1, "DimensionIndexValues": [1, z + 1, t // 2 + 1, t % 2 + 1]}

    path = saved(tmp_path, enhanced(lattice(), content))
    with pytest.raises(DicomError, match=r"differ in several dimensions: number 3 \(2 values\), number 4 \(2 values\)"):
        ordered(path)
    frames = read_all(path)
    labelled = [frame._replace(label="CONTROL" if frame.dimension_index[3] == 1 else "LABEL") for frame in frames]
    series = order_series(labelled)
    assert series.time.key == "TemporalPositionIndex, then label"
    assert "images are of CONTROL and LABEL, interleaved in time" in series.findings
    assert_in_place(series)


@pytest.mark.parametrize("order", ["zt", "tz"])
@pytest.mark.parametrize("indexed", [True, False])
def test_the_parts_of_an_object_that_was_split_count_their_frames_together(tmp_path, order, indexed):
    places, cut = lattice(order), 5
    for number, part in enumerate((places[:cut], places[cut:])):
        dataset = enhanced(part, None if indexed else lambda z, t: {"StackID": "1"})
        dataset.ConcatenationUID, dataset.InConcatenationNumber = "1.2.9", number + 1
        dataset.ConcatenationFrameOffsetNumber, dataset.SOPInstanceUID = number * cut, f"1.2.9.{number}"
        dataset.save_as(tmp_path / f"part{number}")
    assert_in_place(order_series(read_folder(tmp_path)))


def test_an_object_a_slice_counts_times_by_its_frames(tmp_path):
    for z in range(SLICES):
        dataset = enhanced([(z, t) for t in range(TIMES)], lambda z, t: {"StackID": "1"})
        dataset.SOPInstanceUID = f"1.2.{z}"
        dataset.save_as(tmp_path / f"object{z}")
    series = order_series(read_folder(tmp_path))
    assert series.time.key == "frame of an object a slice"
    assert_in_place(series)


def test_an_offset_in_time_orders_frames_and_is_their_time(tmp_path):
    dataset = enhanced(lattice(), lambda z, t: {"StackID": "1"})
    for (_, t), frame in zip(lattice(), dataset.PerFrameFunctionalGroupsSequence, strict=True):
        frame.TemporalPositionSequence = Sequence([item(TemporalPositionTimeOffset=1.7 * t)])
    series = ordered(saved(tmp_path, dataset))
    assert series.time.key == "TriggerTime"
    assert_in_place(series)
    np.testing.assert_allclose(frame_times_s(series.frames, series.time)[0], 1.7 * np.arange(TIMES))


@pytest.mark.parametrize("lost", [[0], [5], [11], [2, 7]])
def test_frames_that_a_cut_off_object_lacks_are_holes_where_they_belong(tmp_path, lost):
    kept = [place for number, place in enumerate(lattice("tz")) if number not in lost]
    series = order_series(ordered(saved(tmp_path, enhanced(kept))).frames, Overrides(time_key="TemporalPosition"))
    missing = {place for number, place in enumerate(lattice("tz")) if number in lost}
    assert set(series.holes()) == missing
    stored, _, _ = read_stored(series)
    for z, t in kept:
        np.testing.assert_array_equal(stored[z, :, :, t], STORED[z, t])


def test_one_object_a_time_with_one_lost_keeps_its_gap(tmp_path):
    for t in (0, 2, 3):
        dataset = enhanced([(z, t) for z in range(SLICES)], lambda z, t: {"StackID": "1"})
        dataset.InstanceNumber, dataset.SOPInstanceUID = t + 1, f"1.2.{t}"
        dataset.save_as(tmp_path / f"object{t}")
    three_of_four = Overrides(time_key="InstanceNumber")  # fill less than a lattice must
    series = order_series(read_folder(tmp_path), three_of_four)
    assert series.time.key == "InstanceNumber"
    assert series.time.index.tolist() == [0] * 3 + [2] * 3 + [3] * 3
    assert series.holes() == [(0, 1), (1, 1), (2, 1)]


def test_a_converted_legacy_object_keeps_its_classic_numbers(tmp_path):
    dataset = enhanced(lattice("tz"), lambda z, t: {"StackID": "1"})
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.4.4")
    for (_, t), frame in zip(lattice("tz"), dataset.PerFrameFunctionalGroupsSequence, strict=True):
        legacy = item(TemporalPositionIdentifier=t + 1, EchoTime=30, AcquisitionTime=f"1000{2 * t:02d}")
        frame.UnassignedPerFrameConvertedAttributesSequence = Sequence([legacy])
    series = ordered(saved(tmp_path, dataset))
    assert series.time.key == "TemporalPositionIdentifier"
    assert series.frames[0].echo_time_ms == 30
    assert_in_place(series)


def test_frames_that_are_not_described_or_not_there_are_named(tmp_path):
    dataset = enhanced(lattice())
    dataset.NumberOfFrames = 2**30
    with pytest.raises(DamagedError, match="NumberOfFrames is 1073741824, it describes 12"):
        ordered(saved(tmp_path, dataset))
    dataset.NumberOfFrames = len(lattice())
    dataset.PixelData = dataset.PixelData[:-2]
    with pytest.raises(DamagedError, match="frame 1: 142 bytes of pixel data, 144 wanted"):
        ordered(saved(tmp_path, dataset))
    dataset = enhanced(lattice())
    del dataset.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    with pytest.raises(DamagedError, match="frame 5: no ImagePositionPatient"):
        ordered(saved(tmp_path, dataset))


def parametric_map(values: np.ndarray) -> Dataset:
    dataset = enhanced([(z, 0) for z in range(SLICES)], lambda z, t: {"DimensionIndexValues": [z + 1]})
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.30")
    del dataset.PixelData
    setattr(dataset, "FloatPixelData" if values.dtype == np.float32 else "DoubleFloatPixelData", values.tobytes())
    dataset.BitsAllocated = 8 * values.itemsize
    quantity = item(
        ValueType="CODE",
        ConceptNameCodeSequence=Sequence([code("G-C1C6", "SRT", "Quantity")]),
        ConceptCodeSequence=Sequence([code("113084", "DCM", "Tmax")]),
    )
    mapping = item(
        RealWorldValueSlope=1.0,
        RealWorldValueIntercept=0.0,
        LUTLabel="1",
        MeasurementUnitsCodeSequence=Sequence([code("s", "UCUM", "second")]),
        QuantityDefinitionSequence=Sequence([quantity]),
    )
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = Sequence([mapping])
    del shared.PixelValueTransformationSequence
    dataset.SeriesDescription = "result"
    return dataset


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_parametric_map_is_a_map_with_its_quantity_and_unit(tmp_path, dtype):
    values = (np.arange(18).reshape(SLICES, 2, 3) / 7).astype(dtype)
    values[0, 0, 0] = np.nan
    series = ordered(saved(tmp_path, parametric_map(values)))
    assert is_tmax(series)
    assert (series.frames[0].kind, series.frames[0].real_world) == ("parametric map", (1.0, 0.0, "s"))
    stored, inserted, _ = read_stored(series)
    real, _, not_finite = to_real(series, stored, inserted, prefer_real_world=True)
    assert (real.dtype, not_finite) == (np.float32, 1)
    np.testing.assert_allclose(real[..., 0].ravel()[1:], values.ravel()[1:], rtol=1e-6)


def test_slopes_inside_the_functional_groups_make_the_map_of_a_real_scan():
    series = order_series(read_folder(scan("siemens_xa30_enh_derived_relCBF")[0]))
    values, _, _ = to_real(series, *read_stored(series)[:2])
    frame = series.frames[0]
    assert (frame.pixels.slope, frame.pixels.intercept) == pytest.approx((2.00024, -4096), abs=1e-4)
    stored, _, _ = read_stored(series)
    expected = stored * frame.pixels.slope - 4096.0
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-3)
