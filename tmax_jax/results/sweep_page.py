"""The page of a sweep: one HTML file that loads nothing from anywhere."""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tmax_jax.metrics import METRICS
from tmax_jax.results.statistics import Comparison
from tmax_jax.results.summary import Summary
from tmax_jax.results.tables import short

_CLASSES = {"better": "better", "worse": "worse", "no difference shown": "none"}
_WORDS = {"better": "better", "worse": "worse", "no difference shown": "no difference shown"}


def page_html(
    *,
    name: str,
    question: str,
    data: str,
    baseline: str,
    summaries: Sequence[Summary],
    variants: int,
    comparisons: Mapping[str, Mapping[str, Comparison]],
    costs: Mapping[str, Mapping[str, float]],
    failures: Mapping[str, Mapping[str, str]],
    printed: Mapping[str, float],
    answer: Sequence[str],
    figures: Mapping[str, Path],
) -> str:
    """Joins what a sweep found to one page.

    Args:
      name: of the sweep.
      question: what it asks.
      data: "phantom", "real" or "mixed".
      baseline: the variant that all are compared with.
      summaries: a row a variant, then the trivial rows.
      variants: how many of the rows are variants.
      comparisons: by metric, then by variant.
      costs: by variant: parameters, step_gflop, activations_mb, seconds.
      failures: by variant, then by part: why it has no scores.
      printed: a publication's MSE over all voxels in stored units, by variant.
      answer: what the comparisons say of white-out and error, in words.
      figures: PNG files by their captions.

    Returns:
      HTML.
    """
    shown = tuple(comparisons)
    heads = [_header(metric) for metric in shown]
    extra = ["MSE, all voxels<small>ms²</small>", "printed<small>stored units</small>"] if printed else []
    rows = []
    for place, row in enumerate(summaries):
        cells = [_mean(row, metric) for metric in shown]
        if printed:
            mse = row.values["mse_all_s2"].mean_over_folds * 1e6
            cells = [f"{mse:,.0f}", f"{printed[row.method]:,.0f}" if row.method in printed else "", *cells]
        rows.append(_row([html.escape(row.method), *cells], "trivial" if place >= variants else ""))
    paired = [
        _row([html.escape(variant), *(_difference(comparisons[metric][variant]) for metric in shown)])
        for variant in next(iter(comparisons.values()), {})
    ]
    origin = {"phantom": "phantom data (simulated)", "mixed": "partly phantom data (simulated)"}
    return _PAGE.substitute(
        name=html.escape(name),
        question=html.escape(question),
        origin=origin.get(data, ""),
        baseline=html.escape(baseline),
        cards=_cards(summaries[0], variants, len(failures)),
        answer="".join(f"<li>{html.escape(sentence)}</li>" for sentence in answer),
        results=_table(["", *extra, *heads], rows),
        paired=_table(["", *heads], paired),
        figures="".join(_figure(caption, path) for caption, path in figures.items()),
        costs=_costs(costs),
        failures=_failures(failures),
    )


def _cards(first: Summary, variants: int, failed: int) -> str:
    cards = ((variants, "variants"), (first.patients, "patients scored"), (first.folds, "folds"), (failed, "failed"))
    return "".join(f"<div><b>{value}</b>{what}</div>" for value, what in cards)


def _header(metric: str) -> str:
    return f"{html.escape(METRICS[metric].label)}<small>{html.escape(METRICS[metric].unit)}</small>"


def _mean(row: Summary, metric: str) -> str:
    spread = row.values[metric]
    if math.isnan(spread.mean_over_folds):
        return "-"
    sd = "" if math.isnan(spread.sd_over_folds) else f"<small>± {short(spread.sd_over_folds)}</small>"
    return f"{short(spread.mean_over_folds)}{sd}"


def _difference(found: Comparison) -> str:
    if math.isnan(found.difference):
        return "-"
    interval = f"[{short(found.low)}, {short(found.high)}]"
    title = f"{found.patients} patients; p {found.p_adjusted:.2g} adjusted; folds' t-test p {found.p_folds:.2g}"
    word = f'<em class="{_CLASSES[found.verdict]}">{_WORDS[found.verdict]}</em>'
    return f'<span title="{title}">{short(found.difference, "+")}<small>{interval}</small>{word}</span>'


def _row(cells: Iterable[str], kind: str = "") -> str:
    first, *others = cells
    return f'<tr class="{kind}"><th>{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    if not rows:
        return "<p>Nothing to compare.</p>"
    head = "".join(f"<th>{text}</th>" for text in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _figure(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _costs(costs: Mapping[str, Mapping[str, float]]) -> str:
    heads = (
        "",
        "parameters",
        "training step<small>GFLOP a patient</small>",
        "activations kept<small>MB a patient</small>",
        "all fits<small>s</small>",
    )
    kinds = {"parameters": ",.0f", "step_gflop": ",.2f", "activations_mb": ",.1f", "seconds": ",.0f"}
    rows = [
        _row([html.escape(variant), *(_formatted(cost, key, kind) for key, kind in kinds.items())])
        for variant, cost in costs.items()
    ]
    return _table(heads, rows)


def _formatted(cost: Mapping[str, Any], key: str, kind: str) -> str:
    return format(cost[key], kind) if key in cost else "-"


def _failures(failures: Mapping[str, Mapping[str, str]]) -> str:
    rows = [
        _row([html.escape(variant), html.escape(part), html.escape(reason)], "text")
        for variant, parts in failures.items()
        for part, reason in parts.items()
    ]
    return f"<h2>Without scores</h2>{_table(['', 'part', 'reason'], rows)}" if rows else ""


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sweep $name</title>
<style>
:root { color-scheme: light; --ink: #1c2530; --soft: #5d6b7a; --line: #dde3ea; --bad: #b3401a; }
* { box-sizing: border-box; }
body { margin: 0; font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: #f5f7f9; }
header { padding: 22px 20px 16px; background: #fff; border-bottom: 1px solid var(--line); }
h1 { margin: 0 0 6px; font-size: 22px; }
h2 { margin: 30px 0 8px; font-size: 16px; }
main { padding: 4px 20px 40px; }
p { max-width: 90ch; margin: 6px 0; }
.tag { display: inline-block; margin-right: 8px; padding: 2px 10px; border-radius: 11px; background: #fdebe3;
  color: var(--bad); font-weight: 600; font-size: 13px; }
.tag:empty { display: none; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 12px; }
.cards div { padding: 8px 16px; border: 1px solid var(--line); border-radius: 8px; color: var(--soft);
  font-size: 12px; }
.cards b { display: block; color: var(--ink); font-size: 20px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; background: #fff; border: 1px solid var(--line); }
th, td { padding: 5px 10px; border-top: 1px solid var(--line); text-align: right; vertical-align: top;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
thead th { background: #eef2f6; font-size: 12px; vertical-align: bottom; }
th:first-child { text-align: left; }
tbody th { font-weight: 600; }
small { display: block; color: var(--soft); font-weight: 400; font-size: 11px; }
tr.trivial th, tr.trivial td { color: var(--soft); background: #fafbfc; font-weight: 400; }
tr.text td { text-align: left; white-space: normal; max-width: 90ch; }
em { display: block; font-style: normal; font-size: 11px; }
em.better { color: #2b8a3e; font-weight: 700; }
em.worse { color: #c92a2a; font-weight: 700; }
em.none { color: #8a96a3; }
figure { margin: 16px 0; }
figure img { max-width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--soft); font-size: 12px; }
</style>
</head>
<body>
<header>
<h1>$name</h1>
<p>$question</p>
<span class="tag">research only, not for diagnosis</span><span class="tag">$origin</span>
<div class="cards">$cards</div>
</header>
<main>
<h2>Answer</h2>
<ul>$answer</ul>
<h2>Scores</h2>
<p>Mean ± standard deviation of the folds' means; each patient is scored once, by the network that did not train on
them. Grey rows are what anyone scores without training.</p>
$results
<h2>Differences from $baseline, patient by patient</h2>
<p>Mean difference over patients with its 95 % bootstrap interval. <b>Better</b> or <b>worse</b> where Wilcoxon's signed
ranks, adjusted for the number of variants (Holm), give p &lt; 0.05 and the interval leaves out 0; else <b>no difference
shown</b>, which does not say that there is none. Sizes of bias and volume difference are compared. Rest on a cell for
the p values, those of the corrected resampled t-test over folds among them. The folds share training patients and one
seed: a difference of the size of another seed's is not to be believed.</p>
$paired
$figures
<h2>Cost</h2>
$costs
$failures
</main>
</body>
</html>
""")
