"""Figures of a sweep: differences with intervals, the same patients seen by every variant, how each variant learnt."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tmax_jax.metrics import METRICS
from tmax_jax.results.figures import TMAX_LIMITS_S, finish_curve, sign
from tmax_jax.results.records import read_records
from tmax_jax.results.statistics import Comparison

COLOURS = {"better": "#2b8a3e", "worse": "#c92a2a", "no difference shown": "0.45"}  # by verdict
_PATIENTS = 4  # of a montage
_HYPOPERFUSED_S = 6.0
_OUTSIDE = "0.15"


class Patient(NamedTuple):
    """One patient's maps, `[z, y, x]`."""

    name: str
    tmax_s: np.ndarray
    mask: np.ndarray
    spacing_mm: np.ndarray
    predictions_s: Mapping[str, np.ndarray]  # by variant


def forest(comparisons: Mapping[str, Mapping[str, Comparison]], *, baseline: str, data: str) -> Figure:
    """Draws each variant's mean difference from the baseline with its interval, a panel a metric.

    Args:
      comparisons: by metric, then by variant; the same variants for all metrics.
      baseline: what they were compared with.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure whose colours are the verdicts.
    """
    variants = list(next(iter(comparisons.values())))
    figure = Figure(figsize=(2.0 + 2.6 * len(comparisons), 1.5 + 0.27 * max(3, len(variants))), layout="constrained")
    axes = figure.subplots(1, len(comparisons), sharey=True, squeeze=False)[0]
    for ax, (metric, found) in zip(axes, comparisons.items(), strict=True):
        edge = _edge([row.difference for row in found.values()])
        for place, variant in enumerate(variants):
            row, colour = found[variant], COLOURS[found[variant].verdict]
            if abs(row.difference) <= edge:
                ax.plot([max(row.low, -edge), min(row.high, edge)], [place, place], color=colour, linewidth=1.6)
                ax.plot([row.difference], [place], "o", color=colour, markersize=4.5)
            else:
                right = row.difference > 0
                at, marker, away = (edge, ">", -7) if right else (-edge, "<", 7)
                ax.plot([at], [place], marker, color=colour, markersize=6)
                ax.annotate(
                    f"{row.difference:+.3g}",
                    (at, place),
                    (away, 0),
                    textcoords="offset points",
                    ha="right" if right else "left",
                    va="center",
                    fontsize=7,
                    color=colour,
                )
        ax.axvline(0, color="0.2", linewidth=0.8)
        unit = f" ({METRICS[metric].unit})" if METRICS[metric].unit else ""
        good = {"low": "left is better", "high": "right is better", "zero": "size; left is better"}[
            METRICS[metric].best
        ]
        ax.set_title(f"{METRICS[metric].label}{unit}", fontsize=9)
        ax.set_xlabel(good, fontsize=8, color="0.4")
        ax.tick_params(labelsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        ax.xaxis.get_offset_text().set_fontsize(8)
        ax.grid(axis="x", alpha=0.25)
        ax.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set(yticks=range(len(variants)), ylim=(len(variants) - 0.4, -0.6))
    axes[0].set_yticklabels(variants, fontsize=8)
    figure.suptitle(f"Difference from {baseline}, 95 % interval over patients", fontsize=11)
    sign(figure, data)
    return figure


def _edge(differences: Sequence[float]) -> float:
    """Returns how far from zero a panel reaches: one variant that went wrong must not hide the others."""
    reach = np.sort(np.abs(differences))
    usual = 4.0 * reach[int(0.75 * (len(reach) - 1))]
    return float(usual) if 0 < usual < reach[-1] else math.inf


def montage(patients: Sequence[Patient], *, data: str) -> Figure:
    """Draws one slice of each patient, true and as every variant predicts it, in one colour scale.

    The slice is that with the most tissue above 6 s, or the middle one where there is none.

    Args:
      patients: each with the same variants.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure with a column a patient, the truth at the top.
    """
    names = ["true", *patients[0].predictions_s]
    rows = math.ceil(len(names) / (columns := 1 if len(names) <= 12 else 2))
    width = 1.25 * len(patients)
    label_width = 0.9 + 0.1 * max(map(len, names))
    figure = Figure(figsize=(columns * (width + label_width), 1.05 * rows + 1.0), layout="constrained")
    axes = figure.subplots(rows, columns * len(patients), squeeze=False)
    image = None
    for ax in axes.flat:
        ax.set_axis_off()
    for number, name in enumerate(names):
        block, row = divmod(number, rows)
        for place, patient in enumerate(patients):
            late = (patient.tmax_s > _HYPOPERFUSED_S) & patient.mask
            z = int(late.sum(axis=(1, 2)).argmax()) if late.any() else len(late) // 2
            values = patient.tmax_s if name == "true" else patient.predictions_s[name]
            ax = axes[row, block * len(patients) + place]
            ax.set_axis_on()
            shown = np.where(patient.mask[z], values[z], np.nan)
            aspect = float(patient.spacing_mm[1] / patient.spacing_mm[2])
            low, high = TMAX_LIMITS_S
            image = ax.imshow(shown, cmap="turbo", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
            ax.set(xticks=[], yticks=[], facecolor=_OUTSIDE)
            if row == 0:
                ax.set_title(f"{patient.name}\nslice {z + 1}", fontsize=8)
            if place == 0:
                ax.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)
    if image is not None:
        figure.colorbar(image, ax=axes, label="Tmax (s)", shrink=0.5, aspect=25, extend="both")
    sign(figure, data)
    return figure


def learning_curves(scores: Mapping[str, Sequence[tuple[int, float]]], *, data: str) -> Figure:
    """Draws the validation error by epoch, a line a variant.

    Args:
      scores: by variant, `(epoch, MSE over the brain in s^2)`, the mean of its folds.
      data: "phantom", "real" or "mixed".
    """
    figure = Figure(figsize=(9, 0.6 + max(3.6, 0.19 * len(scores))), layout="constrained")
    ax = figure.subplots()
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(scores)))
    for number, (colour, (variant, points)) in enumerate(zip(colours, scores.items(), strict=True)):
        style = ("-", "--", ":")[number % 3]
        ax.plot(*zip(*points, strict=True), label=variant, color=colour, linestyle=style, linewidth=1.3)
    finish_curve(ax, "validation MSE, brain (s²), mean of the folds")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    sign(figure, data)
    return figure


def read_patients(runs: Mapping[str, Path], holdout: str, folds: int) -> list[Patient]:
    """Reads the patients whose predicted maps every variant kept: the holdout, and one of each fold.

    Args:
      runs: folders by variant.
      holdout: its case id.
      folds: how many there are.
    """
    files = {f"{holdout} (holdout)": "final/holdout.npz"}
    files |= {f"fold {fold}": f"fold-{fold}/example.npz" for fold in range(folds)}
    patients = []
    for name, file in list(files.items())[:_PATIENTS]:
        if not all((folder / file).exists() for folder in runs.values()):
            continue
        maps = {variant: dict(np.load(folder / file)) for variant, folder in runs.items()}
        first = next(iter(maps.values()))
        predictions_s = {variant: arrays["prediction_s"] for variant, arrays in maps.items()}
        patients.append(Patient(name, first["tmax_s"], first["mask"], first["spacing_mm"], predictions_s))
    return patients


def read_scores(folder: Path, folds: int) -> list[tuple[int, float]]:
    """Reads the validation error of a run by epoch, the mean of the folds that got there."""
    by_epoch: dict[int, list[float]] = {}
    for fold in range(folds):
        for record in read_records(folder / f"fold-{fold}" / "metrics.jsonl"):
            by_epoch.setdefault(record["epoch"], []).append(record["mse_brain_s2"])
    return [(epoch, float(np.mean(values))) for epoch, values in sorted(by_epoch.items())]
