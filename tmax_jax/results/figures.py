"""Figures of a run: the held-out patient slice by slice, the learning curves, and how well two maps agree."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tmax_jax.files import write_whole
from tmax_jax.results.records import RecordError, read_records, read_run

TMAX_LIMITS_S = (0.0, 12.0)  # beyond 10 s tissue is as late as it gets in clinical use
ERROR_LIMIT_S = 6.0
_OUTSIDE = "0.15"  # dark, so that blue (0 s) and white (no error) both stand out


def holdout_montage(
    prediction_s: np.ndarray,
    tmax_s: np.ndarray,
    mask: np.ndarray,
    *,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    title: str,
    data: str,
) -> Figure:
    """Draws every slice three times: true, predicted, and predicted minus true.

    All slices share one colour scale, in the true and in the predicted block alike, so that no slice is
    flattered by a scale of its own.

    Args:
      prediction_s: float32 `[z, y, x]`, predicted Tmax in seconds.
      tmax_s: float32 `[z, y, x]`, true Tmax in seconds.
      mask: bool `[z, y, x]`, True in the brain; the rest is not drawn.
      spacing_mm: of z, y, x.
      title: above the figure.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure of three blocks with the slices numbered from 1.

    Raises:
      RecordError: the shapes differ, the mask is empty, or a value in the brain is not finite.
    """
    return map_montage(
        prediction_s,
        tmax_s,
        mask,
        spacing_mm=spacing_mm,
        title=title,
        data=data,
        name="Tmax",
        unit="s",
        limits=TMAX_LIMITS_S,
        error_limit=ERROR_LIMIT_S,
    )


def map_montage(
    predicted: np.ndarray,
    true: np.ndarray,
    mask: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    title: str,
    data: str,
    name: str,
    unit: str,
    limits: tuple[float, float],
    error_limit: float,
) -> Figure:
    """Draws a map of any kind as `holdout_montage` draws Tmax.

    Args:
      predicted: float32 `[z, y, x]`.
      true: float32 `[z, y, x]`.
      mask: bool `[z, y, x]`, True in the brain; the rest is not drawn.
      spacing_mm: of z, y, x.
      title: above the figure.
      data: "phantom", "real" or "mixed".
      name: of the map.
      unit: of its values.
      limits: of the colours of both maps.
      error_limit: of those of their difference, either way.

    Returns:
      A figure of three blocks with the slices numbered from 1.
    """
    _check(predicted, true, mask)
    slices = mask.shape[0]
    columns = max(1, round(math.sqrt(slices * 2 / 3)))  # three such blocks side by side fill a wide page
    rows = math.ceil(slices / columns)
    box = _brain_box(mask)
    height, width = mask[box].shape[1:]
    aspect = spacing_mm[1] / spacing_mm[2]
    block_width = 4.6
    block_height = block_width * (rows * height * aspect) / (columns * width)
    figure = Figure(figsize=(3 * block_width + 0.4, block_height + 1.35), layout="constrained")
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots(1, 3)
    blocks = (
        (f"true {name}", true, "turbo", limits, f"{name} ({unit})"),
        (f"predicted {name}", predicted, "turbo", limits, f"{name} ({unit})"),
        ("predicted - true", predicted - true, "RdBu_r", (-error_limit, error_limit), f"error ({unit})"),
    )
    for ax, (heading, values, colours, (low, high), label) in zip(axes, blocks, strict=True):
        tiles = tile(np.where(mask, values, np.nan)[box], columns)
        image = ax.imshow(tiles, cmap=colours, vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
        ax.set(title=heading, xticks=[], yticks=[], facecolor=_OUTSIDE)
        for index in range(slices):
            row, column = divmod(index, columns)
            corner = (column * width + 0.04 * width, row * height + 0.04 * height)
            ax.text(*corner, str(index + 1), color="0.85", fontsize=7, ha="left", va="top")
        inside = values[mask]
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        beyond = extend[bool(inside.min() < low), bool(inside.max() > high)]
        figure.colorbar(image, ax=ax, orientation="horizontal", label=label, extend=beyond, shrink=0.7, aspect=30)
    sign(figure, data)
    return figure


def _brain_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The rows and columns that hold brain in any slice, and one more on each side."""
    spans = []
    for axis in (1, 2):
        used = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(max(0, used[0] - 1), used[-1] + 2))
    return (slice(None), *spans)


def tile(volume: np.ndarray, columns: int) -> np.ndarray:
    """Lays the slices of `[z, y, x]` side by side, row after row; NaN where no slice is left."""
    slices, height, width = volume.shape
    rows = math.ceil(slices / columns)
    padded = np.full((rows * columns, height, width), np.nan, np.float32)
    padded[:slices] = volume
    return padded.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def learning_curves(records_by_fold: Mapping[str, Sequence[Mapping[str, Any]]], *, data: str) -> Figure:
    """Draws training loss and validation error by epoch, a line a fold.

    Args:
      records_by_fold: the lines of each `metrics.jsonl` by the name of the fold. Records without
        `mse_all_s2` (the final fit validates on nobody) appear on the left only.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure of two panels; an axis is logarithmic where its values span more than a factor of 30.

    Raises:
      RecordError: there is no record at all.
    """
    if not any(records_by_fold.values()):
        raise RecordError("no metrics.jsonl holds a record, so there is no learning curve; train an epoch first")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    panels = (("train_loss", "training loss"), ("mse_all_s2", "validation MSE, all voxels (s²)"))
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(records_by_fold)))
    for ax, (key, label) in zip(axes, panels, strict=True):
        for colour, (name, records) in zip(colours, records_by_fold.items(), strict=True):
            points = [(record["epoch"], record[key]) for record in records if key in record]
            if points:
                ax.plot(*zip(*points, strict=True), label=name, color=colour, marker="o", markersize=3)
        finish_curve(ax, label)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    sign(figure, data)
    return figure


def finish_curve(ax: Axes, label: str) -> None:
    """Labels the axes of a panel over epochs; logarithmic where its values span more than a factor of 30."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines] or [np.ones(1)])
    if values.min() > 0 and values.max() > 30 * values.min():
        ax.set_yscale("log")
    ax.set(xlabel="epoch", ylabel=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)


def agreement(prediction_s: np.ndarray, tmax_s: np.ndarray, mask: np.ndarray, *, data: str) -> Figure:
    """Draws predicted against true Tmax, and their difference against their mean.

    Args:
      prediction_s: float32 `[z, y, x]`, predicted Tmax in seconds.
      tmax_s: float32 `[z, y, x]`, true Tmax in seconds.
      mask: bool `[z, y, x]`, True in the brain; only these voxels count.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure of two histograms of voxels.

    Raises:
      RecordError: the shapes differ, the mask is empty, or a value in the brain is not finite.

    Reference:
      Bland and Altman 1986, Lancet 327:307.
    """
    _check(prediction_s, tmax_s, mask)
    true, predicted = tmax_s[mask].astype(float), prediction_s[mask].astype(float)
    mean, difference = (true + predicted) / 2, predicted - true
    bias, half = difference.mean(), 1.96 * difference.std()
    low = min(0.0, math.floor(predicted.min()))
    high = max(1.0, math.ceil(max(true.max(), predicted.max())))
    reach = 1.05 * max(np.abs(difference).max(), abs(bias) + half, 0.5)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = [
        ax.hist2d(x, y, bins=100, range=limits, cmap="viridis", norm=LogNorm(vmin=1), rasterized=True)
        for ax, x, y, limits in (
            (left, true, predicted, [(low, high), (low, high)]),
            (right, mean, difference, [(low, high), (-reach, reach)]),
        )
    ]
    left.axline((0, 0), slope=1, color="0.4", linewidth=1, linestyle="--")
    left.set(xlabel="true Tmax (s)", ylabel="predicted Tmax (s)", aspect="equal", title=f"{true.size:,} voxels")
    right.set(xlabel="mean of both (s)", ylabel="predicted - true (s)", title="Bland-Altman")
    for value, name in ((bias, "bias"), (bias + half, "+1.96 sd"), (bias - half, "-1.96 sd")):
        right.axhline(value, color="C3", linewidth=1, linestyle="-" if name == "bias" else "--")
        right.annotate(
            f"{name}\n{value:.2f} s",
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="C3",
        )
    figure.colorbar(counts[0][3], ax=left, label="voxels", shrink=0.85)
    sign(figure, data)
    return figure


def _check(prediction_s: np.ndarray, tmax_s: np.ndarray, mask: np.ndarray) -> None:
    if not prediction_s.shape == tmax_s.shape == mask.shape or mask.ndim != 3:
        shapes = f"prediction {prediction_s.shape}, truth {tmax_s.shape}, mask {mask.shape}"
        raise RecordError(f"{shapes}; a figure needs three volumes [z, y, x] of one shape")
    if not mask.any():
        raise RecordError("the mask of the holdout patient is empty, so there is nothing to draw")
    if not (np.isfinite(prediction_s[mask]).all() and np.isfinite(tmax_s[mask]).all()):
        raise RecordError("Tmax holds NaN or infinity inside the brain; look at the training loss of this run")


def sign(figure: Figure, data: str) -> None:
    """Says in the figure itself what it must not be taken for, since figures travel without their text."""
    origin = {"phantom": "phantom data (simulated)", "mixed": "partly phantom data (simulated)"}
    text = " · ".join(filter(None, [origin.get(data), "research only, not for diagnosis"]))
    figure.supxlabel(text, x=0.995, ha="right", fontsize=7, color="0.45")


def save_figures(run_folder: Path) -> list[Path]:
    """Draws all figures of a finished run into its `figures` folder.

    Args:
      run_folder: of one run.

    Returns:
      The files: `holdout.png`, `learning_curves.png`, `agreement.png`.

    Raises:
      RecordError: the run is not finished, or its prediction cannot be drawn.
    """
    run = read_run(run_folder)
    path = run_folder / "final" / "holdout.npz"
    if not path.exists():
        raise RecordError(f"{path} is not there: the final fit is not finished; run the same command again to go on")
    with np.load(path) as arrays:
        maps = [arrays[name] for name in ("prediction_s", "tmax_s", "mask")]
        spacing_mm = arrays["spacing_mm"]
    folds = len({row.fold for row in run.cases})
    records = {f"fold {fold}": read_records(run_folder / f"fold-{fold}" / "metrics.jsonl") for fold in range(folds)}
    records["all patients"] = read_records(run_folder / "final" / "metrics.jsonl")
    title = f"{run.holdout[0].method}: held-out patient {run.holdout[0].case}"
    figures = {
        "holdout": holdout_montage(*maps, spacing_mm=spacing_mm, title=title, data=run.data),
        "learning_curves": learning_curves(records, data=run.data),
        "agreement": agreement(*maps, data=run.data),
    }
    folder = run_folder / "figures"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths


def save_figure(figure: Figure, path: Path, *, dpi: int = 150) -> None:
    """Writes a figure as PNG, whole or not at all, with nothing in it of who made it where."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    write_whole(path, buffer.getvalue())
