"""Nothing that happens to files moves an image: lost, shuffled, renamed, nested; and noise raises no foreign error."""

import functools
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dicom_dev import scan
from tests.dicom_files import read_folder
from tests.test_inspect import FOUR_D
from tmax_jax.cohort.reading import TooFewError, check_missing, describe_holes
from tmax_jax.cohort.select import Rules
from tmax_jax.dicom.header import DicomError, Frame
from tmax_jax.dicom.pixels import read_pixels
from tmax_jax.dicom.readers import read_sources
from tmax_jax.dicom.series import Series, order_series

OF_MANY_FILES = [name for name in FOUR_D if not name.startswith("philips_enh")]
UNDECLARED = ("siemens_mosaic_FH_36x6", "siemens_mosaic_HF_36x6", "siemens_classic_dynamic_3x3")  # T is in no header


@functools.cache
def frames_of(name: str) -> tuple[Frame, ...]:
    return tuple(read_folder(scan(name)[0]))


def places(series: Series) -> dict[tuple[str, tuple[int, int], int | None], tuple[int, int]]:
    return {
        (frame.source.path, frame.pixels.corner, frame.frame_number): (int(z), int(t))
        for frame, z, t in zip(series.frames, series.z, series.time.index, strict=True)
    }


@functools.cache
def places_of(name: str) -> dict[tuple[str, tuple[int, int], int | None], tuple[int, int]]:
    return places(order_series(frames_of(name)))


def without(name: str, fraction: float, seed: int) -> tuple[list[Frame], set[str]]:
    files = sorted({frame.source.path for frame in frames_of(name)})
    rng = np.random.default_rng(seed)
    lost = {files[i] for i in rng.choice(len(files), math.ceil(fraction * len(files)), replace=False)}
    rest = [frame for frame in frames_of(name) if frame.source.path not in lost]
    rng.shuffle(rest)  # pyright: ignore[reportArgumentType] (a list)
    return rest, lost


@pytest.mark.parametrize("name", OF_MANY_FILES)
@pytest.mark.parametrize("fraction", [0.01, 0.02, 0.05])
def test_lost_files_move_no_image_that_is_left(name, fraction):
    whole = places_of(name)
    for seed in range(20):
        rest, lost = without(name, fraction, seed)
        series = order_series(rest)
        assert places(series) == {key: place for key, place in whole.items() if key[0] not in lost}
        gone = {place for key, place in whole.items() if key[0] in lost}
        beyond = {place for place in gone if place[1] >= series.time.count}
        assert set(series.holes()) == gone - beyond
        assert not beyond or name in UNDECLARED


@pytest.mark.parametrize("name", OF_MANY_FILES)
def test_six_percent_lost_is_too_much_and_counted(name):
    total = len(frames_of(name))
    for seed in range(20):
        rest, _ = without(name, 0.06, seed)
        series = order_series(rest)
        if name in UNDECLARED and series.expected < total:
            continue  # the last time was lost whole, and no header tells that it was there
        with pytest.raises(TooFewError) as raised:
            check_missing(~series.there(), series.slices, Rules())
        numbers, where = raised.value.notes
        assert numbers.startswith(f"{total - len(rest)} of {total} perfusion images missing")
        assert where.startswith(f"missing: {describe_holes(~series.there(), series.slices)}")
        check_missing(~series.there(), series.slices, Rules(max_missing=0.5))


@given(seed=st.integers(0, 2**32 - 1), lost=st.integers(0, 7), names=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_shuffled_renamed_nested_and_thinned_series_keep_every_place(seed, lost, names):
    name = "ge_classic_instanceonly_15x10"
    whole = places_of(name)
    rng = np.random.default_rng(seed)
    kept = rng.permutation(150)[lost:]
    frames = [frames_of(name)[i]._replace(name="/".join(f"{names.getrandbits(16):x}" for _ in range(3))) for i in kept]
    for key, place in places(order_series(frames)).items():
        assert whole[key] == place


def test_renamed_nested_files_without_extensions_are_the_same_bits(tmp_path):
    folder = scan("philips_classic_timefastest_9x3")[0]
    rng = np.random.default_rng(5)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = tmp_path / f"Sub{rng.integers(3)}" / f"{rng.integers(3)}" / f"{rng.integers(2**40):X}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    first, second = (order_series(read_folder(each)) for each in (folder, tmp_path))
    pixels = [
        {
            (int(z), int(t)): read_pixels(frame).tobytes()
            for frame, z, t in zip(s.frames, s.z, s.time.index, strict=True)
        }
        for s in (first, second)
    ]
    assert pixels[0] == pixels[1]


@functools.cache
def sample(name: str) -> bytes:
    folder = scan(name)[0]
    return next(path for path in sorted(folder.rglob("*")) if path.is_file()).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "philips_classic_timefastest_9x3",
        "siemens_classic_dynamic_3x3",
        "siemens_xa30_enh_asl_12x7",
        "siemens_mosaic_FH_36x6",
        "generic_compressed_jpegls",
        "generic_compressed_rle",
    ],
)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_mutated_headers_raise_only_the_projects_own_errors(name, data):
    mutated = bytearray(sample(name))
    header = min(len(mutated), 20_000)
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(132, header - 1), st.integers(0, 255)), min_size=1, max_size=40)
    ):
        mutated[place] = value
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(mutated))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated"
        path.write_bytes(mutated[:cut])
        frames = [found for found in read_sources(path, "mutated") if not isinstance(found, DicomError)]
        try:
            for frame in frames[:3]:
                assert read_pixels(frame).shape == frame.shape
            if frames:
                order_series(frames)
        except DicomError as error:
            assert str(error)  # noqa: PT017 (any of the project's own is right)
