"""Trains variants of an experiment on the same folds and compares them, patient by patient.

  python -m tmax_jax.sweep --config=configs/ablations/depth.py --config.data.store=phantom/cohort.zarr

An override such as --config.epochs=20 holds for all variants. Repeat the command to go on where it stopped. On a
cluster, start it several times, each with its own share: --shard=0/4, --shard=1/4, ... (each must see the same files).
The results are made by the one that finishes last, or by repeating the command.
"""

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from tmax_jax import cli, defaults
from tmax_jax.cohort.folds import FoldError
from tmax_jax.cohort.store import CohortError
from tmax_jax.models import ModelError
from tmax_jax.parts import ExperimentError
from tmax_jax.results.records import RecordError
from tmax_jax.results.sweep import finish_sweep
from tmax_jax.sweeping import run_sweep

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "sweep to run, e.g. configs/ablations/depth.py; --config.epochs=5 holds for all its variants",
    allow_override=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the sweep (default: runs/<name of the file>)", allow_override=True
)
_SHARD = flags.DEFINE_string("shard", "0/1", "which share of the cells, of how many: i/n, counted from 0")
_PUBLISH = flags.DEFINE_string("publish", "", "folder to copy the small tables and pictures of the results to")


def main(_: Sequence[str]) -> None:
    """Reads the flags and makes the two calls."""
    console = cli.make_console()
    if _CONFIG.value is None:
        raise ExperimentError("say which sweep: --config=configs/ablations/depth.py (see configs/ablations/)")
    path = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
    configs, about = _read_sweep(path)
    for variant, config in configs.items():
        config.name = variant
        try:
            config.update_from_flattened_dict(config_flags.get_override_values(flags.FLAGS["config"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ExperimentError(f"variant {variant!r} cannot take an override: {error}") from None
    workdir = Path(_WORKDIR.value or f"runs/{path.stem}")
    workdir.parent.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(workdir.parent.absolute() / ".compilation_cache"))
    complete = run_sweep(configs, workdir, **about, shard=_shard(_SHARD.value), console=console)
    if complete:
        finish_sweep(workdir, console, publish=Path(_PUBLISH.value) if _PUBLISH.value else None)
    else:
        console.print(f"{workdir}: this share is done; repeat the command once the other shares are.")


def _read_sweep(path: Path) -> tuple[dict[str, defaults.Config], dict[str, Any]]:
    """Returns the variants that a file lists, and its question (first paragraph) and printed numbers for the page."""
    module = runpy.run_path(str(path))
    if "get_sweep" not in module:
        raise ExperimentError(
            f"{path} lists no variants (no get_sweep()); run it with tmax_jax.main, or see configs/ablations/"
        )
    question = (module["__doc__"] or "").split("\n\n")[0].strip()
    return module["get_sweep"](), {"question": question, "printed": module.get("PRINTED", {})}


def _shard(text: str) -> tuple[int, int]:
    index, slash, of = text.partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and int(index) < int(of)):
        raise ExperimentError(f"--shard={text} must be i/n with i from 0 to n - 1, such as 0/4")
    return int(index), int(of)


if __name__ == "__main__":
    cli.run(main, ExperimentError, CohortError, FoldError, ModelError, RecordError)
