"""The quality page: whole, quick to make again, and silent about who a patient is."""

import csv
import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.perfused_head import head
from tmax_jax.cohort.quality_html import COLUMNS, page_html
from tmax_jax.cohort.quality_page import make_record, write_page
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.store import Case, write_case


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three heads: one without a map, one with missing images and another vendor."""
    whole, bare, gaps = (head(f"case-000{number}", seed=number) for number in (1, 2, 3))
    inserted = gaps.inserted.copy()
    inserted[2, 20:24] = True
    path = tmp_path / "cohort.zarr"
    write_case(path, whole)
    write_case(path, dataclasses.replace(bare, maps={}, attributes=bare.attributes | {"maps": {}}))
    vendor = gaps.attributes | {"vendor": "<script>alert('x')</script>", "nan_count": 3}
    write_case(path, dataclasses.replace(gaps, inserted=inserted, attributes=vendor))
    return path


class Tags(HTMLParser):
    """Counts opened and closed elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        assert self.open.pop() == tag


def test_a_page_has_a_row_a_patient_and_needs_nothing_from_anywhere(store):
    path = write_page(store)
    assert path == store.with_name("cohort.zarr.qc") / "index.html"
    text = path.read_text()
    tags = Tags(text)
    assert not tags.open
    assert text.count("<tr data-findings") == 3
    assert tags.count["img"] == 3 * 3 - 1
    assert not re.search(r'(?:src|href)="(?!data:)|https?://|@import|url\(', text)
    assert "research only, not for diagnosis" in text
    assert "phantom data (simulated)" in text
    for column in COLUMNS:
        assert column.title in text
    assert "no Tmax map: no target to learn" in text
    assert "4 of 720 images missing (0.6%, limit 0)" in text
    assert "3 values of the source were not finite and are 0" in text
    assert '<td class="number bad" data-value="4">4</td>' in text


def test_the_table_of_numbers_is_that_of_the_page(store):
    folder = write_page(store).parent
    with (folder / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["case-0001", "case-0002", "case-0003"]
    assert float(rows[0]["bolus_arrival_s"]) == pytest.approx(15, abs=1.5)
    assert (rows[0]["z"], rows[0]["frames"], rows[0]["frame_interval_s"]) == ("12", "60", "1.5")
    assert rows[0]["findings"] == ""
    assert "no Tmax map" in rows[1]["findings"]
    assert rows[2]["missing_images"] == "4"


def test_text_of_a_header_is_no_markup_and_names_in_the_converters_notes_stay_out(store):
    lost = Outcome("case-0004", "refused", 3, 0, ("Doe^John/IM0001: cut short",))
    folder = write_page(store, [lost, Outcome("case-0001", "converted", 720, 720, ())]).parent
    text = (folder / "index.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "Not converted: 1" in text
    assert "<td>refused</td><td>3 of ? images</td>" in text
    for path in folder.rglob("*"):
        assert path.is_dir() or "Doe" not in path.read_text()


def test_only_cases_that_changed_are_measured_again(store, monkeypatch):
    folder = write_page(store).parent
    stamps = {path.name: path.stat().st_mtime_ns for path in (folder / "cases").iterdir()}
    assert len(stamps) == 3
    changed = head("case-0002", seed=2)
    write_case(store, changed)
    with ThreadPoolExecutor(2) as pool:
        write_page(store, pool=pool)
    again = {path.name: path.stat().st_mtime_ns for path in (folder / "cases").iterdir()}
    assert {name for name in stamps if stamps[name] != again[name]} == {"case-0002.json"}
    monkeypatch.setattr("tmax_jax.cohort.quality_page.measure", None)  # nothing is left to measure
    assert "no Tmax map: no target" not in write_page(store).read_text()


def test_a_mask_unlike_the_others_is_found_when_the_cases_are_joined(store):
    small = head("case-0004")
    write_case(store, dataclasses.replace(small, mask=small.mask & (np.arange(12) < 5)[:, None, None]))
    text = write_page(store).read_text()
    assert re.search(r"mask of \d+ ml, -\d+% from the median of \d+ ml \(limit 30%\)", text)
    record = make_record(store, "case-0004", store.with_name("cohort.zarr.qc") / "cases")
    assert record is not None
    assert not any(about == "mask_ml" for about, _ in record["findings"])  # it is the cohort's, not the case's


def test_a_case_of_maps_alone_has_no_row(store):
    case = head("case-0005")
    write_case(store, Case("case-0005", None, case.mask, case.inserted, case.maps, case.attributes))
    assert "case-0005" not in write_page(store).read_text()


def test_five_hundred_patients_make_a_page_that_a_browser_can_hold(store):
    write_page(store)
    path = store.with_name("cohort.zarr.qc") / "cases" / "case-0001.json"
    record = json.loads(path.read_text())
    page = page_html([record | {"case": f"case-{number:04d}"} for number in range(500)], [], "cohort.zarr")
    assert page.count("<tr data-findings") == 500
    assert len(page) < 40e6
