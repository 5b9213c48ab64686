"""How long a conversion takes, beside dcm2niix on the same files: alternated in one run, with the bound beside them.

  python benchmarks/convert.py --folder=DIR [--rounds=5]     real files, and a simulated patient of 1440 images

Each round runs, one after the other: reading the files' bytes alone (the bound), dcm2niix (`-z n`), this converter's
work in one process, and dcm2niix and this converter on two copies of the patient, this one in two processes. Times of
this converter are of the work (headers, order, pixels, mask, compressed store) in processes that have started: a
cohort starts them once. The time to start is printed beside it.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from absl import app, flags
from rich.console import Console

from tmax_jax.cohort.cluster import open_pool
from tmax_jax.cohort.run import convert_folder
from tmax_jax.cohort.select import Rules

_FOLDER = flags.DEFINE_string("folder", None, "a perfusion series as DICOM files; without it, the simulated one alone")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "rounds, of which medians are taken", lower_bound=1)
_SIZE, _FRAMES = (24, 128, 128), 60


def read_bytes(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def dcm2niix(folder: Path, out: Path) -> None:
    out.mkdir(parents=True)
    command = ["dcm2niix", "-z", "n", "-o", str(out), str(folder)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def convert(pool: Executor, folder: Path, out: Path) -> None:
    outcomes, _ = convert_folder(pool, folder, out / "cohort.zarr", Rules())
    assert all(outcome.status == "converted" for outcome in outcomes), outcomes


def seconds(work: Callable[[Path], object]) -> tuple[float, float]:
    """Returns the time on the clock, and that of the processors in this process and those that it waited for."""
    with tempfile.TemporaryDirectory() as folder:
        started, before = time.perf_counter(), os.times()
        work(Path(folder) / "out")
        after = os.times()
        return time.perf_counter() - started, sum(after[:4]) - sum(before[:4])


def two_patients(folder: Path, target: Path) -> Path:
    """Copies a patient twice, the second under another PatientID of the same length."""
    for number in range(2):
        shutil.copytree(folder, target / f"patient{number}")
    for path in (target / "patient1").rglob("*"):
        if path.is_file():
            data = bytearray(path.read_bytes())
            at = data.index(b"\x10\0\x20\0LO") + 8
            data[at : at + 2] = b"ZZ"
            path.write_bytes(data)
    return target


def simulated(target: Path) -> Path:
    """Makes one patient of full size; only its perfusion is kept."""
    command = [sys.executable, "-m", "tmax_jax.simulate", f"--out={target}", "--patients=1", "--workers=1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target / "dicom"


def peak_mib(folder: Path) -> int:
    """Converts once in a fresh process; returns the most memory that it took."""
    code = (
        "import sys, tempfile; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor;"
        "from tmax_jax.cohort.run import convert_folder; from tmax_jax.cohort.select import Rules;"
        "convert_folder(ThreadPoolExecutor(1), Path(sys.argv[1]), Path(tempfile.mkdtemp()) / 'c.zarr', Rules());"
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def compare(name: str, folder: Path, console: Console) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    console.print(f"\n{name}: {len(files)} files, {size / 1e6:.0f} MB")
    have = shutil.which("dcm2niix") is not None
    if not have:
        console.print("dcm2niix is not installed (apt-get install dcm2niix): no ratios")
    rows: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(1) as one:
        both = two_patients(folder, Path(scratch))
        started = time.perf_counter()
        with open_pool(2) as two:
            list(two.map(time.sleep, [0.2, 0.2]))
            seconds(lambda out: convert(two, both, out))  # every module is loaded now
            console.print(f"two processes started and warm after {time.perf_counter() - started:.1f} s")
            seconds(lambda out: convert(one, folder, out))
            for _ in range(_ROUNDS.value):
                works: dict[str, Callable[[Path], object]] = {"bytes alone": lambda _: read_bytes(folder)}
                if have:
                    works["dcm2niix"] = lambda out: dcm2niix(folder, out)
                works["one process"] = lambda out: convert(one, folder, out)
                if have:
                    works["dcm2niix, two patients"] = lambda out: dcm2niix(both, out)
                works["two processes, two patients"] = lambda out: convert(two, both, out)
                for what, work in works.items():
                    rows.setdefault(what, []).append(seconds(work))
    console.print(f"{'':28s} seconds      x dcm2niix (range)        processor seconds, x dcm2niix")
    for what, times in rows.items():
        base = rows.get("dcm2niix, two patients" if "two patients" in what else "dcm2niix")
        clock, processor = (statistics.median(column) for column in zip(*times, strict=True))
        text = f"{what:28s} {clock:7.3f}"
        if base:
            ratios = sorted(time_s[0] / base_s[0] for time_s, base_s in zip(times, base, strict=True))
            text += f"   {statistics.median(ratios):8.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            if "processes" not in what:  # those go on, and their time is not known yet
                share = processor / statistics.median(base_s[1] for base_s in base)
                text = f"{text:58s}   {processor:7.3f}   {share:5.2f}"
        console.print(text, highlight=False)
    console.print(f"peak memory of one fresh process: {peak_mib(folder)} MiB")


def main(_: list[str]) -> None:
    console = Console(width=120)
    if _FOLDER.value:
        compare(Path(_FOLDER.value).name, Path(_FOLDER.value), console)
    with tempfile.TemporaryDirectory() as folder:
        compare("simulated patient", simulated(Path(folder)), console)


if __name__ == "__main__":
    app.run(main)
