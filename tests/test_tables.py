"""The printed table: readable at 100 columns, and the best value marked by what is best for its metric."""

import io
import math

import pytest
from rich.console import Console

from tests.test_summary import row
from tmax_jax.results.summary import summarise
from tmax_jax.results.tables import COLUMNS, results_table


def printed(rows, width=100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(results_table(summarise(rows), title="runs", data="phantom"))
    return file.getvalue()


def several(method: str, *means: float):
    """Three folds of one patient each."""
    scores = dict(zip(COLUMNS, means, strict=True))
    return [row(method, k, k, **{name: mean * (0.9 + 0.1 * k) for name, mean in scores.items()}) for k in range(3)]


# By columns of the table: MSE all, MSE brain, MAE, bias, CCC, Dice, white-out, volume.
ROWS = [
    *several("unet", 1.2, 4.7, 1.1, -0.4, 0.8, 0.71, 0.01, -12.3),
    *several("predict training mean", 123.4, 234.5, 11.1, 0.2, 0.1, 0.2, 0.2, 1234.5),
    *several("time to peak", 12.3, 23.4, 3.3, 5.1, 0.3, math.nan, 0.9, 345.6),
]


@pytest.mark.parametrize("width", [100, 120, 140])
def test_nothing_is_cut_off(width):
    text = printed(ROWS, width)
    assert "…" not in text
    for part in ("MSE", "white-", "volume", "± ", "1234", "predict"):
        assert part in text
    assert max(map(len, text.splitlines())) <= width


def test_the_best_is_the_least_the_highest_or_the_nearest_to_zero():
    [line] = [line for line in printed(ROWS, 140).splitlines() if line.strip().startswith("unet")]
    marked = [cell.endswith("*") for cell in line.split()[1:]]
    expected = [True, True, True, False, True, True, True, True]  # the bias of another is nearer to 0
    assert len(COLUMNS) == len(marked)
    assert marked == expected


def test_a_mean_that_no_patient_has_is_a_dash():
    line = next(line for line in printed(ROWS, 140).splitlines() if line.strip().startswith("time to peak"))
    assert "-" in line.split()


def test_phantom_data_says_so():
    assert "not comparable with the paper" in " ".join(printed(ROWS).split())
