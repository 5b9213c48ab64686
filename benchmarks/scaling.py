"""What the devices of a mesh say to each other in one train step, read from the compiled program.

  python benchmarks/scaling.py                 # the U-Net at full size, on 1 to 8 simulated devices; nothing is run

Patients over devices (`data`) should cost one sum of the gradients, 52 MB; rows over devices (`space`) that and a few
edge rows a convolution. An all-gather would mean that a device is sent what others computed. Printed for each mesh are
the bytes that a device sends or sums, and the memory that its step takes beside its arguments.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

from tmax_jax import losses, models
from tmax_jax.training.sharding import Shardings, make_shardings
from tmax_jax.training.state import init_state
from tmax_jax.training.step import Task, make_train_step

_MODEL = flags.DEFINE_string("network", "unet", "a network of tmax_jax.models")
_SIZE = flags.DEFINE_list("size", ["24", "128", "128", "60"], "z,y,x,time", allow_override=True)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
KINDS = ("all-reduce", "collective-permute", "all-gather", "reduce-scatter", "all-to-all")
MESHES = ((1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (1, 4), (1, 8), (4, 2), (2, 4))


def collectives(program: str) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Finds what a compiled program exchanges.

    Args:
      program: its text, `compiled.as_text()`.

    Returns:
      By kind, type and shape of each array, as one device sees it.

    Example:
      >>> collectives("%sum = (f32[2,3]{1,0}, bf16[]) all-reduce(%a, %b)")["all-reduce"]
      [('f32', (2, 3)), ('bf16', ())]
    """
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = {kind: [] for kind in KINDS}
    for result, kind in re.findall(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(?:-start)?\(", program):
        for dtype, sides in re.findall(r"(\w+)\[([\d,]*)\]", result):
            found[kind].append((dtype, tuple(int(side) for side in sides.split(",") if side)))
    return found


def total_bytes(arrays: Sequence[tuple[str, tuple[int, ...]]]) -> int:
    """Returns the bytes of arrays by type and shape."""
    return sum(_BYTES.get(dtype, 4) * math.prod(shape) for dtype, shape in arrays)


def compile_step(model: Any, shape: tuple[int, ...], shardings: Shardings) -> Any:
    """Compiles a train step for images `[case, z, y, x, time]` of 16 bits, without making any."""
    task = Task(normalise=True, target_scale_s=20.0, loss_over="brain", strip_prediction=True)
    optimizer = optax.adam(1e-3)
    state = jax.eval_shape(lambda key: init_state(model, optimizer, key, shape), jax.random.key(0))
    forms = {"perfusion": (shape, np.uint16), "mask": (shape[:4], np.bool_), "tmax_s": (shape[:4], np.float32)}
    forms |= dict.fromkeys(("intensity_min", "intensity_max"), (shape[:1], np.float32))
    forms["valid"] = (shape[:1], np.bool_)
    batch = {
        name: jax.ShapeDtypeStruct(sides, dtype, sharding=shardings.per_row if len(sides) >= 4 else shardings.per_case)
        for name, (sides, dtype) in forms.items()
    }
    step: Any = make_train_step(model, optimizer, losses.squared_error, task, shardings)
    return step.lower(state, batch).compile(compiler_options={"xla_backend_optimization_level": 0})


def main(_: Sequence[str]) -> None:
    """Compiles a step for each mesh and prints a row."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    model: Any = models.build(_MODEL.value)
    size = tuple(map(int, _SIZE.value))
    print("| mesh | patients | summed, MB | edge rows, MB | gathered, MB | other, MB | memory of a device, GB |")
    print("|---|---|---|---|---|---|---|")
    for data, space in MESHES:
        shardings = make_shardings(data, rows=size[1], mesh=f"data={data},space={space}")
        compiled = compile_step(model, (data, *size), shardings)
        found = {kind: total_bytes(arrays) / 1e6 for kind, arrays in collectives(compiled.as_text()).items()}
        other = found["reduce-scatter"] + found["all-to-all"]
        memory = compiled.memory_analysis().temp_size_in_bytes / 1e9
        print(
            f"| data={data},space={space} | {data} | {found['all-reduce']:.1f} | {found['collective-permute']:.1f}"
            f" | {found['all-gather']:.1f} | {other:.1f} | {memory:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
