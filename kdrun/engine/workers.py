"""Worker processes of this machine behind the interface of concurrent.futures.

Each is a fresh copy of a process that has done nothing yet, in a process group of its own. One that dies costs the call
that it was in and nothing else: another takes its place. What a call had given until then, item by item, is not lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Any, Literal

from kdrun.engine import output
from kdrun.engine.forked import ForkServer
from kdrun.engine.memory import used_memory

SECONDS_BETWEEN_LOOKS = 0.2
MOST_STARTS = 3

Reason = Literal["start", "died", "time", "memory", "stopped"]


@dataclass(frozen=True)
class Limits:
    """What one item of a call may take: `seconds` of time; and `memory` in bytes, of a worker with its children."""

    seconds: float | None = None
    memory: int | None = None


UNLIMITED = Limits()


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def results_of(executor: Executor, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The results of some calls of a function, done at the same time; one whose worker dies is done once more."""
    calls = [(executor.submit(function, *each), each) for each in arguments]
    return [_insisted(executor, future, function, each) for future, each in calls]


def _insisted(executor: Executor, future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return future.result()
    except WorkerLost as lost:
        if lost.reason != "died":
            raise
        return executor.submit(function, *arguments).result()


class WorkerLost(Exception):
    """The worker of a call is gone. `items` came before; `text` says how it ended, `printed` what it printed last."""

    def __init__(self, reason: Reason, text: str, printed: str = "", items: Sequence[Any] = ()) -> None:
        super().__init__(reason, text, printed, items)
        self.reason, self.text, self.printed, self.items = reason, text, printed, items


class Workers(Executor):
    """So many worker processes. A call of a function that gives an iterator comes to the list of its items.

    Functions are sent by name, so they stand in a module. `folders` are where the user's code stands: workers work in
    the first one, and import from all.
    """

    def __init__(self, count: int, folders: Sequence[str] = (), limits: Limits = UNLIMITED) -> None:
        self.peak_memory = 0
        self._folders, self._limits = tuple(folders), limits
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._is_closed = self._is_stopped = False
        # The last one lives; workers of those before may too.
        self._servers: list[ForkServer] = []
        self._servers_lock, self._working = threading.Lock(), count
        self._threads_each = max(1, core_count() // count)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        """Have a worker call a function."""
        if self._is_closed:
            raise RuntimeError("the workers are stopped")
        call = _Call(function, arguments, Future())
        self._calls.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers after all calls, or with `cancel_futures` at once: then calls end with `WorkerLost`."""
        self._is_closed, self._is_stopped = True, self._is_stopped or cancel_futures
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        """Serve calls with one worker at a time. Whatever happens, each call comes to an end."""
        worker = None
        with contextlib.suppress(Exception):
            worker = self._started()
        while (call := self._calls.get()) is not None:
            if self._is_stopped:
                call.future.cancel()
            elif call.future.set_running_or_notify_cancel():
                try:
                    worker = self._serve(worker, call)
                except Exception as error:
                    call.future.set_exception(error)
                    worker = None
        if worker is not None:
            worker.end()
        self._leave()

    def _leave(self) -> None:
        """The last to go ends what makes workers."""
        with self._servers_lock:
            self._working -= 1
            if not self._working:
                for server in self._servers:
                    server.end()

    def _started(self) -> _Worker | None:
        """A fresh worker; None where the system gives none now."""
        try:
            return _Worker(self._living_server(), self._folders)
        except OSError:
            return None

    def _living_server(self) -> ForkServer:
        """What makes workers; a fresh one in place of one that is gone."""
        with self._servers_lock:
            if not self._servers or self._servers[-1].is_gone():
                self._servers.append(ForkServer(self._threads_each))
            return self._servers[-1]

    def _serve(self, worker: _Worker | None, call: _Call) -> _Worker | None:
        """Do one call. Returns the worker, or None where it is gone; one that does not start is replaced."""
        failure = WorkerLost("start", "the system allows no other process now")
        for _ in range(MOST_STARTS):
            worker = worker or self._started()
            if worker is None:
                continue
            try:
                worker.start(lambda: self._is_stopped)
                return self._do(worker, call)
            except WorkerLost as lost:
                worker.end()
                failure, worker = lost, None
                if lost.reason == "stopped":
                    break
        call.future.set_exception(failure)
        return None

    def _do(self, worker: _Worker, call: _Call) -> _Worker | None:
        """Have a worker that has started do a call. Returns it, or None where it is gone."""
        try:
            call.future.set_result(worker.do(call, self._limits, lambda: self._is_stopped))
        except WorkerLost as lost:
            worker.end()
            call.future.set_exception(lost)
            return None
        except Exception as error:
            call.future.set_exception(error)
        finally:
            self.peak_memory = max(self.peak_memory, worker.peak_memory)
        return worker


@dataclass
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any]


class _Worker:
    """One process, and our side of the connection to it."""

    def __init__(self, server: ForkServer, folders: Sequence[str]) -> None:
        self.peak_memory = 0
        self._is_ready = False
        self._next_look = 0.0
        self._output = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by `end`)
        # Whoever writes writes at its end, also after it was emptied.
        fcntl.fcntl(self._output, fcntl.F_SETFL, os.O_APPEND)
        self._connection, theirs = Pipe()
        try:
            with theirs:
                self._process = server.fork(theirs.fileno(), self._output.fileno())
        except OSError:
            self._connection.close()
            self._output.close()
            raise
        with contextlib.suppress(OSError):
            self._connection.send(folders)

    def start(self, is_stopped: Callable[[], bool]) -> None:
        """Wait until it can do calls; `WorkerLost` where it does not come to that, or has died since its last one."""
        try:
            if not self._is_ready:
                self._next(UNLIMITED, is_stopped)
        except _Lost as lost:
            raise WorkerLost(lost.reason, lost.text) from None
        except (EOFError, OSError):
            raise self._gone("start") from None
        if self._process.has_ended():
            raise self._gone("start")
        self._is_ready = True

    def do(self, call: _Call, limits: Limits, is_stopped: Callable[[], bool]) -> Any:
        """The result of a call, or the list of its items; `WorkerLost` where the worker did not live to its end."""
        items: list[Any] = []
        try:
            self._connection.send_bytes(pickle.dumps((call.function, call.arguments)))
            while True:
                kind, value = self._next(limits, is_stopped)
                if kind == "raised":
                    raise value
                if kind == "result":
                    return value
                if kind == "end":
                    return items
                items.append(value)
        except _Lost as lost:
            raise WorkerLost(lost.reason, lost.text, self._printed(), items) from None
        except (EOFError, OSError):
            raise self._gone("died", items) from None

    def _next(self, limits: Limits, is_stopped: Callable[[], bool]) -> tuple[str, Any]:
        """The next message."""
        end = None if limits.seconds is None else time.monotonic() + limits.seconds
        while True:
            if is_stopped():
                raise _Lost("stopped", "it was stopped")
            self._look_at_memory(limits.memory)
            left = self._next_look - time.monotonic()
            if self._connection.poll(max(0.0, left if end is None else min(left, end - time.monotonic()))):
                return self._received()
            if end is not None and time.monotonic() >= end:
                raise _Lost("time", f"it took longer than {limits.seconds:g} s")

    def _received(self) -> tuple[str, Any]:
        """A message that has come."""
        content = self._connection.recv_bytes()
        try:
            kind, value = pickle.loads(content)  # noqa: S301 (of the process that this one has started)
        # Code of the user's own that writes to whatever is open writes to the connection too.
        except Exception:
            raise _Lost("died", "what its worker process sent cannot be read") from None
        return kind, value

    def _look_at_memory(self, most: int | None) -> None:
        """Look from time to time whether the worker uses more than it may."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        used = used_memory(self._process.pid) if self._process.pid is not None else 0
        self.peak_memory = max(self.peak_memory, used)
        if most is not None and used > most:
            raise _Lost(
                "memory", f"its worker used {used / 1e9:.2f} GB of memory, where {most / 1e9:.2f} GB are allowed"
            )

    def _printed(self) -> str:
        return output.end_of(self._output.fileno())

    def _gone(self, reason: Reason, items: Sequence[Any] = ()) -> WorkerLost:
        return WorkerLost(reason, self._process.how(), self._printed() or self._process.printed_by_server(), items)

    def end(self) -> None:
        """End the process and all that it has started, whatever they do."""
        self._connection.close()
        self._process.end()
        self._output.close()


class _Lost(Exception):
    """What `WorkerLost` will say."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text
