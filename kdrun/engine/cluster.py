"""Runs on a Dask cluster that exists: its workers behind the interface of concurrent.futures.

A worker of the cluster has a batch done by a process of its own, as on this machine: what a run does to that process,
to its memory or to time costs the cluster nothing. Only connections to the scheduler are made; nothing here listens.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pickle
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kdrun.engine.local import Engine, executing
from kdrun.engine.sources import computing_sources
from kdrun.engine.workers import Limits, WorkerLost, Workers
from kdrun.errors import KdrunError, UsageError

SECONDS_TO_CONNECT = 10
SECONDS_FOR_WORKERS = 60
# What a result may depend on beside kdrun's own sources.
PACKAGES = ("numpy", "numba", "llvmlite")


@contextmanager
def cluster(address: str, folder: Path, limits: Limits) -> Iterator[Engine]:
    """The workers of a Dask scheduler, once all of them are seen to compute what this process would."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise UsageError("--scheduler needs the extra 'cluster': pip install 'kdrun[cluster]'") from None
    try:
        # A client without an address that can be one hangs in its own end.
        distributed.comm.get_address_host_port(address)
        client: Any = distributed.Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--scheduler {address}: no Dask scheduler answers there: {error}; nothing was run") from None
    try:
        _wait_for_workers(client, address)
        _compare_versions(client)
        place = _Place((str(folder.resolve()), str(Path.cwd())), limits, computing_sources())
        executor = _ClusterExecutor(client, place)
        yield Engine(executor, lambda: max(1, sum(client.nthreads().values())), executing(limits))
    finally:
        client.close()


def _wait_for_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
    except TimeoutError:
        raise UsageError(f"--scheduler {address}: it has no workers; nothing was run") from None


def versions() -> dict[str, str]:
    """What has to be the same wherever runs are done. Architectures may differ: bits do not."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "kdrun": computing_sources()}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def _compare_versions(client: Any) -> None:
    """Refuse a cluster with a worker whose versions are others."""
    here = versions()
    try:
        there: Mapping[str, dict[str, str]] = client.run(versions)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a worker of the cluster has no {error.name}: install this kdrun there; nothing was run"
        ) from None
    for worker, found in there.items():
        others = [f"{name} {found.get(name)} (here {own})" for name, own in here.items() if found.get(name) != own]
        if others:
            raise UsageError(
                f"the worker {worker} of the cluster has other versions: {', '.join(others)}. Install the same on all"
                " machines; nothing was run"
            )


@dataclass(frozen=True)
class _Place:
    """Where and within which limits calls are done, and by which sources."""

    folders: tuple[str, ...]
    limits: Limits
    sources: str


class _Call:
    """What `pickle.loads` makes of it is the result of the call."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._function, self._arguments


class _ClusterExecutor(Executor):
    """Dask's own executor: each call is done in a process beside a worker, and errors are those of kdrun."""

    def __init__(self, client: Any, place: _Place) -> None:
        self._executor, self._place = client.get_executor(), place

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        """Have a worker of the cluster call a function."""
        # The scheduler reads what it passes on. It need not have kdrun, so all that it sees is bytes.
        call = pickle.dumps(_Call(_apart, (self._place, function, *arguments)))
        future = _Relay()
        future.follow(self._executor.submit(pickle.loads, call))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of the cluster. What a worker is doing it ends by itself, and nobody asks for it."""
        self._executor.shutdown(wait=wait and not cancel_futures, cancel_futures=cancel_futures)


class _Relay(Future[Any]):
    """A future that follows one of the cluster's."""

    def follow(self, inner: Future[Any]) -> None:
        """Become what it becomes."""
        self._inner = inner
        inner.add_done_callback(self._take_over)

    def cancel(self) -> bool:
        """Ask for it no longer."""
        self._inner.cancel()
        return super().cancel()

    def _take_over(self, inner: Future[Any]) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(inner.result())
        except CancelledError:
            self.set_exception(KdrunError("the Dask scheduler is gone, or has let go of the runs"))
        except Exception as error:
            self.set_exception(_as_loss(error))


def _as_loss(error: Exception) -> Exception:
    """Dask's word for a worker of the cluster that died again and again in one batch, as kdrun's."""
    if type(error).__name__ == "KilledWorker":
        return WorkerLost("died", "the workers of the cluster that did it died")
    return error


def _apart(place: _Place, function: Any, *arguments: Any) -> Any:
    """Call a function in a process beside this worker of a cluster; `WorkerLost` where that dies."""
    if computing_sources() != place.sources:
        raise KdrunError(
            "a worker that joined the cluster has another version of kdrun; install the same on all machines"
        )
    return _beside(place).submit(function, *arguments).result()


@cache
def _beside(place: _Place) -> Workers:
    """The processes beside this worker of a cluster, as many as it does calls at a time."""
    worker: Any = importlib.import_module("distributed").get_worker()
    return Workers(worker.state.nthreads, place.folders, place.limits)
