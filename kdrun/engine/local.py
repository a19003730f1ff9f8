"""Runs on this machine: worker processes behind the interface of concurrent.futures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kdrun.engine.memory import fair_share
from kdrun.engine.run import Job, execute_all, execute_each
from kdrun.engine.workers import UNLIMITED, Limits, Workers, core_count
from kdrun.errors import UsageError
from kdrun.records import Outcome

# Each is a process of its own; a slip of the finger should not fill the machine with them.
MOST_WORKERS = 1024


@dataclass(frozen=True)
class Engine:
    """What does runs: an executor, how many calls it does at a time, and the function that does a batch.

    `memory` is what a worker may use, `peak_memory` what one has used, in bytes; None where that is not known.
    """

    executor: Executor
    slots: Callable[[], int]
    execute: Callable[[Sequence[Job]], Iterator[Outcome]] = execute_all
    memory: int | None = None
    peak_memory: Callable[[], int | None] = lambda: None


def worker_count(workers: int | None) -> int:
    """How many workers to use: all cores that this process may use, where none is asked for."""
    if workers is not None and workers > MOST_WORKERS:
        raise UsageError(f"--workers {workers}: at most {MOST_WORKERS:,} are allowed; one per core is as fast as any")
    return workers if workers is not None else core_count()


def executing(limits: Limits) -> Callable[[Sequence[Job]], Iterator[Outcome]]:
    """How a batch is done: where a run's time is limited, one run after another, as only so each has its own."""
    return execute_all if limits.seconds is None else execute_each


@contextmanager
def processes(workers: int, folder: Path | None = None, limits: Limits = UNLIMITED) -> Iterator[Engine]:
    """Fresh worker processes. They end with the block: at once where it ends in an error.

    `folder` is the study's, where code of the user's own is found and works; it is found in the current folder too.
    Where `limits` name no memory, each worker may use its share of what there is.
    """
    memory = limits.memory if limits.memory is not None else fair_share(workers)
    folders = [str(place.resolve()) for place in (folder, Path.cwd()) if place is not None]
    executor = Workers(workers, folders, Limits(limits.seconds, memory))
    try:
        yield Engine(executor, lambda: workers, executing(limits), memory, lambda: executor.peak_memory)
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()
