"""How long the device waits for its input: an epoch's batches from the store and from memory, beside the bare reading.

  python benchmarks/full_size.py
  python -m benchmarks.input --store=runs/full_size/cohort.zarr

For each network an epoch is trained three times: with images that are read for the first time, with images that were
kept in memory, and with no room to keep any. The device waits from the end of a step to the start of the next; the
share of the epoch should be below 2 %.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from configs import pointwise, two_layer, unet
from tmax_jax import parts
from tmax_jax.cohort.batches import Cohort, read_cohort
from tmax_jax.cohort.images import Images
from tmax_jax.cohort.store import list_cases, read_case
from tmax_jax.input import device_batches
from tmax_jax.training.sharding import Shardings
from tmax_jax.training.state import TrainState, init_state
from tmax_jax.training.step import TrainStep, make_train_step

_STORE = flags.DEFINE_string("store", "runs/full_size/cohort.zarr", "a converted cohort")
_PASSES = flags.DEFINE_integer("passes", 4, "times that each patient comes in an epoch, in a random order", 1)


def raw_reading(store: Path, case_ids: Sequence[str]) -> tuple[float, float]:
    """Returns the seconds and the decoded GB of reading all images once, one patient after another."""
    start = time.perf_counter()
    images = [read_case(store, case_id, maps=()).perfusion for case_id in case_ids]
    return time.perf_counter() - start, sum(one.nbytes for one in images if one is not None) / 1e9


def epoch(
    train: TrainStep, state: TrainState, cohort: Cohort, order: np.ndarray, shardings: Shardings
) -> tuple[TrainState, float, float]:
    """Trains an epoch.

    Returns:
      The state, the epoch's seconds, and those in which the device waited for a batch.
    """
    start = free = time.perf_counter()
    waited = 0.0
    for batch in device_batches(cohort, order, shardings):
        waited += time.perf_counter() - free
        state, metrics = train(state, batch)
        jax.block_until_ready(metrics)
        free = time.perf_counter()
    return state, free - start, waited


def main(_: Sequence[str]) -> None:
    """Prints a line a network and kind of epoch."""
    store = Path(_STORE.value)
    case_ids = list_cases(store)
    raw_reading(store, case_ids)  # into the system's cache
    seconds, size_gb = raw_reading(store, case_ids)
    print(f"bare reading and decoding: {size_gb / seconds:.2f} GB/s, {seconds / len(case_ids) * 1e3:.0f} ms a patient")
    order = np.concatenate([np.random.default_rng(i).permutation(len(case_ids)) for i in range(_PASSES.value)])[:, None]
    cohort = read_cohort(store, case_ids)
    form = cohort.perfusion[0]

    def with_room(cases: int) -> Cohort:
        images = Images(store, case_ids, form.shape, form.dtype, keep_bytes=cases * form.nbytes)
        return dataclasses.replace(cohort, perfusion=images)

    for name, module in (("two_layer", two_layer), ("pointwise", pointwise), ("unet", unet)):
        built = parts.build(module.get_config("paper"))
        optimizer = built.optimizer(len(order))
        train = make_train_step(built.model, optimizer, built.loss, built.task, built.shardings)
        state = init_state(built.model, optimizer, jax.random.key(0), input_shape=(1, *form.shape))
        state = jax.device_put(state, built.shardings.replicated)
        state, *_compiled = epoch(train, state, cohort, order[:1], built.shardings)
        kept = with_room(len(case_ids))
        kinds = {"read for the first time": kept, "in memory": kept, "read anew each time": with_room(0)}
        for kind, images in kinds.items():
            state, total, waited = epoch(train, state, images, order, built.shardings)
            print(f"{name:10s} {kind:24s} {total / len(order) * 1e3:7.0f} ms a patient, waited {waited / total:6.2%}")


if __name__ == "__main__":
    app.run(main)
