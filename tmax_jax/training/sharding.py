"""Data parallelism: a mesh over the devices, a batch split over it, everything else replicated."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


class Shardings(NamedTuple):
    """Where arrays live."""

    per_case: NamedSharding  # leading axis split over the devices
    replicated: NamedSharding
    batch_size: int  # cases a batch, rounded up to a multiple of the devices


def make_shardings(batch_size: int, devices: list[Any] | None = None) -> Shardings:
    """Spreads a batch over as many devices as it has cases for.

    Args:
      batch_size: cases a step, as configured.
      devices: of `jax.devices()`, to be used; all by default.

    Returns:
      The shardings. A batch of 7 on 4 devices is padded to 8; a batch of 1 stays on one device. The mesh's
      second axis, `space`, has size 1.

    Example:
      >>> make_shardings(1).batch_size
      1
    """
    devices = jax.devices() if devices is None else devices
    used = min(batch_size, len(devices))
    mesh = Mesh(np.asarray(devices[:used]).reshape(used, 1), ("data", "space"))
    return Shardings(NamedSharding(mesh, P("data")), NamedSharding(mesh, P()), -(-batch_size // used) * used)


def put_batch(batch: dict[str, np.ndarray], shardings: Shardings) -> dict[str, Any]:
    """Sends one host batch to its devices."""
    return jax.device_put(batch, shardings.per_case)
