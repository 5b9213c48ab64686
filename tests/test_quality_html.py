"""The page on quality: what a reader sees of hand-made records, and what never reaches it."""

from typing import Any

import pytest

from tmax_jax.cohort.quality_html import COLUMNS, page_html
from tmax_jax.cohort.reading import Outcome


def record(
    case: str, *, findings: tuple[tuple[str, str], ...] = (), data: str = "real", **numbers: Any
) -> dict[str, Any]:
    return {
        "case": case,
        "data": data,
        "vendor": "<b>Acme</b>",
        "shape": [2, 16, 16, 40],
        "spacing_mm": [5.0, 1.8, 1.8],
        "frame_interval_s": 1.5,
        "numbers": {column.name: 1.0 for column in COLUMNS} | {"missing_images": 0} | numbers,
        "findings": list(findings),
        "pictures": {"baseline": "data:,a", "peak": "data:,b", "curve": "<svg></svg>"},
    }


def test_a_finding_reddens_its_number_and_is_said_in_words():
    page = page_html([record("case-0001", findings=(("motion_mm", "motion of 3 mm"),), motion_mm=3.04)], [], "c.zarr")
    assert '<td class="number bad" data-value="3.04">3.0</td>' in page
    assert "<li>motion of 3 mm</li>" in page
    assert page.count('class="number bad"') == 1


def test_a_number_that_could_not_be_measured_is_a_dash_and_nothing_is_minus_zero():
    page = page_html([record("case-0001", snr=None, drift_percent=-0.01)], [], "c.zarr")
    assert '<td class="number" data-value="">–</td>' in page
    assert '<td class="number" data-value="-0.01">0.0</td>' in page


def test_text_of_headers_and_names_is_no_markup():
    page = page_html([record("case-0001")], [], "<i>c.zarr")
    assert "<b>Acme</b>" not in page
    assert "&lt;b&gt;Acme&lt;/b&gt;" in page
    assert "<i>c.zarr" not in page


def test_patients_that_were_not_converted_are_counted_with_their_share_and_without_reasons():
    outcomes = [
        Outcome("case-0001", "converted", 80, 80, ()),
        Outcome("case-0002", "dropped", 68, 80, ("Doe^Jane/IM1 is cut",)),
        Outcome("case-0003", "refused", 5, 0, ("Doe^Jane/IM2 is cut",)),
        Outcome("case-0004", "gone", 0, 0, ()),
    ]
    page = page_html([record("case-0001")], outcomes, "c.zarr")
    assert "<div><b>2</b>not converted</div>" in page
    assert "<td>68 of 80 images (15.0% missing)</td>" in page
    assert "<td>5 of ? images</td>" in page
    assert "Doe" not in page


@pytest.mark.parametrize(
    ("kinds", "tag"),
    [
        (("phantom",), "phantom data (simulated)"),
        (("real",), ""),
        (("phantom", "real"), "partly phantom data (simulated)"),
    ],
)
def test_simulated_patients_are_never_shown_as_real_ones(kinds, tag):
    page = page_html([record(f"case-{i}", data=kind) for i, kind in enumerate(kinds)], [], "c.zarr")
    assert f'</span><span class="tag">{tag}</span>' in page
