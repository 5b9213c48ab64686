"""Tables for the terminal."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tmax_jax.metrics import METRICS
from tmax_jax.results.summary import Summary

COLUMNS = {  # of the metrics that fit a terminal 100 columns wide; results.csv has all
    "mse_all_s2": "MSE\nall (s²)",
    "mse_brain_s2": "MSE\nbrain (s²)",
    "mae_brain_s": "MAE\n(s)",
    "bias_brain_s": "bias\n(s)",
    "ccc_brain": "\nCCC",
    "dice_6s": "Dice\n> 6 s",
    "whiteout": "white-\nout",
    "volume_difference_6s_ml": "volume\n(mL)",
}

TRUE_DELAY_NOTE = (
    "The truth here is the arterial delay that was simulated, in the other table the classical Tmax of curves without"
    " noise, which is later by construction and which the networks learn."
)


def results_table(summaries: Sequence[Summary], *, title: str, data: str, notes: Sequence[str] = ()) -> Table:
    """Lays summaries out for a terminal 100 to 140 columns wide.

    Args:
      summaries: of `summarise` or `summarise_runs`; those of a cohort stand together.
      title: above the table.
      data: "phantom", "real" or "mixed"; the caption says what that allows.
      notes: further sentences for the caption.

    Returns:
      A table with the best value of each column (and cohort) marked by an asterisk.
    """
    cohorts = list(dict.fromkeys(row.cohort for row in summaries))
    caption = Text(" ".join([*_caption(summaries, data), *notes]))
    table = Table(title=Text(title), caption=caption, box=box.SIMPLE_HEAD, caption_justify="left", padding=(0, 1, 0, 0))
    table.add_column("\nmethod", min_width=12)
    if len(cohorts) > 1:
        table.add_column("\ncohort")
    cells = []
    for metric, header in COLUMNS.items():
        table.add_column(header, justify="right", no_wrap=True)
        pairs = [(row.values[metric].mean_over_folds, row.values[metric].sd_over_folds) for row in summaries]
        cells.append(_column(pairs, METRICS[metric].best, [row.cohort for row in summaries]))
    for index, row in enumerate(summaries):
        cohort = [row.cohort] if len(cohorts) > 1 else []
        last = index + 1 == len(summaries) or summaries[index + 1].cohort != row.cohort
        table.add_row(Text(row.method), *cohort, *(column[index] for column in cells), end_section=last)
    return table


def short(value: float, sign: str = "") -> str:
    """Formats a number with three decimals, with more where two digits would be lost and with none from 100 on.

    Args:
      value: to be formatted.
      sign: "+" shows the sign of positive numbers too.

    Example:
      >>> short(0.6698), short(0.00029214, "+"), short(-1234.5), short(0.0)
      ('0.670', '+0.00029', '-1,234', '0.000')
    """
    if 0 < abs(value) < 0.0095:
        return f"{value:{sign}.2g}"
    return f"{value:{sign}.3f}" if abs(value) < 100 else f"{value:{sign},.0f}"


def _column(pairs: Sequence[tuple[float, float]], best: str, cohorts: Sequence[str]) -> list[Text]:
    """Formats one column, each spread below its mean.

    There are as many decimals throughout as show three digits of the smallest mean, but no more than three, nor than
    five digits of the largest.
    """
    sizes = [abs(mean) for mean, _ in pairs if math.isfinite(mean)]
    smallest = min((size for size in sizes if size > 0), default=1.0)
    largest = max(sizes, default=1.0) or 1.0
    decimals = max(0, min(3, 2 - math.floor(math.log10(smallest)), 4 - math.floor(math.log10(largest))))
    cells = []
    for (mean, sd), cohort in zip(pairs, cohorts, strict=True):
        rivals = [_loss(other, best) for (other, _), its in zip(pairs, cohorts, strict=True) if its == cohort]
        wins = math.isfinite(mean) and _loss(mean, best) == min(filter(math.isfinite, rivals))
        number = "-" if math.isnan(mean) else _number(mean, decimals)
        spread = "" if math.isnan(sd) else f"\n± {_number(sd, decimals)} "
        cells.append(Text(number + ("*" if wins else " ") + spread, style="bold" if wins else ""))
    return cells


def _loss(value: float, best: str) -> float:
    """Returns what is least for the best value."""
    return {"low": value, "high": -value, "zero": abs(value)}[best]


def _number(value: float, decimals: int) -> str:
    return f"{value:.3g}" if abs(value) >= 1e7 else f"{value:.{decimals}f}"


def _caption(summaries: Sequence[Summary], data: str) -> list[str]:
    counts = sorted({(row.patients, row.folds) for row in summaries})
    number = ", ".join(f"{_count(patients, 'patient')} in {_count(folds, 'fold')}" for patients, folds in counts)
    sentences = [
        f"{number}, each patient scored once, by the model that did not train on them.",
        "Figures are mean ± standard deviation (n - 1) of the fold means.",
        "MSE over all voxels counts the background too, as the paper's score does; all else is of the brain.",
        "Bias is predicted - true. Dice is of the tissue with Tmax > 6 s, volume its predicted - true volume.",
        "White-out is the share of healthy tissue (true Tmax <= 4 s) that is predicted above 6 s.",
        "* best of its column. results.csv has more metrics, and the spreads over patients.",
    ]
    lost = ", ".join(f"{row.method} {row.without_map}" for row in summaries if row.without_map)
    if lost:
        sentences.append(
            f"Patients without a bolus or an artery, of whom there is no map and who are in no mean: {lost}."
        )
    warning = {
        "phantom": "Phantom data (simulated): not comparable with the paper's numbers.",
        "mixed": "Part of the data is phantom (simulated): not comparable with the paper's numbers.",
    }
    return sentences + ([warning[data]] if data in warning else [])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
