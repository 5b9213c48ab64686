"""Times a train step of the one- and two-layer network at full size against Keras and PyTorch.

  python -m benchmarks.pointwise                 about four minutes on two CPU cores, the first time more: see below

All sides have the same patient (random, 24 x 128 x 128 voxels, 60 frames), weights, loss over all voxels, and Adam. The
rivals hold their input as float32 and normalised; the ordinary step normalises 16-bit input within the step. What a
run of these networks does is the last side: steps on condensed patients (`cohort/sigma_points.py`), whose images are
read once; that reading is timed too. The first call installs PyTorch and Keras into runs/benchmarks/environment.
"""

import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.alternate import (
    TASK,
    Rival,
    agree,
    alternate,
    one_patient,
    read_bandwidth,
    report,
    save_for_rivals,
    timed,
)
from tmax_jax import losses, models
from tmax_jax.cohort.batches import Cohort, take
from tmax_jax.cohort.sigma_points import condense
from tmax_jax.training.optimizer import adam
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import init_state
from tmax_jax.training.step import given_input, make_train_step, network_input

_ROUNDS = flags.DEFINE_integer("rounds", 15, "each side is timed so often, in turn", 1)
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time")


def our_step(name: str, cohort: Cohort, *, condensed: bool) -> tuple[Any, float, Any]:
    """Returns a function that does one step, the loss of the first one, and the initial parameters."""
    model, shardings = models.build(name), make_shardings(1, jax.devices()[:1])
    optimizer = adam(learning_rate=1e-4, b1=0.9, b2=0.999, eps=1e-7)
    shape = (1, 1, 1, 1, cohort.shape[-1])
    make_state = functools.partial(init_state, model, optimizer, input_shape=shape)
    state = jax.jit(make_state, out_shardings=shardings.replicated)(jax.random.key(0))
    params = jax.device_get(state.params)
    patients = condense(cohort, normalise=True, over="all") if condensed else cohort
    sees = given_input if condensed else network_input
    step = make_train_step(model, optimizer, losses.squared_error, TASK, shardings, network_input=sees)
    batch = put_batch(take(patients, np.array([0])), shardings)
    state, metrics = step(state, batch)
    held = [state]

    def run() -> Any:
        held[0], found = step(held[0], batch)
        return found["loss"]

    jax.block_until_ready(run())
    return run, float(metrics["loss"]), params


def main(_: Sequence[str]) -> None:
    """Prints a table a network."""
    cohort = one_patient(tuple(map(int, _SIZE.value)))
    stored = cohort.perfusion[0].nbytes + cohort.tmax_s[0].nbytes
    bandwidth = read_bandwidth()
    print(f"reads {bandwidth / 1e9:.1f} GB/s, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    start = time.perf_counter()
    condense(cohort, normalise=True, over="all")
    print(f"condensing a patient: {(time.perf_counter() - start) * 1e3:.0f} ms, once")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one_layer", "two_layer"):
            plain, loss, params = our_step(name, cohort, condensed=False)
            condensed, condensed_loss, _params = our_step(name, cohort, condensed=True)
            agree("condensed", loss, condensed_loss)
            path = Path(folder) / f"{name}.npz"
            save_for_rivals(path, cohort, params)
            rivals = {label: Rival(label, name, "train", str(path)) for label in ("torch", "keras")}
            for label, rival in rivals.items():
                agree(label, loss, rival.first["loss"])
            ordinary = {"ordinary step": functools.partial(timed, plain)} | rivals
            times = alternate(ordinary | {"condensed": functools.partial(timed, condensed)}, _ROUNDS.value)
            for rival in rivals.values():
                rival.close()
            bound = f"reading {stored / 1e6:.0f} MB of 16-bit images and the map once"
            report(f"{name} ordinary", {side: times[side] for side in ordinary}, stored / bandwidth, bound)
            of_run = {"condensed": times["condensed"]} | {side: times[side] for side in ordinary}
            report(f"{name} as a run trains", of_run, stored / bandwidth, bound)


if __name__ == "__main__":
    app.run(main)
