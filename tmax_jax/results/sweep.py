"""What a sweep leaves: its variants beside each other, compared patient by patient, with what each costs."""

import dataclasses
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tmax_jax.files import csv_text
from tmax_jax.metrics import METRICS
from tmax_jax.results.figures import save_figure
from tmax_jax.results.records import CaseRow, RecordError, Run, read_failures, read_json, read_run, write_text
from tmax_jax.results.run import finish
from tmax_jax.results.statistics import Comparison, compare
from tmax_jax.results.summary import Spread, Summary, results_csv, summarise
from tmax_jax.results.sweep_figures import forest, learning_curves, montage, read_patients, read_scores
from tmax_jax.results.sweep_page import page_html
from tmax_jax.results.tables import COLUMNS, results_table, short

COMPARED = tuple(COLUMNS)  # metrics of the comparisons: those of the printed table
_SHOWN = ("mse_brain_s2", "mae_brain_s", "dice_6s", "whiteout")  # in the terminal and in the figure
_PUBLISHED = ("results.csv", "comparisons.csv", "costs.csv", "failures.csv", "montage.png", "forest.png")


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """A finished sweep, read from its folder."""

    name: str
    question: str
    data: str
    baseline: str  # the variant that all are compared with
    runs: Mapping[str, Run]  # of the variants that finished, in order
    summaries: Sequence[Summary]  # a row a variant, then the trivial rows
    comparisons: Mapping[str, Mapping[str, Comparison]]  # by metric, then by variant
    costs: Mapping[str, Mapping[str, float]]  # by variant
    failures: Mapping[str, Mapping[str, str]]  # variant, then part: the reason
    printed: Mapping[str, float]  # MSE that a publication printed, in stored units (ms^2), by variant; often empty


def finish_sweep(folder: Path, console: Console, *, publish: Path | None = None) -> None:
    """Makes the tables, figures and the page of a sweep from the records of its variants, and prints the table.

    Args:
      folder: of a sweep with no cell left.
      console: for the tables and the paths.
      publish: folder to copy the small tables and pictures to.

    Raises:
      RecordError: not a sweep, or one without a finished variant.
    """
    results = read_sweep(folder)
    for run in results.runs.values():
        if not (run.folder / "figures" / "agreement.png").exists():
            finish(run.folder, Console(quiet=True))
    write_text(folder / "results.csv", results_csv(results.summaries))
    write_text(folder / "comparisons.csv", comparisons_csv(results))
    write_text(folder / "costs.csv", _costs_csv(results))
    write_text(folder / "failures.csv", _failures_csv(results))
    figures = _save_figures(results, folder)
    write_text(folder / "index.html", _page(results, figures))
    console.print(results_table(results.summaries, title=f"{results.name}: cross-validation", data=results.data))
    console.print(verdicts_table(results))
    for variant, reasons in results.failures.items():
        first = next(iter(reasons.values()))
        console.print(f"{variant} has no scores: {first}", markup=False, highlight=False)
    lines = [*answer(results), f"  {folder / 'index.html'}"]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if publish:
        target = publish / results.name
        target.mkdir(parents=True, exist_ok=True)
        for name in filter(lambda name: (folder / name).exists(), _PUBLISHED):
            shutil.copy(folder / name, target / name)
        write_text(target / "README.md", readme(results))
        console.print(f"  {target}", markup=False, highlight=False, soft_wrap=True)


def read_sweep(folder: Path) -> SweepResults:
    """Reads a sweep's records and compares its variants.

    Args:
      folder: that `sweeping.run_sweep` wrote.

    Raises:
      RecordError: not a sweep, one that is not finished, or one of which no variant finished.
    """
    plan = read_json(folder / "sweep.json")
    failures = {variant: read_failures(folder / variant) for variant in plan["variants"]}
    failures = {variant: reasons for variant, reasons in failures.items() if reasons}
    runs = {variant: read_run(folder / variant) for variant in plan["variants"] if variant not in failures}
    if not runs:
        reasons = "\n".join(f"  {variant}: {next(iter(parts.values()))}" for variant, parts in failures.items())
        raise RecordError(f"no variant of {folder} has scores:\n{reasons}")
    first, *_ = runs
    costs = {}
    for variant, run in runs.items():
        seconds = [read_json(path)["seconds"] for path in sorted(run.folder.glob("*/cost.json"))]
        costs[variant] = plan["costs"].get(variant, {}) | {"seconds": sum(seconds)}
    return SweepResults(
        name=folder.name,
        question=plan["question"],
        data=runs[first].data,
        baseline=first,
        runs=runs,
        summaries=[summarise(run.cases)[0] for run in runs.values()] + summarise(runs[first].cases)[1:],
        comparisons={metric: compare_variants(runs, first, metric) for metric in COMPARED},
        costs=costs,
        failures=failures,
        printed=plan["printed"],
    )


def compare_variants(runs: Mapping[str, Run], baseline: str, metric: str) -> dict[str, Comparison]:
    """Compares variants with one of them by one metric; `statistics.compare` says how.

    Args:
      runs: by variant, on the same folds.
      baseline: one of them.
      metric: of `METRICS`.

    Returns:
      One comparison for each of the others.
    """
    values = {variant: {row.case: row.scores[metric] for row in _model_rows(run)} for variant, run in runs.items()}
    folds = {row.case: row.fold for row in _model_rows(runs[baseline])}
    others = {variant: scores for variant, scores in values.items() if variant != baseline}
    return compare(others, values[baseline], folds, best=METRICS[metric].best)


def _model_rows(run: Run) -> list[CaseRow]:
    """The rows of the network, which stands first in every `cases.csv`."""
    return [row for row in run.cases if row.method == run.cases[0].method]


def answer(results: SweepResults) -> list[str]:
    """Says which variants beat the baseline, and whether one calls less healthy brain late at no cost in error."""
    found = results.comparisons
    told = {metric: {verdict: _names(found[metric], verdict) for verdict in ("better", "worse")} for metric in _SHOWN}
    sentences = [
        f"{METRICS[metric].label}: better than {results.baseline}: {_listed(told[metric]['better'])}; worse:"
        f" {_listed(told[metric]['worse'])}."
        for metric in told
    ]
    less = told["whiteout"]["better"]
    at_no_cost = [variant for variant in less if variant not in told["mae_brain_s"]["worse"]]
    sentences.append(f"Less white-out without a greater absolute error: {_listed(at_no_cost)}.")
    return sentences


def readme(results: SweepResults) -> str:
    """Writes what a sweep asked, found and was made with, to stand beside its tables."""
    first = next(iter(results.runs.values()))
    made = read_json(first.folder / "environment.json")
    kinds = ", ".join(dict.fromkeys(made["devices"]))
    hours = sum(cost["seconds"] for cost in results.costs.values()) / 3600
    lines = [
        f"# {results.name}",
        "",
        results.question,
        "",
        *(f"- {sentence}" for sentence in answer(results)),
        *(
            f"- {variant} has no scores: {next(iter(reasons.values()))}"
            for variant, reasons in results.failures.items()
        ),
        "",
        f"{results.data.capitalize()} data, {results.summaries[0].patients} patients in {results.summaries[0].folds}"
        f" folds; commit {made['commit']}, {len(made['devices'])} device(s) ({kinds}), {hours:.1f} h for all fits.",
    ]
    counted = "Means over folds; in brackets the patients that a mean is over, where some have no value."
    lines += [
        "",
        *_score_lines(results),
        "",
        counted,
        "",
        "![The same patients, as each variant sees them](montage.png)",
        "",
    ]
    return "\n".join(lines)


def _score_lines(results: SweepResults) -> list[str]:
    """Returns the scores as a Markdown table, and beside them what a publication printed."""
    labels = [" ".join(label.split()).replace("- ", "-") for label in COLUMNS.values()]
    extra = ["MSE, all (ms²)", "printed (stored units, other patients)"] if results.printed else []
    lines = [f"| {' | '.join(['method', *extra, *labels])} |", "|---" * (1 + len(extra) + len(labels)) + "|"]
    for row in results.summaries:
        cells = [_score(row.values[metric], row.patients) for metric in COLUMNS]
        if results.printed:
            printed = f"{results.printed[row.method]:,}" if row.method in results.printed else ""
            cells = [f"{row.values['mse_all_s2'].mean_over_folds * 1e6:,.0f}", printed, *cells]
        lines.append(f"| {' | '.join([row.method, *cells])} |")
    return lines


def _score(spread: Spread, patients: int) -> str:
    """A mean, and over how many patients where some have none: the means of two rows are then not of the same ones."""
    return f"{spread.mean_over_folds:.3g}" + (f" ({spread.patients})" if spread.patients < patients else "")


def _names(found: Mapping[str, Comparison], verdict: str) -> list[str]:
    return [variant for variant, row in found.items() if row.verdict == verdict]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none shown"


def _save_figures(results: SweepResults, folder: Path) -> dict[str, Path]:
    """Draws the figures; returns the files by their captions."""
    folders = {variant: run.folder for variant, run in results.runs.items()}
    folds = results.summaries[0].folds
    holdout = next(iter(results.runs.values())).holdout[0].case
    scores = {variant: read_scores(run, folds) for variant, run in folders.items()}
    drawn = [
        ("learning_curves", "How each variant learnt", learning_curves(scores, data=results.data)),
        ("montage", "The same patients, as each variant sees them", None),
        ("forest", f"Paired differences from {results.baseline}", None),
    ]
    if patients := read_patients(folders, holdout, folds):
        drawn[1] = (*drawn[1][:2], montage(patients, data=results.data))
    if len(results.runs) > 1:
        shown = {metric: results.comparisons[metric] for metric in _SHOWN}
        drawn[2] = (*drawn[2][:2], forest(shown, baseline=results.baseline, data=results.data))
    files = {}
    for name, caption, figure in reversed(drawn):
        if figure is not None:
            files[caption] = folder / f"{name}.png"
            save_figure(figure, files[caption], dpi=130)
    return files


def _page(results: SweepResults, figures: Mapping[str, Path]) -> str:
    return page_html(
        name=results.name,
        question=results.question,
        data=results.data,
        baseline=results.baseline,
        summaries=results.summaries,
        variants=len(results.runs),
        comparisons=results.comparisons,
        costs=results.costs,
        failures=results.failures,
        printed=results.printed,
        answer=answer(results),
        figures=figures,
    )


def comparisons_csv(results: SweepResults) -> str:
    """Formats all comparisons as CSV, one line a metric and variant; an empty field is not defined."""
    rows = [
        [metric, METRICS[metric].unit, results.baseline, variant, *map(_csv_value, found)]
        for metric, by_variant in results.comparisons.items()
        for variant, found in by_variant.items()
    ]
    return csv_text(["metric", "unit", "baseline", "variant", *Comparison._fields], rows)


def _costs_csv(results: SweepResults) -> str:
    names = ("parameters", "step_gflop", "activations_mb", "seconds")
    rows = [
        [variant, *(_csv_value(cost.get(name, math.nan)) for name in names)] for variant, cost in results.costs.items()
    ]
    return csv_text(["variant", *names], rows)


def _failures_csv(results: SweepResults) -> str:
    rows = [[variant, part, reason] for variant, parts in results.failures.items() for part, reason in parts.items()]
    return csv_text(["variant", "part", "reason"], rows)


def _csv_value(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return value


def verdicts_table(results: SweepResults) -> Table:
    """Lays out what the comparisons say, for a terminal: mean difference, and whether it is one."""
    caption = Text(
        f"Difference from {results.baseline}, mean over patients. + better, - worse: Wilcoxon's signed ranks over"
        " patients, adjusted for the number of variants (Holm), p < 0.05, and a bootstrap interval without 0. Without"
        " a sign no difference is shown."
    )
    title = Text(f"{results.name}: paired differences")
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, caption_justify="left", padding=(0, 1, 0, 0))
    table.add_column("variant")
    for metric in _SHOWN:
        unit = f" ({METRICS[metric].unit})" if METRICS[metric].unit else ""
        table.add_column(f"{METRICS[metric].label}{unit}", justify="right")
    signs = {"better": " +", "worse": " -", "no difference shown": "  "}
    for variant in results.comparisons[_SHOWN[0]]:
        found = [results.comparisons[metric][variant] for metric in _SHOWN]
        table.add_row(Text(variant), *(f"{short(row.difference, '+')}{signs[row.verdict]}" for row in found))
    return table
