"""Runs on this machine: worker processes behind the interface of concurrent.futures."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from kdrun.errors import UsageError


def worker_count(workers: int | None) -> int:
    """How many workers to use: all cores that this process may use, where none is asked for."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole process group; only the coordinator answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _warm_up() -> None:
    """Import what runs need, so that the first run of a worker does not wait for it."""
    import kdrun.engine.run  # noqa: F401


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """A pool of fresh worker processes. They end with the block: at once where it ends in an error."""
    if multiprocessing.parent_process() is not None:
        raise UsageError('a worker process cannot start others; call kdrun.run below `if __name__ == "__main__":`')
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    for _ in range(workers):
        executor.submit(_warm_up)
    try:
        yield executor
    except BaseException:
        _stop(executor)
        raise
    executor.shutdown()


def _stop(executor: ProcessPoolExecutor) -> None:
    """End the workers without waiting for the runs that they are in."""
    workers = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
