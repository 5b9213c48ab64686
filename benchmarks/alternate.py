"""What the benchmarks share: rivals in an environment of their own, sides timed in turn, ratios with their spread."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from tmax_jax.cohort.batches import Cohort
from tmax_jax.training.step import Task

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / "runs" / "benchmarks" / "environment"  # of the rivals, made when it is first needed
RATIOS = ROOT / "runs" / "benchmarks"  # what benchmarks write and `check.py` reads
_PACKAGES = ("torch", "keras", f"jax=={jax.__version__}")

TASK = Task(normalise=True, target_scale_s=1.0, loss_over="all", strip_prediction=False)  # on all sides
Side = Callable[[], float]  # runs once, and returns its seconds


def rival_python() -> Path:
    """Returns the interpreter that has PyTorch and Keras, after making its environment where there is none."""
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed"
    if not done.exists():
        print(f"installing {', '.join(_PACKAGES)} into {ENVIRONMENT} ...", flush=True)
        if shutil.which("uv"):
            subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, ENVIRONMENT], check=True)
            subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *_PACKAGES], check=True)
        else:
            subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        done.touch()
    return python


class Rival:
    """A process of `rivals.py`, which does one step whenever it is asked to."""

    def __init__(self, *arguments: str) -> None:
        command = [rival_python(), ROOT / "benchmarks" / "rivals.py", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self._answer()  # {"loss": of the first step}

    def __call__(self) -> float:
        """Does one step and returns its seconds."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {' '.join(map(str, self._process.args))} ended without an answer")  # pyright: ignore
        return json.loads(line)


def one_patient(size: tuple[int, ...]) -> Cohort:
    """Returns a cohort of one patient of random 16-bit intensities, all of whose voxels are brain."""
    rng = np.random.default_rng(0)
    return Cohort(
        case_ids=("case",),
        perfusion=(rng.integers(0, 4001, size, np.int16),),
        inserted=(np.zeros((size[0], size[-1]), bool),),
        mask=(np.ones(size[:3], bool),),
        tmax_s=(rng.gamma(2, 2, size[:3]).astype(np.float32),),
        intensity_min=np.zeros(1, np.float32),
        intensity_max=np.full(1, 4000, np.float32),
        frame_interval_s=np.ones(1, np.float32),
        spacing_mm=np.ones((1, 3), np.float32),
        data="phantom",
    )


def save_for_rivals(path: Path, cohort: Cohort, params: Any) -> None:
    """Writes what the rivals read: see `rivals.py`."""
    x = (cohort.perfusion[0].astype(np.float32) / 4000)[None]
    weights: Any = flatten_dict(jax.device_get(params), sep="/")
    np.savez(path, x=x, y=cohort.tmax_s[0][None], **weights)


def timed(function: Callable[[], Any]) -> float:
    """Returns the seconds until a result is there."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def alternate(sides: Mapping[str, Side], rounds: int) -> dict[str, np.ndarray]:
    """Times every side once a round, in turn, so that what else the machine does troubles all alike."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _round in range(rounds):
        for name, side in sides.items():
            times[name].append(side())
    return {name: np.array(values) for name, values in times.items()}


def report(name: str, times: Mapping[str, np.ndarray], bound_s: float, bound: str) -> None:
    """Prints a table whose first side is ours, and leaves the ratios for `check.py`.

    Args:
      name: of the work.
      times: seconds `[round]` by side.
      bound_s: the least time that the machine allows.
      bound: what it is, in words.
    """
    ours, *others = times
    print(f"\n{name}; bound {bound_s * 1e3:.1f} ms: {bound}")
    print(f"  {'':34s}{'median':>10s}{'of bound':>10s}   {ours} is so many times as fast: median (range)")
    for side, seconds in times.items():
        median = float(np.median(seconds))
        text = f"  {side:34s}{median * 1e3:8.1f} ms{median / bound_s:9.1f}x"
        if side != ours:
            ratio = seconds / times[ours]
            text += f"   {np.median(ratio):8.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
        print(text, flush=True)
    save_ratios(name, {f"{name}: {side}": float(np.median(times[side] / times[ours])) for side in others})


def save_ratios(name: str, ratios: Mapping[str, float]) -> None:
    """Leaves ratios for `check.py`."""
    RATIOS.mkdir(parents=True, exist_ok=True)
    rounded = {what: round(ratio, 3) for what, ratio in ratios.items()}
    (RATIOS / f"{name.replace(' ', '_')}.json").write_text(json.dumps(rounded, indent=1) + "\n")


def read_bandwidth() -> float:
    """Returns bytes a second of reading an array of a patient's size, on the default device."""
    values = jnp.ones(24 * 128 * 128 * 60)
    total = jax.jit(jnp.sum)
    jax.block_until_ready(total(values))
    return values.nbytes / min(timed(lambda: total(values)) for _ in range(9))


def peak_flops(dtype: str = "float32") -> float:
    """Returns multiply-and-adds, counted as two, a second of a large matrix product on the default device."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))
    return 2 * side**3 / min(timed(lambda: product(matrix)) for _ in range(5))


def agree(what: str, ours: float, theirs: float, tolerance: float = 1e-3) -> None:
    """Stops the benchmark where two sides do not compute the same."""
    if abs(ours - theirs) > tolerance * abs(ours):
        raise SystemExit(f"error: {what}: {theirs} where ours is {ours}; the sides do not do the same work")
