"""Whether intervals hold the truth as often as they say: the figure of a network's uncertainty."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def covered(error: np.ndarray, scale: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Returns how many errors lie within the intervals of Laplace distributions that should hold given shares.

    Args:
      error: any shape, estimate minus truth.
      scale: of the same shape, of the distribution about the estimate.
      shares: of the distribution inside an interval, each in 0..1.

    Returns:
      A fraction for each share.

    Example:
      >>> covered(np.array([0.1, -0.5, 1.0, 3.0]), np.ones(4), (0.5, 0.9))
      [0.5, 0.75]
    """
    return [float(np.mean(np.abs(error) <= -scale * np.log1p(-share))) for share in shares]


def calibration_figure(curves: Mapping[str, Sequence[float]], shares: Sequence[float], *, title: str) -> Figure:
    """Draws the share of truths found in intervals over the share that they should hold.

    Args:
      curves: name to what `covered` returns.
      shares: that the intervals should hold.
      title: above the figure.

    Returns:
      A square figure; curves above the diagonal are too cautious, below it too sure.
    """
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=1)
    ax.axvline(0.9, color="0.85", linewidth=1, zorder=0)
    for name, values in curves.items():
        ax.plot(shares, values, marker="o", markersize=3, linewidth=1.2, label=name)
    ax.text(0.05, 0.93, "too cautious", color="0.4", fontsize=9)
    ax.text(0.95, 0.05, "too sure", color="0.4", fontsize=9, ha="right")
    ax.set(
        title=title,
        xlabel="share that the interval should hold",
        ylabel="share of true delays inside it",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    ax.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0.02, 0.92))
    return figure
