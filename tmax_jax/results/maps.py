"""Figures of one patient's maps: every slice of every map, and the artery."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from tmax_jax.results.figures import sign, tile

_OUTSIDE = "black"
_BAR: dict[str, Any] = {"orientation": "horizontal", "shrink": 0.7, "aspect": 35, "pad": 0.01}
_LATE_S, _LATE_COLOURS = (4.0, 6.0, 8.0, 10.0), ("#4aa3ff", "#3fc96b", "#ffd23f", "#e8372c")


class Scale(NamedTuple):
    """How a map is shown."""

    title: str
    unit: str
    low: float
    high: float


# By the names of maps, in the order in which they are drawn. Flow and volume are shown relative to normal tissue, as
# they are read: their absolute scale hangs on how much of a voxel the artery fills.
_RELATIVE = ("cbf", "cbv")
SCALES = {
    "cbf": Scale("relative CBF", "of normal tissue's mean (Tmax up to 4 s)", 0.0, 2.0),
    "cbv": Scale("relative CBV", "of normal tissue's mean (Tmax up to 4 s)", 0.0, 2.0),
    "mtt": Scale("MTT", "s", 0.0, 15.0),
    "ttp": Scale("TTP, from the bolus arrival", "s", 0.0, 15.0),
    "tmax": Scale("Tmax", "s", 0.0, 12.0),
    "tmax_uncertainty": Scale("uncertainty of Tmax", "s to either side, nine truths of ten", 0.0, 6.0),
    "delay": Scale("delay of the arterial blood", "s", 0.0, 12.0),
}


def draw_maps(
    maps: Mapping[str, np.ndarray],
    baseline: np.ndarray,
    tissue: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    title: str,
    data: str,
) -> Figure:
    """Draws all slices of all maps, and the late tissue on the signal before the bolus.

    Args:
      maps: `[z, y, x]` by the names of `SCALES`; Tmax is among them.
      baseline: `[z, y, x]`, signal before the bolus.
      tissue: bool `[z, y, x]`; the rest of a map is not drawn.
      spacing_mm: z, y, x.
      title: above the figure.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure of a mosaic of slices a map, the first slice at the top left.
    """
    box = _box(tissue)
    slices, height, width = (np.zeros(tissue.shape)[box]).shape
    columns = min(slices, 6)
    aspect = spacing_mm[1] / spacing_mm[2]
    shown = [name for name in SCALES if name in maps]
    across = min(3 if len(shown) < 6 else 4, len(shown) + 1)
    down = math.ceil((len(shown) + 1) / across)
    panel = 6.0
    panel_height = panel * math.ceil(slices / columns) * height * aspect / (columns * width) + 1.1
    figure = Figure(figsize=(across * panel, down * panel_height + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=14)
    axes = np.ravel(figure.subplots(down, across, squeeze=False))
    for ax in axes:
        ax.set(xticks=[], yticks=[], facecolor=_OUTSIDE)
    for ax, name in zip(axes, shown, strict=False):
        scale = SCALES[name]
        values = np.where(tissue, maps[name], np.nan)
        if name in _RELATIVE:
            values = values / np.mean(maps[name], where=tissue & (maps["tmax"] <= _LATE_S[0]))
        values = values[box]
        beyond = np.nanmax(values, initial=scale.low) > scale.high
        image = ax.imshow(
            tile(values, columns), cmap="turbo", vmin=scale.low, vmax=scale.high, aspect=aspect, interpolation="nearest"
        )
        ax.set_title(scale.title)
        figure.colorbar(image, ax=ax, label=scale.unit, extend="max" if beyond else "neither", **_BAR)
    ax = axes[len(shown)]
    top = np.percentile(baseline[tissue], 99.5) if tissue.any() else 1.0
    ax.imshow(tile(baseline[box], columns), cmap="gray", vmin=0, vmax=1.2 * top, aspect=aspect, interpolation="nearest")
    late = np.where(tissue & (maps["tmax"] > _LATE_S[0]), maps["tmax"], np.nan)[box]
    norm = BoundaryNorm([*_LATE_S, 1e3], len(_LATE_S))
    image = ax.imshow(
        tile(late, columns), cmap=ListedColormap(_LATE_COLOURS), norm=norm, aspect=aspect, interpolation="nearest"
    )
    ax.set_title("late tissue, on the signal before the bolus")
    for index in range(slices):
        row, column = divmod(index, columns)
        corner = ((column + 0.03) * width, (row + 0.03) * height)
        ax.text(*corner, str(index + 1), color="0.85", fontsize=8, ha="left", va="top")
    bar = figure.colorbar(image, ax=ax, label="Tmax above (s)", spacing="uniform", **_BAR)
    bar.set_ticks(list(_LATE_S), labels=[f"{threshold:g}" for threshold in _LATE_S])
    for ax in axes[len(shown) + 1 :]:
        ax.set_visible(False)
    sign(figure, data)
    return figure


def draw_artery(
    artery: np.ndarray,
    tissue_curve: np.ndarray,
    times_s: np.ndarray,
    *,
    arrival_s: float,
    voxels: np.ndarray,
    baseline: np.ndarray,
    spacing_mm: Sequence[float],
    title: str,
    data: str,
) -> Figure:
    """Draws the artery's curve beside the tissue's, and where it was taken.

    Args:
      artery: `[time]`, dR2* in 1/s.
      tissue_curve: `[time]`, mean of the brain.
      times_s: `[time]`.
      arrival_s: of the bolus in the brain's mean curve.
      voxels: bool `[z, y, x]`, of the artery; all False where it is a curve of the user's.
      baseline: `[z, y, x]`, signal before the bolus.
      spacing_mm: z, y, x.
      title: above the figure.
      data: "phantom", "real" or "mixed".

    Returns:
      A figure of two panels: curves, and up to six slices with most of the voxels.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    left, right = figure.subplots(1, 2)
    left.plot(times_s, artery, color="C3", marker="o", markersize=3, label="artery")
    left.plot(times_s, tissue_curve, color="C0", label="brain, mean")
    left.axvline(arrival_s, color="0.5", linestyle="--", linewidth=1, label="bolus arrives")
    left.set(xlabel="time (s)", ylabel="ΔR2* (1/s)")
    left.spines[["top", "right"]].set_visible(False)
    left.grid(alpha=0.3)
    left.legend(frameon=False)
    right.set(xticks=[], yticks=[])
    counts = voxels.sum(axis=(1, 2))
    chosen = sorted(np.argsort(-counts, kind="stable")[: min(6, max(1, int((counts > 0).sum())))])
    if not voxels.any():
        right.axis("off")
        right.text(0.5, 0.5, "a curve given by the user", ha="center", va="center", color="0.4")
    else:
        box = _box(baseline > 0.1 * baseline.max())
        picked = (chosen, *box[1:])
        columns = min(3, len(chosen))
        aspect = spacing_mm[1] / spacing_mm[2]
        height, width = baseline[box].shape[1:]
        right.imshow(tile(baseline[picked], columns), cmap="gray", aspect=aspect, interpolation="nearest")
        rows, places = np.nonzero(np.nan_to_num(tile(voxels[picked].astype(float), columns)) > 0)
        right.scatter(places, rows, s=9, color="C3", marker="s", linewidths=0)
        for index, z in enumerate(chosen):
            row, column = divmod(index, columns)
            corner = ((column + 0.03) * width, (row + 0.04) * height)
            right.text(*corner, f"slice {z + 1}", color="0.9", fontsize=8, ha="left", va="top")
        right.set_title(f"{int(voxels.sum())} voxels of the artery")
    sign(figure, data)
    return figure


def _box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The rows and columns that hold a mask in any slice, and two more on each side; everything where it is empty."""
    spans = [slice(None)]
    for axis in (1, 2):
        used = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(max(0, used[0] - 2), used[-1] + 3) if len(used) else slice(None))
    return (spans[0], spans[1], spans[2])
