"""The process that workers are forked from: it imports once what all of them need. forked.py is the other side.

An interpreter with all that a run needs takes a second to start, a copy of one some milliseconds.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import wait

import numpy as np

from kdrun.engine import worker

WORD = struct.Struct("<q")
DESCRIPTORS = 3


def main(descriptor: int) -> None:
    """Fork a worker for each message of a socket, until that closes.

    A message brings three descriptors: the worker's connection, the file that it prints into, and a pipe on which it is
    told as which process the worker lives, and at the end with which exit code it ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever started it may have blocked the signal of children that end.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    control = socket.socket(fileno=descriptor)
    _warm_up()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told: dict[int, int] = {}
    while True:
        ready = wait([descriptor, woken])
        if woken in ready:
            os.read(woken, WORD.size)
            _take_leave(told)
        if descriptor in ready:
            message, descriptors, _, _ = socket.recv_fds(control, 1, DESCRIPTORS)
            if not message:
                _end_all(told)
                return
            if len(descriptors) == DESCRIPTORS:
                connection, printed, status = descriptors
                _fork(connection, printed, status, told, [descriptor, woken, wake])
            else:
                # It may open no more: there will be no worker, and who asked for one is told by the end of the pipe.
                for each in descriptors:
                    os.close(each)


def _warm_up() -> None:
    """Import what runs of every study need.

    What other packages offer is left to the workers: it may start threads, which a copy of a process does not have.
    """
    import numba

    import kdrun.engine.run
    import kdrun.models
    import kdrun.tasks
    from kdrun.discovery import submodules
    from kdrun.factors.discover import families

    for package in (kdrun.models, kdrun.tasks, *(import_module(f"kdrun.factors.{family}") for family in families())):
        submodules(package)
    # The first kernel of a process has Numba load all that it knows, which takes as long as half of the imports.
    numba.njit()(_nothing)()
    # Workers need not look for cycles in any of it.
    gc.freeze()


def _nothing() -> None: ...


def _fork(connection: int, printed: int, status: int, told: dict[int, int], own: Iterable[int]) -> None:
    """Make a worker. Where the system allows no other process, the pipe closes and nothing was said on it."""
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        _become_worker(connection, printed, [status, *told.values(), *own])
    os.close(connection)
    os.close(printed)
    if pid < 0:
        os.close(status)
        return
    told[pid] = status
    with suppress(OSError):
        os.write(status, WORD.pack(pid))


def _become_worker(connection: int, printed: int, others: Iterable[int]) -> None:
    """Go on as a worker, in a process group of its own. Does not return."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for descriptor in others:
            os.close(descriptor)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.close(printed)
        os.set_inheritable(connection, False)
        # Code of the user's own that draws without a seed should not draw the same in every worker.
        np.random.seed()  # noqa: NPY002
        worker.main(connection)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def _take_leave(told: dict[int, int]) -> None:
    """End what ended workers have left behind, and tell how they ended."""
    for pid in list(told):
        # Nobody else has its number until it was waited for.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            continue
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        _, code = os.waitpid(pid, 0)
        status = told.pop(pid)
        with suppress(OSError):
            os.write(status, WORD.pack(os.waitstatus_to_exitcode(code)))
        os.close(status)


def _end_all(told: Iterable[int]) -> None:
    """End all workers: kdrun is gone, and one in the midst of something would notice it late."""
    for pid in told:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
