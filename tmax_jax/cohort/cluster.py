"""Where a cohort's tasks run: on this machine, on a Dask cluster that is there, or in jobs of SLURM.

All of them give a `concurrent.futures.Executor`, so that whoever submits tasks knows nothing of where they run. On a
cluster every worker must see the patients' files and the store under the same names.
"""

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from tmax_jax.cohort.store import CohortError

_CONNECT_S = 30
_JOB = {"cores": 1, "processes": 1, "memory": "2GB"}  # a patient at full size takes well under 1 GB


@contextlib.contextmanager
def open_pool(workers: int, *, scheduler: str | None = None, slurm: bool = False) -> Iterator[Executor]:
    """Opens a pool of workers and closes it at the end.

    A task that was running on a worker of a cluster when that died, or that was waiting for it, runs again on another.

    Args:
      workers: processes, one being this process itself, or jobs of SLURM; with `scheduler`, those that are there are
        used instead.
      scheduler: address of a Dask scheduler, such as "tcp://node7:8786".
      slurm: start Dask workers as jobs of SLURM. Partition, account, time limit and whatever else a site wants are
        read from Dask's own configuration, `jobqueue.slurm` in ~/.config/dask/jobqueue.yaml.

    Yields:
      The pool.

    Raises:
      CohortError: both were asked for, the software for clusters is not installed, or nothing answers.

    Example:
      >>> with open_pool(1) as pool:
      ...     pool.submit(abs, -3).result()
      3

    Reference:
      https://distributed.dask.org, https://jobqueue.dask.org
    """
    if scheduler and slurm:
        raise CohortError("--scheduler and --slurm exclude each other: a cluster that is there, or one of SLURM's jobs")
    if scheduler or slurm:
        with _open_cluster(workers, scheduler) as pool:
            yield pool
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of a threaded process may hang
    with ThreadPoolExecutor(1) if workers == 1 else ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # leaving would wait for all that was submitted
            raise


@contextlib.contextmanager
def _open_cluster(workers: int, scheduler: str | None) -> Iterator[Executor]:
    with contextlib.ExitStack() as stack:
        try:
            from distributed import Client

            address = scheduler or stack.enter_context(_slurm_jobs(workers)).scheduler_address
            client = stack.enter_context(Client(address, timeout=_CONNECT_S, set_as_default=False))
        except ImportError as error:
            raise CohortError(
                f"a cluster needs the package {error.name}, which is not installed: pip install 'tmax_jax[cluster]'"
            ) from error
        except (OSError, ValueError) as error:
            raise CohortError(f"no Dask scheduler answers at {scheduler or 'the jobs of SLURM'}: {error}") from error
        pool = stack.enter_context(client.get_executor(pure=False))
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False)  # leaving would wait for all that was submitted, and for workers that never come
            raise


@contextlib.contextmanager
def _slurm_jobs(workers: int) -> Iterator[Any]:
    import dask_jobqueue  # pyright: ignore[reportMissingImports] (of the extra)
    from dask import config

    start: Any = getattr(dask_jobqueue, "SLURMCluster")  # noqa: B009 (its stub does not export it)
    job = {name: config.get(f"jobqueue.slurm.{name}", None) or value for name, value in _JOB.items()}
    with start(**job) as cluster:
        cluster.scale(jobs=workers)
        yield cluster
