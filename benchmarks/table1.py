"""Times the pointwise part of the paper's Table I as one group of fits, against one run after another.

  python -m benchmarks.table1                    a few minutes on two idle CPU cores
  python -m benchmarks.table1 --whole            the group itself at the paper's size: 44 patients, 25 epochs

Two networks, three learning rates, six folds and the final fits: 42 fits, as `tmax_jax.sweep` runs them, records and
scores included. Without --whole fewer patients and epochs are run and the rest is calculated: what an epoch takes grows
with the patients, and what is done once a fit (compilation, initial weights) is taken as it is. The patients are random
images at full size; the two ways must give the same scores.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging
from rich.console import Console

from benchmarks.alternate import agree, save_ratios
from configs import one_layer, two_layer
from tmax_jax.cohort.batches import read_cohort
from tmax_jax.cohort.store import Case, list_cases, write_case
from tmax_jax.experiment import claim_workdir, draw_folds, run_part
from tmax_jax.group import Fit, make_groups, run_group
from tmax_jax.parts import build
from tmax_jax.results.records import read_cases

_PATIENTS = flags.DEFINE_integer("patients", 8, "of the reduced run, one of them held out", 8)
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time")
_WHOLE = flags.DEFINE_boolean("whole", False, "run the group at the paper's size instead of calculating it")
_RATES = (1e-5, 1e-4, 1e-3)
_NETWORKS = {"one_layer": one_layer, "two_layer": two_layer}
_PAPER = (45, 25)  # patients, epochs
_QUIET = Console(quiet=True)


def write_store(store: Path, patients: int, size: tuple[int, ...]) -> None:
    """Writes patients of random images whose signal falls with Tmax, with a round brain."""
    z, y, x = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in size[:3])]
    mask = np.broadcast_to(0.3 * z**2 + y**2 + x**2 < 0.7, size[:3])
    for number in range(patients):
        rng = np.random.default_rng(number)
        tmax_s = rng.gamma(2, 2, size[:3]).astype(np.float32) * mask
        bolus = np.exp(-((np.arange(size[3]) - 15 - tmax_s[..., None]) ** 2 / np.float32(20)))
        signal = (1000 - 400 * bolus + rng.normal(0, 20, size)).astype(np.uint16) * mask[..., None]
        attributes = {
            "data": "phantom",
            "intensity_min": 0.0,
            "intensity_max": float(signal.max()),
            "frame_times_s": [1.5 * frame for frame in range(size[3])],
            "spacing_mm": [5.0, 1.8, 1.8],
        }
        inserted = np.zeros((size[0], size[3]), bool)
        write_case(store, Case(f"case-{number:04d}", signal, mask, inserted, {"tmax": tmax_s}, attributes))


def all_fits(store: Path, folder: Path, epochs: int) -> list[Fit]:
    """Returns the 42 fits of a new sweep."""
    fits = []
    for network, module in _NETWORKS.items():
        for rate in _RATES:
            config = module.get_config("paper")
            config.name, config.epochs, config.optimizer.learning_rate = f"{network}-{rate:g}", epochs, rate
            config.data.store = str(store)
            parts, workdir = build(config), folder / config.name
            claim_workdir(config, workdir)
            draw_folds(config, workdir / "folds.json", list_cases(store))
            fits += [Fit(config, parts, part, workdir) for part in (*map(str, range(config.folds)), "final")]
    return fits


def together_s(store: Path, folder: Path, epochs: int) -> float:
    """Returns the seconds of all fits as groups, the reading of the cohort included."""
    fits = all_fits(store, folder, epochs)
    start = time.perf_counter()
    cohort = read_cohort(store, list_cases(store))
    folds = draw_folds(fits[0].config, fits[0].workdir / "folds.json", list_cases(store))
    for places in make_groups(fits):
        failures = run_group([fits[place] for place in places], cohort, folds, _QUIET)
        if failures:
            raise SystemExit(f"error: {failures}")
    return time.perf_counter() - start


def alone_s(store: Path, folder: Path, epochs: int) -> dict[str, float]:
    """Returns the seconds of fold 0 of each network by itself."""
    cohort, seconds = read_cohort(store, list_cases(store)), {}
    for fit in all_fits(store, folder, epochs):
        if fit.part == "0" and fit.config.optimizer.learning_rate == _RATES[-1]:
            folds = draw_folds(fit.config, fit.workdir / "folds.json", list_cases(store))
            start = time.perf_counter()
            run_part(fit.config, fit.parts, cohort, folds, fit.part, fit.workdir, _QUIET)
            seconds[fit.config.model.name] = time.perf_counter() - start
    return seconds


def at_paper_size(short_s: float, long_s: float) -> float:
    """Takes the times of one and of three epochs to those of the paper's patients and epochs."""
    epoch_s = max(long_s - short_s, 0) / 2
    patients = (_PAPER[0] - 1) / (_PATIENTS.value - 1)
    return max(short_s - epoch_s, 0) + epoch_s * _PAPER[1] * patients


def scores(folder: Path, network: str) -> list[Any]:
    """Returns fold 0's rows of a network at the highest rate."""
    return read_cases(folder / f"{network}-{_RATES[-1]:g}" / "fold-0" / "cases.csv")


def main(_: Sequence[str]) -> None:
    """Prints both times and their ratio."""
    logging.set_verbosity(logging.WARNING)  # checkpoints say more than the results
    size = tuple(map(int, _SIZE.value))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        patients = _PAPER[0] if _WHOLE.value else _PATIENTS.value
        write_store(folder / "cohort.zarr", patients, size)
        if _WHOLE.value:
            seconds = together_s(folder / "cohort.zarr", folder / "whole", _PAPER[1])
            print(f"42 fits of {patients - 1} patients and {_PAPER[1]} epochs in one group: {seconds / 60:.1f} min")
            return
        group, single = [], []
        for epochs in (1, 3):
            group.append(together_s(folder / "cohort.zarr", folder / f"together-{epochs}", epochs))
            single.append(alone_s(folder / "cohort.zarr", folder / f"alone-{epochs}", epochs))
            print(f"{patients} patients, {epochs} epochs: 42 fits together {group[-1]:.1f} s; fold 0 alone", end=" ")
            print(", ".join(f"{network} {value:.1f} s" for network, value in single[-1].items()), flush=True)
        for network in _NETWORKS:
            rows = zip(scores(folder / "together-3", network), scores(folder / "alone-3", network), strict=True)
            for one, other in rows:
                agree(f"{network}, {one.method}", one.scores["mse_all_s2"], other.scores["mse_all_s2"])
        together = at_paper_size(*group)
        apart = 21 * sum(at_paper_size(single[0][network], single[1][network]) for network in _NETWORKS)
        print(
            f"\nat the paper's size (44 patients, 25 epochs), calculated: together {together / 60:.1f} min, one after"
        )
        print(f"another {apart / 60:.0f} min: {apart / together:.1f} times as fast")
        save_ratios("table1", {"table1: one after another": apart / together})


if __name__ == "__main__":
    app.run(main)
