"""Where arrays live: a mesh of devices, batches split over it, everything else a copy on each.

The mesh has two axes. `data` splits the patients of a batch, `space` the rows (y) of their images, so that a batch of
one patient uses every device too. The compiler adds what this needs: the sum of the gradients over all devices, and
the edge rows of neighbours for each convolution.

One kind of mesh is never made. Where rows are split and some devices have nothing of a convolution's input to
themselves, XLA multiplies the gradient of the kernel by their number. They would have nothing where `data` is larger
than the batch, or `space` no divisor of the rows at some level of the network. So neither is allowed, and every batch
is filled up to a multiple of `data`. (`tests/test_sharding.py` holds the defect in ten lines.)
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


class MeshError(ValueError):
    """A mesh that the devices, the batch or the images do not allow."""


class Shardings(NamedTuple):
    """Where arrays live."""

    per_case: NamedSharding  # [case, ...], split over `data`
    per_row: NamedSharding  # images [case, z, y, x, ...], split over `data` and `space`
    replicated: NamedSharding
    batch_size: int  # cases a step, as configured

    @property
    def mesh(self) -> Mesh:
        """The devices by `data` and `space`."""
        return self.replicated.mesh  # pyright: ignore[reportReturnType] (of devices, not an abstract one)


def make_shardings(
    batch_size: int, devices: Sequence[Any] | None = None, *, rows: int = 1, mesh: str = "auto"
) -> Shardings:
    """Spreads a batch over the devices.

    Args:
      batch_size: cases a step, as configured.
      devices: of `jax.devices()`, to be used; all by default.
      rows: what `space` must divide: see `splittable_rows`. With 1 no image is split.
      mesh: "auto", or sizes such as "data=4,space=2". By itself it is the one whose busiest device has the least to do:
        a batch of 4 on 8 devices makes `data=4,space=2`, a batch of 1 `data=1,space=8`.

    Returns:
      The shardings. What a step computes does not depend on them: 7 patients on `data=4` are 7 and one of padding.

    Raises:
      MeshError: a mesh that cannot be made, or would compute wrong or useless things; the message has one that works.

    Example:
      >>> dict(make_shardings(1, jax.devices()[:1]).mesh.shape)
      {'data': 1, 'space': 1}
    """
    devices = jax.devices() if devices is None else devices
    possible = _possible(batch_size, len(devices), rows, whole=jax.process_count() > 1 and rows > 1)
    if not possible:
        raise MeshError(
            f"a batch of {batch_size}, with {rows} rows that can be split, does not divide over all {len(devices)}"
            " devices of the processes; start fewer, or choose a --config.batch_size that does"
        )
    data, space = possible[0] if mesh == "auto" else _sizes(mesh)
    if (data, space) not in possible:
        raise MeshError(_refusal(mesh, (data, space), batch_size, len(devices), rows, possible[0]))
    grid = Mesh(np.asarray(devices[: data * space]).reshape(data, space), ("data", "space"))
    return Shardings(
        per_case=NamedSharding(grid, P("data")),
        per_row=NamedSharding(grid, P("data", None, "space")),
        replicated=NamedSharding(grid, P()),
        batch_size=batch_size,
    )


def splittable_rows(model: Any, shape: Sequence[int]) -> int:
    """Returns the greatest number that divides the rows of the images and of every convolution's input.

    Args:
      model: `[case, z, y, x, time]` -> `[case, z, y, x]`.
      shape: of its input.

    Example:
      >>> from tmax_jax.models import build
      >>> splittable_rows(build("unet"), (1, 24, 128, 128, 60))  # pooled three times
      16
    """
    perfusion = jax.ShapeDtypeStruct(tuple(shape), np.float32)
    traced = jax.make_jaxpr(lambda key, x: model.init_with_output(key, x, train=False))(jax.random.key(0), perfusion)
    return math.gcd(shape[2], *_convolved_rows(traced.jaxpr))


def own_places(places: np.ndarray, shardings: Shardings, *, padding: int = -1) -> np.ndarray:
    """Returns the part of a batch that lies on this process's devices, and that it has to read.

    Args:
      places: of the cases of a whole batch, int64 `[case]`.
      shardings: where the batch goes.
      padding: the place that stands for no case, with which the batch is filled up to a multiple of `data`.

    Example:
      >>> own_places(np.array([4, 2]), make_shardings(2, jax.devices()[:1])).tolist()
      [4, 2]
    """
    size = -(-len(places) // shardings.mesh.shape["data"]) * shardings.mesh.shape["data"]
    filled = np.full(size, padding, places.dtype)
    filled[: len(places)] = places
    return filled[_own_cases(shardings, size)]


def put_batch(batch: Mapping[str, np.ndarray], shardings: Shardings) -> dict[str, Any]:
    """Sends one host batch to its devices.

    Args:
      batch: of `take`; arrays of four axes or more, `[case, z, y, x, ...]`, are images and have rows. Where there are
        several processes, each gives the cases of its `own_places`.
      shardings: where it goes.

    Returns:
      The whole batch on the devices, filled up to a multiple of `data` with cases whose `valid` is False.
    """
    places = {name: shardings.per_row if value.ndim >= 4 else shardings.per_case for name, value in batch.items()}
    data, cases = shardings.mesh.shape["data"], len(batch["valid"])
    if jax.process_count() > 1:
        own = _own_cases(shardings, data)
        size, first = cases * data // (own.stop - own.start), own.start * cases // (own.stop - own.start)

        def part(value: np.ndarray, index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(size)
            return value[(slice(start - first, stop - first), *index[1:])]

        return {
            name: jax.make_array_from_callback((size, *v.shape[1:]), places[name], functools.partial(part, v))
            for name, v in batch.items()
        }
    if short := -cases % data:
        batch = {name: np.concatenate([value, np.repeat(value[:1], short, 0)]) for name, value in batch.items()}
        batch["valid"][-short:] = False
    return jax.device_put(dict(batch), places)


def fetch(values: Any) -> Any:
    """Returns arrays on the host, whole on each process; all processes must call it."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(values, tiled=True)
    return jax.device_get(values)


def _own_cases(shardings: Shardings, size: int) -> slice:
    """The part of a batch of so many cases that this process's devices hold; it is in one piece."""
    indices = shardings.per_case.addressable_devices_indices_map((size,)).values()
    ends = [index[0].indices(size)[:2] for index in indices if index]
    return slice(min(start for start, _ in ends), max(stop for _, stop in ends))


def _convolved_rows(jaxpr: Any) -> Iterator[int]:
    """Yields the rows of the input of each convolution over the planes of images; those over time alone have none."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            _, _, *space = equation.params["dimension_numbers"].lhs_spec
            if len(space) > 1:
                yield equation.invars[0].aval.shape[space[-2]]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from _convolved_rows(inner.jaxpr)


def _possible(batch_size: int, devices: int, rows: int, *, whole: bool) -> list[tuple[int, int]]:
    """Returns all (data, space) that compute what they should, the one whose devices have the least work first.

    Of equals, more parts of patients come first: they exchange nothing but gradients. `whole`: no device is left out,
    since one of another process cannot be.
    """
    return sorted(
        (
            (data, space)
            for data in range(1, min(batch_size, devices) + 1)
            for space in range(1, devices // data + 1)
            if rows % space == 0 and (data * space == devices or not whole)
        ),
        key=lambda sizes: (-(-batch_size // sizes[0]) / sizes[1], -sizes[0]),
    )


def _sizes(mesh: str) -> tuple[int, int]:
    parts = re.fullmatch(r"data=([1-9]\d*),space=([1-9]\d*)", mesh)
    if not parts:
        raise MeshError(
            f"--mesh={mesh} is no mesh; write 'auto', or parts of patients and of rows: --mesh=data=4,space=2"
        )
    return int(parts[1]), int(parts[2])


def _refusal(
    mesh: str, sizes: tuple[int, int], batch_size: int, devices: int, rows: int, possible: tuple[int, int]
) -> str:
    (data, space), wrong = sizes, []
    if data * space > devices:
        wrong.append(f"it needs {data * space} devices and there are {devices}")
    if data > batch_size:
        wrong.append(f"a batch of {batch_size} would leave {data - batch_size} of {data} parts without a patient")
    if rows % space:
        wrong.append(f"{rows} rows, where the network has the fewest, do not split into {space} equal parts")
    return (
        f"--mesh={mesh} cannot be: {'; '.join(wrong)}. Use --mesh=auto, which is data={possible[0]},space={possible[1]}"
    )
