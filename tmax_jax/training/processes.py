"""Several processes as one job: how they find each other, who writes, and how they end.

The engine is `jax.distributed`. Every process runs the same program on its own devices; all see the same records, which
process 0 alone writes, so the run folder must lie where all can read it.
"""

import os
import signal
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

REQUEUE = 75  # exit status of a process that was told to stop: run the same command again (EX_TEMPFAIL of sysexits.h)
HEARTBEAT_S = 30  # after which a silent process counts as dead, and takes the others down


class ProcessError(ValueError):
    """Processes that cannot be made one job."""


def join(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Makes this process part of a job of several, where it is one.

    Call it before anything asks for a device.

    Args:
      coordinator: host:port of process 0. Empty: SLURM's environment says it, when `srun` started several tasks.
      processes: how many there are.
      process: which of them this is, from 0.

    Raises:
      ProcessError: a part of the three is missing, or process 0 does not answer.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from `stop_when_told`, and go on
    options: dict[str, Any] = {"heartbeat_timeout_seconds": HEARTBEAT_S, "shutdown_timeout_seconds": 2 * HEARTBEAT_S}
    if not coordinator:
        if processes or process >= 0:
            raise ProcessError("--processes and --process need --coordinator=HOST:PORT, the address of process 0")
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            jax.distributed.initialize(cluster_detection_method="slurm", **options)
        return
    if not 0 <= process < processes:
        raise ProcessError(f"--process={process} must be from 0 to --processes={processes} - 1")
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=2 * HEARTBEAT_S, **options)
    except RuntimeError as error:
        raise ProcessError(f"process {process} cannot join the others at {coordinator}: {error}") from error


def is_writer() -> bool:
    """Returns whether this process writes the records: process 0, or the only one.

    Example:
      >>> is_writer()
      True
    """
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait_for_all(point: str) -> None:
    """Waits until every process has come to a point of the program, such as one where a file was written."""
    if jax.distributed.is_initialized():
        multihost_utils.sync_global_devices(point)


def agreed(flags: list[bool]) -> list[bool]:
    """Returns what process 0 has found, on every process: file systems tell each of a new file at another moment.

    Example:
      >>> agreed([True, False])
      [True, False]
    """
    if not jax.distributed.is_initialized() or not flags:
        return flags
    return multihost_utils.broadcast_one_to_all(np.asarray(flags)).tolist()


def stop_when_told() -> None:
    """Ends the process with the status `REQUEUE` as soon as it receives SIGTERM.

    At once, without saving: the last epoch's checkpoint is whole, and the repeated command goes on from it to the same
    bits. A state in the middle of an epoch would need its place in the order and its losses so far, for the sake of
    an epoch's minutes.
    """

    def stop(number: int, frame: object) -> None:
        del number, frame
        print(f"told to stop (SIGTERM): status {REQUEUE}; the same command goes on", file=sys.stderr, flush=True)
        os._exit(REQUEUE)  # a clean exit would wait for the other processes, which are being told too

    signal.signal(signal.SIGTERM, stop)
