"""Tables for the terminal."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from tmax_jax.results.summary import METRICS, Summary


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
    columns = [(metric, "folds") for metric in METRICS]
    columns.insert(1, ("mse_all_s2", "patients"))
    cohorts = list(dict.fromkeys(row.cohort for row in summaries))
    caption = Text(" ".join([*_caption(summaries, data), *notes]))
    table = Table(title=Text(title), caption=caption, box=box.SIMPLE_HEAD, caption_justify="left", padding=(0, 1))
    table.add_column("method", vertical="bottom", min_width=12)
    if len(cohorts) > 1:
        table.add_column("cohort", vertical="bottom")
    cells = []
    for metric, over in columns:
        first, unit = METRICS[metric].rsplit(" ", 1)
        table.add_column(f"{first}\n{unit}, {over}", justify="right", vertical="bottom", no_wrap=True)
        pairs = [_pair(row, metric, over) for row in summaries]
        cells.append(_column(pairs, [row.cohort for row in summaries]))
    for index, row in enumerate(summaries):
        cohort = [row.cohort] if len(cohorts) > 1 else []
        last = index + 1 == len(summaries) or summaries[index + 1].cohort != row.cohort
        table.add_row(Text(row.method), *cohort, *(column[index] for column in cells), end_section=last)
    return table


def _pair(row: Summary, metric: str, over: str) -> tuple[float, float]:
    value = row.values[metric]
    if over == "folds":
        return value.mean_over_folds, value.sd_over_folds
    return value.mean_over_patients, value.sd_over_patients


def _column(pairs: Sequence[tuple[float, float]], cohorts: Sequence[str]) -> list[Text]:
    """Formats one column with as many decimals throughout as show three digits of its smallest mean."""
    sizes = [abs(mean) for mean, _ in pairs if math.isfinite(mean)]
    smallest = min((size for size in sizes if size > 0), default=1.0)
    decimals = min(3, max(0, 2 - math.floor(math.log10(smallest))))
    cells = []
    for (mean, sd), cohort in zip(pairs, cohorts, strict=True):
        rivals = [abs(other) for (other, _), its in zip(pairs, cohorts, strict=True) if its == cohort]
        best = abs(mean) == min((value for value in rivals if math.isfinite(value)), default=None)
        spread = "" if math.isnan(sd) else f" ± {_number(sd, decimals)}"
        mark = " *" if best else "  "
        cells.append(Text(_number(mean, decimals) + spread + mark, style="bold" if best else ""))
    return cells


def _number(value: float, decimals: int) -> str:
    return f"{value:.3g}" if abs(value) >= 1e7 else f"{value:.{decimals}f}"


def _caption(summaries: Sequence[Summary], data: str) -> list[str]:
    counts = sorted({(row.patients, row.folds) for row in summaries})
    number = ", ".join(f"{_count(patients, 'patient')} in {_count(folds, 'fold')}" for patients, folds in counts)
    sentences = [
        f"{number}, each patient scored once, by the model that did not train on them.",
        "Figures are mean ± standard deviation (n - 1): of the fold means, or of the patients.",
        "MSE over all voxels counts the background too, as the paper's score does. Bias is predicted - true.",
        "* best of its column.",
    ]
    warning = {
        "phantom": "Phantom data (simulated): not comparable with the paper's numbers.",
        "mixed": "Part of the data is phantom (simulated): not comparable with the paper's numbers.",
    }
    return sentences + ([warning[data]] if data in warning else [])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
