"""Records, table and figures of the maps beside Tmax."""

import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from tmax_jax.files import csv_text
from tmax_jax.results.figures import map_montage, save_figure
from tmax_jax.results.records import write_text


class MapRow(NamedTuple):
    """A method's scores of one map on one patient, over the mask."""

    method: str
    fold: int
    case: str
    map: str
    unit: str  # of mae and bias
    mae: float
    bias: float
    ccc: float  # NaN where both maps are the same constant


def write_map_rows(path: Path, rows: Sequence[MapRow]) -> None:
    """Writes `maps.csv`."""
    write_text(path, csv_text(MapRow._fields, rows))


def read_map_rows(path: Path) -> list[MapRow]:
    """Reads `maps.csv`; no row where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            MapRow(row["method"], int(row["fold"]), row["case"], row["map"], row["unit"], *map(float, scores))
            for row in csv.DictReader(file)
            for scores in [(row["mae"], row["bias"], row["ccc"])]
        ]


def finish_maps(workdir: Path, folds: int, *, data: str) -> tuple[Table | None, list[Path]]:
    """Makes `results_maps.csv`, a figure a map of the holdout, and a table; nothing where Tmax alone was learnt.

    Args:
      workdir: of a finished run.
      folds: how many it has.
      data: "phantom", "real" or "mixed".
    """
    rows = [row for fold in range(folds) for row in read_map_rows(workdir / f"fold-{fold}" / "maps.csv")]
    if not rows:
        return None, []
    groups: dict[tuple[str, str, str], list[MapRow]] = {}
    for row in rows:
        groups.setdefault((row.map, row.method, row.unit), []).append(row)
    lines = [
        (name, method, unit, len(of_group), *(_mean([getattr(row, key) for row in of_group]) for key in _SCORES))
        for (name, method, unit), of_group in groups.items()
    ]
    write_text(workdir / "results_maps.csv", csv_text(("map", "method", "unit", "patients", *_SCORES), lines))
    table = Table(title=Text(f"{workdir.name}: the other maps, means over patients"), box=box.SIMPLE_HEAD)
    for column in ("map", "method", "unit"):
        table.add_column(column)
    for column in _SCORES:
        table.add_column(column, justify="right")
    for name, method, unit, _, *scores in lines:
        table.add_row(name, method, unit, *(f"{value:.3f}" for value in scores))
    return table, [workdir / "results_maps.csv", *_figures(workdir, {row.map: row.unit for row in rows}, data)]


_SCORES = ("mae", "bias", "ccc")


def _figures(workdir: Path, units: dict[str, str], data: str) -> list[Path]:
    paths = []
    with np.load(workdir / "final" / "maps.npz") as arrays:
        mask, spacing_mm = arrays["mask"], arrays["spacing_mm"]
        for name, unit in units.items():
            true, predicted = arrays[f"true_{name}"], arrays[f"predicted_{name}"]
            top = float(np.percentile(true[mask], 99))
            figure = map_montage(
                predicted,
                true,
                mask,
                spacing_mm=spacing_mm,
                title=f"{workdir.name}: {name} of the held-out patient",
                data=data,
                name=name,
                unit=unit,
                limits=(0.0, top),
                error_limit=top / 2,
            )
            paths.append(workdir / "figures" / f"holdout_{name}.png")
            save_figure(figure, paths[-1])
    return paths


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan
