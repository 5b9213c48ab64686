"""The page of a sweep: complete, escaped, self-contained, and honest about what is no difference."""

import re

import numpy as np

from tests.test_summary import row
from tmax_jax.metrics import METRICS
from tmax_jax.results.statistics import compare
from tmax_jax.results.summary import summarise
from tmax_jax.results.sweep_figures import Patient, forest, learning_curves, montage
from tmax_jax.results.sweep_page import page_html

CASES = range(12)
BASE = {f"case-{case:04d}": 2.0 + 0.1 * case for case in CASES}
FOLDS = {name: case % 2 for case, name in enumerate(BASE)}
BETTER, SAME = {name: value / 2 for name, value in BASE.items()}, dict(BASE)


def comparisons():
    variants = {"<half>": BETTER, "same": SAME}
    return {metric: compare(variants, BASE, FOLDS, best="low") for metric in ("mse_brain_s2", "mae_brain_s")}


def page(figures, **changed):
    rows = [row(method, case % 2, case) for method in ("base", "<half>", "same", "predict zero") for case in CASES]
    options = {
        "name": "losses",
        "question": "Which loss & why?",
        "data": "phantom",
        "baseline": "base",
        "summaries": summarise(rows),
        "variants": 3,
        "comparisons": comparisons(),
        "costs": {"base": {"parameters": 61, "seconds": 12.0}},
        "failures": {"broken": {"fold-0": "the loss is nan"}},
        "printed": {},
        "answer": ["Nothing < something."],
        "figures": figures,
    }
    return page_html(**(options | changed))


def test_a_page_says_what_was_asked_found_and_lost_and_loads_nothing(tmp_path):
    figure = forest(comparisons(), baseline="base", data="phantom")
    figure.savefig(tmp_path / "forest.png")
    text = page({"Differences": tmp_path / "forest.png"})
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    for part in ("Which loss &amp; why?", "Nothing &lt; something.", "the loss is nan", "phantom data (simulated)"):
        assert part in text
    assert "<half>" not in text
    assert text.count('class="better">better') == 2  # one variant, two metrics
    assert text.count("no difference shown</em>") == 2
    assert text.count('class="trivial"') == 1


def test_printed_numbers_stand_beside_ones_own_in_the_same_unit():
    text = page({}, printed={"base": 214270})
    assert "<td>1,000,000</td><td>214,270</td>" in text  # 1 s^2 is a million ms^2
    assert "printed" not in page({})


def test_the_colours_of_a_forest_are_its_verdicts():
    figure = forest(comparisons(), baseline="base", data="phantom")
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [point.get_color() for point in points] == ["#2b8a3e", "0.45"]
    assert figure.axes[0].get_xlabel() == "left is better"
    assert METRICS["mse_brain_s2"].label in figure.axes[0].get_title()


def test_a_montage_shows_the_slice_with_the_most_late_tissue_of_the_same_patients():
    tmax_s = np.full((3, 4, 4), 2.0)
    tmax_s[1, :2] = 9.0
    patient = Patient("case-0001", tmax_s, np.ones((3, 4, 4), bool), np.ones(3), {"a": tmax_s + 1, "b": tmax_s - 1})
    figure = montage([patient], data="phantom")
    shown = [ax for ax in figure.axes if ax.images]
    assert [float(np.nanmax(np.asarray(ax.images[0].get_array()))) for ax in shown] == [9.0, 10.0, 8.0]
    assert len({ax.images[0].get_clim() for ax in shown}) == 1
    assert "slice 2" in shown[0].get_title()


def test_learning_curves_have_a_line_a_variant():
    figure = learning_curves({"a": [(1, 4.0), (2, 3.0)], "b": [(1, 5.0), (2, 2.0)]}, data="phantom")
    assert [line.get_label() for line in figure.axes[0].lines] == ["a", "b"]
