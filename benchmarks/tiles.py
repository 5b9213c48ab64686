"""Draws the phantom of tiles: truth, each method's maps, and their errors.

  python benchmarks/tiles.py --out=tiles.png
  python benchmarks/tiles.py --out=tiles.png --methods=csvd,osvd,tikhonov --residue=box
  python benchmarks/tiles.py --out=tiles.png --run=runs/simulated        and a network of configs/simulated.py

Columns of tiles differ in transit time, rows in delay; noise as at SNR 50. Tmax is compared with the true delay: that
classical methods read it late, and later the longer blood stays in the tissue, shows as colours that follow columns
instead of rows. A further method is a function of curves, artery and frame interval to maps, as `classical` makes them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from matplotlib.figure import Figure

from tmax_jax.perfusion.alignment import align
from tmax_jax.perfusion.deconvolution import METHODS
from tmax_jax.perfusion.parametric import ML_PER_GRAM, maps
from tmax_jax.perfusion.tiles import TilePhantom, pearson, tile_phantom
from tmax_jax.trained import load_estimator

_OUT = flags.DEFINE_string("out", "tiles.png", "PNG file")
_METHODS = flags.DEFINE_list("methods", ["osvd"], "rows of the figure, of: " + ", ".join(METHODS))
_RUN = flags.DEFINE_string("run", None, "run folder of configs/simulated.py, for rows of its own")
_RESIDUE = flags.DEFINE_string("residue", "exponential", "exponential, box or linear")
_SNR = flags.DEFINE_float("snr", 50.0, "of the signal", 1.0)
_SLICE = 3  # CBV 4 ml/100 g
Read = Callable[[jax.Array, jax.Array, float], dict[str, np.ndarray]]  # concentration, artery, seconds between frames
SCALES = {  # by quantity: label, top of its colours, and of its errors'
    "cbf": ("CBF (ml/100 g/min)", 80.0, 40.0),
    "cbv": ("CBV (ml/100 g)", 6.0, 2.0),
    "mtt": ("MTT (s)", 24.0, 8.0),
    "tmax": ("Tmax, truth: delay (s)", 8.0, 6.0),
}


def classical(method: str) -> Read:
    """Returns a classical method as a function of curves."""

    def read(concentration: jax.Array, aif: jax.Array, dt: float) -> dict[str, np.ndarray]:
        found = maps(concentration, aif, dt=dt, method=method, scale=ML_PER_GRAM)
        fields = found.cbf, found.cbv, found.mtt_s, found.tmax_s
        return dict(zip(SCALES, map(np.asarray, fields), strict=True))

    return read


def learned(run: Path) -> Read:
    """Returns a network that was trained on simulated curves as a function of curves."""
    estimate = load_estimator(run)

    def read(concentration: jax.Array, aif: jax.Array, dt: float) -> dict[str, np.ndarray]:
        found = estimate(align(concentration, aif, dt=dt).channels())
        fields = {"cbf": found.cbf, "cbv": found.cbv, "mtt": found.mtt_s, "tmax": found.delay_s}
        return {name: np.asarray(values) for name, values in fields.items()}

    return read


def draw(phantom: TilePhantom, found: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Draws truth, and for each method its maps and their errors with the correlation.

    Args:
      phantom: of `tile_phantom`.
      found: maps `[z, y, x]` by method and by the names of `SCALES`.

    Returns:
      The figure, one slice of the phantom.
    """
    fields = phantom.cbf, phantom.cbv, phantom.mtt_s, phantom.delay_s
    truth = dict(zip(SCALES, map(np.asarray, fields), strict=True))
    rows = [("truth", truth, False)]
    for name, values in found.items():
        rows += [(name, values, False), (f"{name} - truth", {key: values[key] - truth[key] for key in SCALES}, True)]
    figure = Figure(figsize=(2.9 * len(SCALES), 2.75 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), len(SCALES), squeeze=False)
    for (name, values, is_error), line in zip(rows, axes, strict=True):
        line[0].set_ylabel(name, fontsize=11)
        for ax, (key, (label, top, error)) in zip(line, SCALES.items(), strict=True):
            shown = np.where(phantom.scored[_SLICE], values[key][_SLICE], np.nan)
            low, high, colours = (-error, error, "RdBu_r") if is_error else (0.0, top, "turbo")
            image = ax.imshow(shown, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
            ax.set(xticks=[], yticks=[], facecolor="0.15")
            title = label if name == "truth" else ""
            if not is_error and name != "truth":
                title = f"r = {float(pearson(*map(jnp.asarray, (values[key], truth[key])), where=phantom.scored)):.2f}"
            if is_error:
                title = f"mean error {float(np.mean(values[key], where=np.asarray(phantom.scored))):+.1f}"
            ax.set_title(title, fontsize=9)
            figure.colorbar(image, ax=ax, shrink=0.85, extend="both" if is_error else "max")
    figure.supxlabel(
        "columns of tiles: MTT 24 to 3.4 s; rows: delay 0 to 3 s; simulated, research only", fontsize=8, color="0.4"
    )
    return figure


def main(_: Sequence[str]) -> None:
    """Simulates, reads and draws."""
    logging.set_verbosity(logging.WARNING)  # reading a checkpoint tells much
    phantom = tile_phantom(jax.random.key(0), residue=_RESIDUE.value, snr=_SNR.value)
    readers = {name: classical(name) for name in _METHODS.value}
    if _RUN.value:
        readers[Path(_RUN.value).name] = learned(Path(_RUN.value))
    found = {name: read(phantom.concentration, phantom.aif, phantom.dt) for name, read in readers.items()}
    draw(phantom, found).savefig(Path(_OUT.value), dpi=72)
    print(f"written: {_OUT.value}")


if __name__ == "__main__":
    app.run(main)
