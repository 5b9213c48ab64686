"""Times one full-size cohort through every stage, each as its own process with its peak memory.

  python benchmarks/full_size.py --patients=4 --out=runs/full_size

Simulates patients of 24 x 128 x 128 voxels and 60 frames as DICOM, converts them, and trains the U-Net for one epoch on
all but one of them (a step a patient). The numbers in BUILD_NOTES are this script's.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

_PATIENTS = flags.DEFINE_integer("patients", 4, "at least 3: two to train on, one held out")
_OUT = flags.DEFINE_string("out", "runs/full_size", "folder; what an earlier call left there is removed")


def main(_: Sequence[str]) -> None:
    """Runs the stages and prints a line each."""
    out = Path(_OUT.value)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    stages = {
        "simulate, one patient": ["tmax_jax.simulate", f"--out={out}/one", "--patients=1"],
        f"simulate, {_PATIENTS.value} patients": [
            "tmax_jax.simulate",
            f"--out={out}/phantom",
            f"--patients={_PATIENTS.value}",
        ],
        "convert, one patient": ["tmax_jax.convert", f"--dicom_dir={out}/one/dicom", f"--out={out}/one.zarr"],
        f"convert, {_PATIENTS.value} patients": [
            "tmax_jax.convert",
            f"--dicom_dir={out}/phantom/dicom",
            f"--out={out}/cohort.zarr",
        ],
        "U-Net, one epoch": [
            "tmax_jax.main",
            "--config=configs/unet.py",
            f"--workdir={out}/unet",
            f"--config.data.store={out}/cohort.zarr",
            "--config.folds=2",
            "--config.epochs=1",
            "--fold=final",
        ],
    }
    for name, arguments in stages.items():
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", *arguments])
        _pid, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"error: {name} failed")
        print(f"{name}: {time.perf_counter() - start:.1f} s, peak {usage.ru_maxrss / 1e6:.1f} GB", flush=True)
    record = json.loads((out / "unet" / "final" / "metrics.jsonl").read_text())
    print(f"loss of the epoch: {record['train_loss']:.4f}")


if __name__ == "__main__":
    app.run(main)
