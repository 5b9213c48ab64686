"""The parser of headers: cut anywhere it says so, and layouts that it remembers change nothing."""

from typing import Any

import numpy as np
import pytest

from tests.dicom_dev import scan
from tests.dicom_files import one_image, saved
from tmax_jax.dicom import parser
from tmax_jax.dicom.parser import BrokenError, CutError, parse_elements, parse_meta
from tmax_jax.dicom.tags import WANTED


def outcome(data: bytes) -> tuple[Any, dict[int, Any]]:
    elements: dict = {}
    try:
        return parse_elements(data, parse_meta(data, 132)[0], "<", elements), elements
    except (CutError, BrokenError) as error:
        return type(error), elements


@pytest.fixture(autouse=True)
def _nothing_remembered():
    parser._recent.clear()


def test_the_meta_information_tells_the_syntax_and_where_the_data_set_begins(tmp_path):
    data = saved(tmp_path, one_image(), enforce_file_format=True).read_bytes()
    end, syntax = parse_meta(data, 132)
    assert syntax == "1.2.840.10008.1.2.1"
    assert data[end : end + 2] == b"\x08\0"
    for length in range(140, end):
        with pytest.raises(CutError):
            parse_meta(data[:length], 132)


def test_a_header_cut_at_any_byte_is_cut_and_keeps_what_came_before(tmp_path):
    data = saved(tmp_path, one_image(), enforce_file_format=True).read_bytes()
    start = parse_meta(data, 132)[0]
    mark, whole = outcome(data)
    assert (mark.tag, mark.length) == (0x7FE00010, 12)
    assert whole[WANTED["Rows"][0]] == ("US", b"\x02\0")
    for length in range(start + 1, mark.value):
        found, elements = outcome(data[:length])
        assert found is CutError or found.tag == 0  # between two elements: the end of a header without pixels
        assert elements.items() <= whole.items()


def test_a_remembered_layout_needs_the_same_heads_at_the_same_places(tmp_path):
    first, other = one_image(), one_image()
    other.SeriesDescription = "perf"[::-1]  # as long
    data, alike = (saved(tmp_path, dataset, enforce_file_format=True).read_bytes() for dataset in (first, other))
    assert len(data) == len(alike)
    outcome(data)
    assert outcome(alike)[1][WANTED["SeriesDescription"][0]] == ("LO", b"frep")
    assert len(parser._recent) == 1
    other.SeriesDescription = "a longer one"
    outcome(saved(tmp_path, other, enforce_file_format=True).read_bytes())
    assert len(parser._recent) == 2


@pytest.mark.parametrize(
    "name", ["philips_classic_1903_40x6", "siemens_classic_dynamic_3x3", "siemens_xa30_enh_asl_12x7"]
)
def test_a_remembered_layout_gives_what_reading_anew_gives_or_is_not_used(name):
    path = next(path for path in sorted(scan(name)[0].rglob("*")) if path.is_file())
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    assert outcome(whole) == outcome(whole)
    assert len(parser._recent) == 1
    for _ in range(300):
        mutated = bytearray(whole)
        for place in rng.integers(400, min(len(whole), 12_000), rng.integers(1, 4)):
            mutated[place] = rng.integers(256)
        parser._recent.clear()
        anew = outcome(bytes(mutated))
        parser._recent.clear()
        outcome(whole)
        assert outcome(bytes(mutated)) == anew
