"""Scalars for TensorBoard, where the optional extra is installed; the record itself is `metrics.jsonl`."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tmax_jax.results.records import RecordError


def open_scalars(folder: Path, *, first_epoch: int) -> Callable[[dict[str, Any]], None]:
    """Opens a folder of TensorBoard events.

    Args:
      folder: one a fit; made when absent.
      first_epoch: the first that will be written; what an interrupted run wrote from it on is hidden.

    Returns:
      A function that writes every number of an epoch's record.

    Raises:
      RecordError: the extra is not installed.

    Example:
      `write = open_scalars(Path("runs/unet/fold-0/tensorboard"), first_epoch=1)`
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise RecordError(
            "config.tensorboard needs a package that is not installed: pip install 'tmax_jax[tensorboard]', or leave"
            " it off (metrics.jsonl holds the same numbers)"
        )
    writer = importlib.import_module("tensorboardX").SummaryWriter(str(folder), purge_step=first_epoch)

    def write(record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "epoch":
                writer.add_scalar(name, value, record["epoch"])
        writer.flush()

    return write
