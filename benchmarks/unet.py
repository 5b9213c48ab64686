"""Times the U-Net's train step and inference against plain XLA and PyTorch.

  python -m benchmarks.unet                                            on a CPU: full size, minutes
  python -m benchmarks.unet --rounds=20 --dtype=bfloat16 --compile     on a GPU, also --dtype=float32
  python -m benchmarks.unet --trace=/tmp/trace                         where a step's time goes, ours and plain

All sides have one random patient, the same initial weights, the squared error over all voxels, and Adam. Plain XLA is
the network whose 3-D convolutions, pooling and up-convolutions are XLA's own, without the forms that
`models/convolution.py` chooses on a CPU; on a GPU it is the same as ours and left out.
"""

import contextlib
import functools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import numpy as np
from absl import app, flags

from benchmarks.alternate import (
    TASK,
    Rival,
    agree,
    alternate,
    one_patient,
    peak_flops,
    report,
    save_for_rivals,
    timed,
)
from tmax_jax import losses, models
from tmax_jax.cohort.batches import Cohort, take
from tmax_jax.models import convolution, unet
from tmax_jax.models.describe import measure
from tmax_jax.training.optimizer import adam
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import init_state, variables_of
from tmax_jax.training.step import make_train_step, network_input

_ROUNDS = flags.DEFINE_integer("rounds", 3, "each side is timed so often, in turn", 1)
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of the computation, on all sides")
_COMPILE = flags.DEFINE_boolean("compile", False, "PyTorch with torch.compile")
_PLAIN = flags.DEFINE_boolean("plain", True, "also plain XLA, which is slow on a CPU")
_TRACE = flags.DEFINE_string("trace", "", "folder for a profile of one step a side; no rivals then")


class PlainUpConv(nn.Module):
    """XLA's transposed convolution with the parameters of `blocks.UpConv`."""

    features: int
    window: Sequence[int] = (2, 2, 2)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[case, z, y, x, channel]` to twice the size."""
        kernel = self.param("kernel", convolution.KERNEL_INIT, (*self.window, self.features, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        larger = jax.lax.conv_transpose(x, kernel, tuple(self.window), "SAME", transpose_kernel=True)
        return larger + bias.reshape(1, 1, 1, 1, -1)


@contextlib.contextmanager
def plain_xla() -> Iterator[None]:
    """Traces networks with XLA's own operations, inside this context."""

    def pool(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
        return nn.max_pool(x, window, strides=window)

    with (
        mock.patch.object(convolution, "by_slices", convolution.plain),
        mock.patch.object(unet, "UpConv", PlainUpConv),
        mock.patch.object(unet, "max_pool", pool),
    ):
        yield


def our_sides(cohort: Cohort) -> tuple[dict[str, Callable[[], Any]], dict[str, float], Any]:
    """Returns what does one train step and one prediction, the losses of the first, and the initial parameters."""
    model = models.build("unet", head_activation="linear", dtype=_DTYPE.value)
    shardings = make_shardings(1, jax.devices()[:1])
    optimizer = adam(learning_rate=1e-4, b1=0.9, b2=0.999, eps=1e-7)
    small = (1, *(16 if side > 16 else side for side in cohort.shape[:3]), cohort.shape[3])
    make_state = functools.partial(init_state, model, optimizer, input_shape=small)
    options: Any = {"xla_backend_optimization_level": 0}  # random numbers compile ten times faster
    state = jax.jit(make_state, out_shardings=shardings.replicated, compiler_options=options)(jax.random.key(0))
    batch = put_batch(take(cohort, np.array([0])), shardings)
    params = jax.device_get(state.params)

    @jax.jit
    def predict(variables: Any, batch: Any) -> jax.Array:
        output: Any = model.apply(variables, network_input(batch, TASK), train=False)
        return losses.squared_error(output, batch["tmax_s"])[0]

    fixed = variables_of(jax.device_put(jax.tree.map(np.array, state), shardings.replicated))
    memory = predict.lower(fixed, batch).compile().memory_analysis()
    assert memory
    print(f"  prediction: {memory.temp_size_in_bytes / 1e9:.2f} GB beside input and weights", flush=True)
    step = make_train_step(model, optimizer, losses.squared_error, TASK, shardings)
    state, metrics = step(state, batch)
    held = [state]

    def train() -> Any:
        held[0], found = step(held[0], batch)
        return found["loss"]

    first = {"train": float(metrics["loss"]), "predict": float(predict(fixed, batch))}
    return {"train": train, "predict": lambda: predict(fixed, batch)}, first, params


def trace(name: str, step: Callable[[], Any], folder: Path) -> None:
    """Profiles one step and prints its operations, the longest first."""
    jax.block_until_ready(step())
    with jax.profiler.trace(folder):
        jax.block_until_ready(step())
    path = max(folder.rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    spent: Counter[str] = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in {key for key, _ in event.stats}:
                    spent[re.sub(r"[._]?\d+", "", event.name)] += int(event.duration_ns)
    total = max(sum(spent.values()), 1)
    print(f"\n{name}: {total / 1e9:.2f} s in operations, of all threads")
    for operation, nanoseconds in spent.most_common(12):
        print(f"  {operation:50s}{nanoseconds / 1e9:8.3f} s{nanoseconds / total:8.1%}")


def main(_: Sequence[str]) -> None:
    """Prints a table of train steps and one of predictions."""
    cohort = one_patient(tuple(map(int, _SIZE.value)))
    on_cpu = jax.default_backend() == "cpu"
    found = measure(models.build("unet"), (1, *cohort.shape))
    work = {"train": found.step_flops, "predict": found.forward_flops}
    peak = peak_flops(_DTYPE.value)
    print(f"{peak / 1e9:.0f} GFLOP/s in a product of matrices, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    print("ours:")
    ours, first, params = our_sides(cohort)
    xla: dict[str, Callable[[], Any]] = {}
    if on_cpu and _PLAIN.value:
        print("plain XLA:")
        with plain_xla():
            xla, plain_first, _params = our_sides(cohort)
        for each in work:
            agree(f"plain XLA, {each}", first[each], plain_first[each])
    if _TRACE.value:
        for name, sides in (("plain XLA", xla), ("ours", ours)):
            if sides:
                trace(f"{name}, train step", sides["train"], Path(_TRACE.value) / name.replace(" ", "_"))
        return
    options = ["bfloat16"] * (_DTYPE.value == "bfloat16") + ["compile"] * _COMPILE.value + ["cuda"] * (not on_cpu)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unet.npz"
        save_for_rivals(path, cohort, params)
        for each, flops in work.items():
            rivals = {
                " ".join(["torch", *layout]): Rival("torch", "unet", each, str(path), *layout, *options)
                for layout in ([], ["channels_last"])
            }
            for name, rival in rivals.items():
                agree(f"{name}, {each}", first[each], rival.first["loss"], 1e-3 if _DTYPE.value == "float32" else 0.05)
            sides = {"ours": functools.partial(timed, ours[each])} | rivals
            if xla:
                sides |= {"plain XLA": functools.partial(timed, xla[each])}
            times = alternate(sides, _ROUNDS.value)
            for rival in rivals.values():
                rival.close()
            report(f"unet {each} {_DTYPE.value}", times, flops / peak, f"{flops / 1e9:.0f} GFLOP at the measured peak")


if __name__ == "__main__":
    app.run(main)
