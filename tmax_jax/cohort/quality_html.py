"""The look of the quality page: a table of patients, what its numbers mean, and a few lines that sort it."""

import dataclasses
import html
from collections.abc import Sequence
from string import Template
from typing import Any

from tmax_jax.cohort import quality
from tmax_jax.cohort.reading import Outcome
from tmax_jax.cohort.thumbnails import LATE_TMAX_S, LATEST_TMAX_S


@dataclasses.dataclass(frozen=True)
class Column:
    """A number of the table."""

    name: str  # in cases.csv
    title: str
    unit: str
    digits: int
    limit: str  # what is a finding, for the reader
    meaning: str


COLUMNS = (
    Column(
        "bolus_arrival_s",
        "Arrival",
        "s",
        1,
        f"at least {quality.MIN_BASELINE_FRAMES} frames before it, the first {quality.NON_STEADY_FRAMES} not counted;"
        f" {quality.AFTER_PEAK_S:g} s of scan after the peak",
        "when the mean signal of the mask starts to fall: kink of two lines fitted up to its lowest frame",
    ),
    Column(
        "bolus_fall_percent",
        "Fall",
        "%",
        1,
        f"at least {100 * quality.MIN_BOLUS:g} % and {quality.BOLUS_OVER_NOISE:g} times the curve's noise",
        "how far the mean signal falls below its baseline",
    ),
    Column(
        "drift_percent",
        "Drift",
        "%",
        1,
        f"at most {100 * quality.MAX_DRIFT:g} %",
        "change of the mean signal from the start of the baseline to its end",
    ),
    Column(
        "spikes",
        "Spikes",
        "",
        0,
        f"none over {100 * quality.MAX_SPIKE:g} % of the baseline",
        "frames, or slices of a frame, that leave their neighbours in time",
    ),
    Column(
        "motion_mm",
        "Motion",
        "mm",
        1,
        f"at most {quality.MAX_MOTION_MM:g} mm",
        "largest shift of a frame from the mean of the baseline, by phase correlation; turning is not seen",
    ),
    Column(
        "snr",
        "SNR",
        "",
        0,
        f"at least {quality.MIN_SNR:g}",
        "mean over standard deviation of a voxel in the baseline, the median of the mask",
    ),
    Column(
        "mask_ml",
        "Mask",
        "ml",
        0,
        f"within {100 * quality.MAX_MASK_CHANGE:g} % of the cohort's median",
        "volume of the head's mask, scalp included",
    ),
    Column("missing_images", "Missing", "images", 0, "0", "images that are not there and are zeros in the store"),
)


def page_html(records: Sequence[dict[str, Any]], outcomes: Sequence[Outcome], name: str) -> str:
    """Joins the records of a cohort to one page.

    Args:
      records: of `quality_page.make_record`.
      outcomes: of the conversion; only those that were not converted are listed, without their reasons.
      name: of the store.

    Returns:
      HTML that loads nothing from anywhere.
    """
    bad = [record for record in records if record["findings"]]
    missing = sum(record["numbers"]["missing_images"] for record in records)
    images = sum(record["shape"][0] * record["shape"][3] for record in records)
    cards = (
        (str(len(records)), "patients in the store"),
        (str(len(bad)), "with findings"),
        (f"{missing:,} of {images:,}", "images missing"),
        (str(sum("tmax" not in record["pictures"] for record in records)), "without a Tmax map"),
        (str(len(_lost(outcomes))), "not converted"),
    )
    kinds = {record["data"] for record in records}
    origin = {frozenset({"phantom"}): "phantom data (simulated)", frozenset({"real"}): ""}
    return _PAGE.substitute(
        name=html.escape(name),
        origin=origin.get(frozenset(kinds), "partly phantom data (simulated)"),
        cards="".join(f"<div><b>{value}</b>{what}</div>" for value, what in cards),
        heads="".join(_head(column) for column in COLUMNS),
        rows="\n".join(_row(record) for record in records),
        lost=_lost_html(outcomes),
        limits="".join(_limit(column) for column in COLUMNS),
        late_s=f"{LATE_TMAX_S:g}",
        latest_s=f"{LATEST_TMAX_S:g}",
    )


def _head(column: Column) -> str:
    text = f"{column.title}<small>{column.unit}</small>"
    return f'<th class="number" data-sort="number" title="{html.escape(column.meaning)}">{text}</th>'


def _limit(column: Column) -> str:
    cells = (f"{column.title} {column.unit}", html.escape(column.meaning), html.escape(column.limit))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _row(record: dict[str, Any]) -> str:
    z, y, x, frames = record["shape"]
    spacing = " x ".join(f"{mm:.1f}" for mm in record["spacing_mm"])
    count = len(record["findings"])
    listed = "".join(f"<li>{html.escape(text)}</li>" for _, text in record["findings"])
    about = (
        f"<b>{html.escape(record['case'])}</b><span>{html.escape(record['data'])} data,"
        f" {html.escape(record['vendor'])}</span><span>{z} x {y} x {x}, {spacing} mm</span>"
        f"<span>{frames} frames, {record['frame_interval_s']:.2f} s apart</span>{f'<ul>{listed}</ul>' if count else ''}"
    )
    pictures = record["pictures"]
    what = {"baseline": "baseline", "peak": "bolus peak", "tmax": "Tmax"}
    images = "".join(
        f'<figure><img alt="{label}" loading="lazy" src="{pictures[key]}"><figcaption>{label}</figcaption></figure>'
        for key, label in what.items()
        if key in pictures
    )
    bad = {about for about, _ in record["findings"]}
    cells = "".join(_number(column, record["numbers"][column.name], column.name in bad) for column in COLUMNS)
    return (
        f'<tr data-findings="{count}"><td class="about">{about}</td><td class="images">{images}</td>'
        f"<td>{pictures['curve']}</td><td>{pictures.get('histogram', '<i>no map</i>')}</td>"
        f'<td class="number" data-value="{count}">{count}</td>{cells}</tr>'
    )


def _number(column: Column, value: float | None, bad: bool) -> str:
    text = "–" if value is None else f"{round(value, column.digits) + 0.0:.{column.digits}f}"  # + 0.0: no "-0.0"
    kind = "number bad" if bad else "number"
    return f'<td class="{kind}" data-value="{"" if value is None else value}">{text}</td>'


def _lost(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.status in ("dropped", "refused")]


def _lost_html(outcomes: Sequence[Outcome]) -> str:
    lost = _lost(outcomes)
    if not lost:
        return ""
    rows = "<tr><th>Patient</th><th>Result</th><th>Perfusion images</th></tr>"
    for outcome in lost:
        share = f" ({1 - outcome.found / outcome.expected:.1%} missing)" if outcome.expected else ""
        rows += (
            f"<tr><td>{html.escape(outcome.case_id)}</td><td>{outcome.status}</td>"
            f"<td>{outcome.found} of {outcome.expected or '?'} images{share}</td></tr>"
        )
    return (
        f"<h2>Not converted: {len(lost)}</h2><p>The converter's table says why; reasons name files, which can name"
        f' people, so they are not on this page.</p><table class="plain">{rows}</table>'
    )


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quality of $name</title>
<style>
:root { color-scheme: light; --ink: #1c2530; --soft: #5d6b7a; --line: #dde3ea; --bad: #b3401a; --mark: #d9480f; }
* { box-sizing: border-box; }
body { margin: 0; font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: #f5f7f9; }
header { padding: 22px 20px 16px; background: #fff; border-bottom: 1px solid var(--line); }
h1 { margin: 0 0 6px; font-size: 22px; }
h2 { margin: 28px 0 8px; font-size: 16px; }
.tag { display: inline-block; margin-right: 8px; padding: 2px 10px; border-radius: 11px; background: #fdebe3;
  color: var(--bad); font-weight: 600; font-size: 13px; }
.tag:empty { display: none; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 14px; }
.cards div { padding: 8px 16px; border: 1px solid var(--line); border-radius: 8px; color: var(--soft);
  font-size: 12px; }
.cards b { display: block; color: var(--ink); font-size: 20px; }
main { padding: 14px 20px 40px; }
label { display: inline-block; margin: 4px 0 12px; cursor: pointer; }
table { border-collapse: collapse; background: #fff; }
#cases { width: 100%; border: 1px solid var(--line); }
#cases th { position: sticky; top: 0; z-index: 1; padding: 8px 6px; background: #eef2f6; text-align: left;
  font-size: 12px; vertical-align: bottom; }
#cases th small { display: block; color: var(--soft); font-weight: 400; }
#cases th[data-sort] { cursor: pointer; user-select: none; }
#cases th[data-sort]:hover::after { content: " \\2195"; color: #9aa7b4; }
#cases th[aria-sort=ascending]::after { content: " \\2191"; color: var(--ink); }
#cases th[aria-sort=descending]::after { content: " \\2193"; color: var(--ink); }
td { padding: 8px 6px; border-top: 1px solid var(--line); vertical-align: top; }
#cases .number { padding: 8px 4px; text-align: right; font-variant-numeric: tabular-nums; }
td.bad { color: var(--bad); font-weight: 700; background: #fdf3ee; }
td.about span { display: block; white-space: nowrap; color: var(--soft); font-size: 12px; }
td.images { white-space: nowrap; }
figure { display: inline-block; margin: 0 4px 0 0; }
figure img { display: block; height: 90px; min-width: 60px; background: #000; border-radius: 3px; }
figure img:hover { position: relative; z-index: 2; transform: scale(2.5); transform-origin: top left; }
figcaption { color: var(--soft); font-size: 11px; text-align: center; }
td.about ul { margin: 6px 0 0; padding-left: 16px; color: var(--bad); font-size: 12px; max-width: 250px; }
svg { display: block; }
svg text { font-size: 9px; fill: var(--soft); }
svg text.strong { font-size: 10px; font-weight: 700; fill: var(--ink); }
svg .curve { fill: none; stroke: #1f5fa8; stroke-width: 1.6; }
svg .level, svg .axis { fill: none; stroke: #c3ccd6; stroke-dasharray: 3 3; }
svg .axis { stroke-dasharray: none; }
svg .gap { stroke: #e8590c; stroke-width: 2; opacity: 0.6; }
svg path.arrival { fill: none; stroke: #2b8a3e; stroke-width: 1.4; }
svg text.arrival { fill: #2b8a3e; font-weight: 700; }
.plain td, .plain th { padding: 5px 12px; border: 1px solid var(--line); text-align: left; font-size: 13px; }
p { max-width: 90ch; }
</style>
</head>
<body>
<header>
<h1>Quality of $name</h1>
<span class="tag">research only, not for diagnosis</span><span class="tag">$origin</span>
<div class="cards">$cards</div>
</header>
<main>
<label><input type="checkbox" id="only"> only patients with findings</label>
<table id="cases">
<thead><tr><th data-sort="text">Patient</th><th>Middle slice</th><th>Mean signal in the mask</th>
<th>Tmax in the mask</th><th class="number" data-sort="number">Findings</th>$heads</tr></thead>
<tbody>
$rows
</tbody>
</table>
$lost
<h2>How to read it</h2>
<p>Click a column's head to sort; rest on an image to enlarge it. A number in red broke its limit, which the finding
under the patient's name states. Limits are where a person should look, not where a patient must be left out.</p>
<p><b>Middle slice</b>: the mean of the baseline and the frame at the bolus' peak in one grey scale, with the mask's
outline in orange; Tmax from 0 (blue) to $latest_s s (red). <b>Mean signal</b>: over its baseline, its first frames cut
at the top; the green line is the bolus' arrival; orange bars at the foot are frames with missing images, as high as the
fraction of slices that is missing. <b>Tmax</b>: square roots of volumes, so that small ones are seen; the dashed line
is at $late_s s.</p>
<table class="plain"><tr><th>Number</th><th>Meaning</th><th>Limit</th></tr>$limits</table>
</main>
<script>
const body = document.querySelector("#cases tbody");
for (const head of document.querySelectorAll("#cases th[data-sort]")) head.addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const read = (row) => {
    const cell = row.cells[head.cellIndex];
    if (head.dataset.sort === "text") return cell.textContent;
    return cell.dataset.value === "" ? Infinity : Number(cell.dataset.value);
  };
  document.querySelectorAll("#cases th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => (read(a) > read(b) ? down : read(a) < read(b) ? -down : 0)));
});
document.querySelector("#only").addEventListener("change", (event) => {
  for (const row of body.rows) row.hidden = event.target.checked && row.dataset.findings === "0";
});
</script>
</body>
</html>
""")
