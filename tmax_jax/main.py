"""Trains and cross-validates one network: `python -m tmax_jax.main --config=configs/unet.py`."""

from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from tmax_jax import cli, experiment, simulated
from tmax_jax.cohort.folds import FoldError
from tmax_jax.cohort.store import CohortError
from tmax_jax.models import ModelError
from tmax_jax.models.describe import describe
from tmax_jax.results.records import RecordError
from tmax_jax.results.run import finish
from tmax_jax.training import processes
from tmax_jax.training.checkpoint import CheckpointError
from tmax_jax.training.loop import TrainingError
from tmax_jax.training.processes import ProcessError
from tmax_jax.training.sharding import MeshError
from tmax_jax.training.step import input_shape

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "experiment to run, e.g. configs/unet.py or configs/unet.py:paper; override with --config.epochs=5",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "run folder (default: runs/<name of the config>)")
_FOLD = flags.DEFINE_string(
    "fold",
    "",
    "run only this fold (0, 1, ...) or only the 'final' fit, so that folds can be jobs of their own",
)
_MESH = flags.DEFINE_string(
    "mesh",
    "auto",
    "parts of a batch's patients and of their image rows, e.g. data=4,space=2; no part of the experiment",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "host:port of process 0, in a job of several that SLURM did not start"
)
_PROCESSES = flags.DEFINE_integer("processes", 0, "how many processes the job has")
_PROCESS = flags.DEFINE_integer("process", -1, "which of them this is, from 0")
_DESCRIBE = flags.DEFINE_boolean("describe", False, "print the model's layers, parameters and costs, and stop")
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time for --describe", allow_override=True)


def main(_: Sequence[str]) -> None:
    """Reads the flags and makes the one call."""
    console = cli.make_console()
    config = _CONFIG.value
    if config is None:
        raise experiment.ExperimentError("say which experiment: --config=configs/two_layer.py (see configs/)")
    if _DESCRIBE.value:
        try:
            shape = (1, *(int(side) for side in _SIZE.value))
        except ValueError:
            raise experiment.ExperimentError(f"--size={','.join(_SIZE.value)} must be z,y,x,time") from None
        built = experiment.build(config)
        console.print(describe(built.model, input_shape(shape, built.task)))
        return
    processes.stop_when_told()
    processes.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if not processes.is_writer():
        console.quiet = True
    workdir = Path(_WORKDIR.value or f"runs/{config.name}")
    workdir.parent.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(workdir.parent.absolute() / ".compilation_cache"))
    if config.data.source == "simulated":
        experiment.claim_workdir(config, workdir)
        simulated.run(config, workdir, console=console)
        return
    complete = experiment.run(config, workdir, part=_FOLD.value, mesh=_MESH.value, console=console)
    if complete and processes.is_writer():
        finish(workdir, console)
    elif not complete:
        console.print(f"{workdir}: this part is done; the results are made once all folds and the final fit are.")


if __name__ == "__main__":
    cli.run(
        main,
        experiment.ExperimentError,
        CohortError,
        FoldError,
        CheckpointError,
        ModelError,
        MeshError,
        ProcessError,
        RecordError,
        TrainingError,
    )
