"""From a cohort in a store to batches on the devices: read ahead, one batch ahead of the step."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from tmax_jax.cohort.batches import PADDING, Cohort, take
from tmax_jax.cohort.images import Images
from tmax_jax.training.sharding import Shardings, own_places, put_batch

_AHEAD = 4  # batches whose images are being read; the next one is also on the devices


def device_batches(cohort: Cohort, rows: np.ndarray, shardings: Shardings) -> Iterator[dict[str, Any]]:
    """Yields batches on the devices; while one is used, the next is put there and those after it are read.

    A process reads those cases alone that lie on its devices.

    Args:
      cohort: of `read_cohort`.
      rows: int64 `[batch, case]`, places in the cohort, of `batched`.
      shardings: where batches go.
    """
    own = [own_places(row, shardings, padding=PADDING) for row in rows]

    def put(places: np.ndarray) -> dict[str, Any]:
        return put_batch(take(cohort, places), shardings)

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as worker:
        waiting: deque[Future[dict[str, Any]]] = deque()
        for number, places in enumerate(own):
            if isinstance(cohort.perfusion, Images):
                for later in own[number : number + _AHEAD]:
                    cohort.perfusion.read_ahead(later[later != PADDING])
            waiting.append(worker.submit(put, places))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def memory_in_use(cohort: Cohort, shardings: Shardings) -> str:
    """Says how much memory the cohort takes on the host and a batch on each device.

    Args:
      cohort: of `read_cohort`.
      shardings: where batches go.
    """
    images = cohort.perfusion
    case_bytes, kept = images[0].nbytes, len(images)
    if isinstance(images, Images):
        case_bytes, kept = images.case_bytes, min(kept, images.room)
    maps_bytes = sum(mask.nbytes + tmax_s.nbytes for mask, tmax_s in zip(cohort.mask, cohort.tmax_s, strict=True))
    text = f"{len(images)} patients, {(len(images) * case_bytes + maps_bytes) / 1e9:.2g} GB"
    if kept < len(images):
        text += f", of which {(kept * case_bytes + maps_bytes) / 1e9:.2g} GB stay in host memory; the rest is read anew"
    data, space = shardings.mesh.shape["data"], shardings.mesh.shape["space"]
    cases = -(-shardings.batch_size // data)
    batches = 2 * cases * (case_bytes + maps_bytes / len(images)) / space / 1e9
    return f"{text}; two batches take {batches:.2g} GB on each of {data * space} device(s), data={data},space={space}"
