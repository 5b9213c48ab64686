"""From the command to the first step: with an empty compilation cache, and with a warm one.

  python benchmarks/startup.py --store=cohort.zarr --config_file=configs/unet.py

Each start is a process of its own that trains one fold for one epoch. The time is that from its start to its first
train step being compiled and sent to the device: imports, reading, initial weights, compilation.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

_STORE = flags.DEFINE_string("store", None, "a converted cohort", required=True)
_CONFIG = flags.DEFINE_string("config_file", "configs/unet.py", "the experiment")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "cold and warm starts, alternated")

# Runs the main job up to its first step. Progress is told of a step when it has been sent, so the time lacks its
# computation; the compilation before it is in it.
_CHILD = """
import os, sys, time

started = float(sys.argv.pop(1))
from tmax_jax import cli, main
from tmax_jax.results.progress import FitProgress

def step(self):
    print("first step after", time.time() - started, flush=True)
    os._exit(0)

FitProgress.step = step
cli.run(main.main)
"""


def start(workdir: Path) -> float:
    """Returns the seconds from the start of a process to its first step."""
    shutil.rmtree(workdir, ignore_errors=True)
    flags_of_main = [f"--config={_CONFIG.value}", f"--config.data.store={_STORE.value}", f"--workdir={workdir}"]
    command = [sys.executable, "-c", _CHILD, str(time.time()), *flags_of_main, "--fold=0", "--config.folds=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    lines = [line for line in done.stdout.splitlines() if line.startswith("first step after")]
    if not lines:
        sys.exit(f"error: no step was taken:\n{done.stdout}\n{done.stderr}")
    return float(lines[0].rsplit(" ", 1)[1])


def main(_: Sequence[str]) -> None:
    """Alternates cold and warm starts and prints both."""
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        for _round in range(_ROUNDS.value):
            shutil.rmtree(runs, ignore_errors=True)  # with the cache, which lies beside the run folders
            for kind, found in times.items():
                found.append(start(runs / "startup"))
                print(f"{kind}: {found[-1]:.1f} s", flush=True)
    cold, warm = (statistics.median(found) for found in times.values())
    print(f"median of {_ROUNDS.value}: cold {cold:.1f} s, warm {warm:.1f} s, {cold / warm:.1f} x")


if __name__ == "__main__":
    app.run(main)
