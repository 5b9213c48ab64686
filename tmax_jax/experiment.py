"""One experiment: folds become results. With `parts.py`, which makes a config into objects, the reader of a config.

What may be imported from where flows one way: everything below this file takes arrays and plain values.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tmax_jax.cohort.batches import Cohort, read_cohort, trainable_cases
from tmax_jax.cohort.folds import Folds, make_folds, read_folds, write_folds
from tmax_jax.cohort.store import list_cases
from tmax_jax.defaults import Config, get_config
from tmax_jax.fold import FINAL, part_folder, run_part
from tmax_jax.input import memory_in_use
from tmax_jax.parts import ExperimentError, Parts, build
from tmax_jax.results.environment import describe_environment
from tmax_jax.results.records import read_json, write_json
from tmax_jax.training import processes
from tmax_jax.training.sharding import make_shardings, splittable_rows
from tmax_jax.training.step import input_shape


def run(config: Config, workdir: Path, *, part: str = "", mesh: str = "auto", console: Console) -> bool:
    """Runs all folds and the final fit, or one of them; goes on where an earlier run stopped.

    Args:
      config: see `defaults.py`.
      workdir: the run folder.
      part: a fold's number or "final" for that one alone, so that parts can be jobs; all when empty.
      mesh: of the devices; see `make_shardings`. No part of the experiment: a run may go on with another.
      console: for progress and messages.

    Returns:
      Whether the run is complete: every fold and the final fit have their `cases.csv`.

    Raises:
      ExperimentError: the config differs from the one that the run folder was started with, or an unknown part.
      CohortError, FoldError: the store or its folds do not fit.
      MeshError: a mesh that the devices, the batch or the network do not allow.
      TrainingError: a loss was not finite.
    """
    parts = build(config)
    claim_workdir(config, workdir)
    cases = trainable_cases(config.data.store, list_cases(config.data.store))
    folds = draw_folds(config, workdir / "folds.json", cases)
    names = [*map(str, range(len(folds.validation))), FINAL]
    if part and part not in names:
        raise ExperimentError(f"there is no fold {part!r}; choose one of: {', '.join(names)}")
    asked = [part] if part else names
    done = processes.agreed([(part_folder(workdir, name) / "cases.csv").exists() for name in asked])
    wanted = [name for name, is_done in zip(asked, done, strict=True) if not is_done]
    if wanted:
        cohort = read_cohort(config.data.store, cases)
        rows = splittable_rows(parts.model, input_shape((1, *cohort.shape), parts.task))
        parts = parts._replace(shardings=make_shardings(config.batch_size, rows=rows, mesh=mesh))
        console.print(memory_in_use(cohort, parts.shardings), soft_wrap=True)
        write_json(workdir / "environment.json", describe_environment(cohort.data))
        _warn_of_unreachable_targets(parts, cohort, console)
        for name in wanted:
            run_part(config, parts, cohort, folds, name, workdir, console)
    return all(processes.agreed([(part_folder(workdir, name) / "cases.csv").exists() for name in names]))


def claim_workdir(config: Config, workdir: Path) -> None:
    """Writes the config into a new run folder, or checks that an old one was started with the same.

    Where the store lies may change; which patients it holds is checked with the folds. An entry that is newer than the
    run counts as its default, which does what was done before there was the entry.
    """
    wanted = json.loads(config.to_json())
    path = workdir / "config.json"
    if processes.is_writer() and not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
    processes.wait_for_all("config")
    recorded, now = _flat(read_json(path)), _flat(wanted)
    before = _flat(json.loads(get_config().to_json())) | recorded
    changed = [key for key in sorted(recorded | now) if before.get(key) != now.get(key) and key != "data.store"]
    if changed:
        lines = "\n".join(f"  config.{key}: {before.get(key)!r} before, {now.get(key)!r} now" for key in changed)
        raise ExperimentError(
            f"{workdir} was started with another config:\n{lines}\nGive the new one its own folder with --workdir,"
            " or repeat the command that started this one."
        )


def draw_folds(config: Config, path: Path, cases: list[str]) -> Folds:
    """Draws the folds of a new run; reads and verifies those of an old one."""
    if processes.is_writer() and not path.exists():
        write_folds(path, make_folds(cases, folds=config.folds, seed=config.seed, holdout=config.data.holdout))
    processes.wait_for_all("folds")
    return read_folds(path, cases)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _warn_of_unreachable_targets(parts: Parts, cohort: Cohort, console: Console) -> None:
    top_s = max(float(tmax_s.max()) for tmax_s in cohort.tmax_s)
    if getattr(parts.model, "head_activation", None) == "sigmoid" and top_s > parts.task.target_scale_s:
        console.print(
            f"[yellow]The sigmoid head ends at {parts.task.target_scale_s:g} s and the cohort's Tmax at {top_s:.1f} s:"
            " voxels above cannot be learnt. Set --config.target.scale_s, unless this is the point of the run.[/]"
        )
