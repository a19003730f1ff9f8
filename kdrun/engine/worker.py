"""A worker process: it does what comes over its connection until that closes. workers.py is the other side."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kdrun.engine import output

# Where the system is short of memory it ends a worker before it ends anything else of the user's.
OUT_OF_MEMORY_SCORE = 500


def main(descriptor: int) -> None:
    """Serve the connection of a file descriptor."""
    connection = Connection(descriptor)
    threading.Thread(target=_end_with, args=(descriptor,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(all_threads=False)
    output.capture()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OUT_OF_MEMORY_SCORE))
    os.register_at_fork(after_in_child=lambda: _let_go(descriptor))
    try:
        _work(connection)
    except (EOFError, OSError):
        pass
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads that code of the user's own has left behind would be waited for.
    os._exit(1)


def _work(connection: Connection) -> None:
    folders = connection.recv()
    _look_at_offers()
    _enter(folders)
    connection.send(("ready", None))
    while True:
        _serve(connection, *pickle.loads(connection.recv_bytes()))  # noqa: S301 (of the process that started this)


def _let_go(descriptor: int) -> None:
    """In a child that code of the user's own has forked: a connection that it held would outlive this process."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _look_at_offers() -> None:
    """Import tasks and levels of other packages before a file of the study's folder can stand before one of theirs.

    They are then those that the other side has found. It has warned of what is left out; what this side says of that
    before the first call is forgotten.
    """
    from kdrun.factors.discover import families, levels
    from kdrun.tasks.discover import tasks

    tasks()
    for family in families():
        levels(family)


def _end_with(descriptor: int) -> None:
    """End this process and all that it has started once the other side of the connection is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _enter(folders: Sequence[str]) -> None:
    """Work in the first of the folders, the study's; modules of the user's are looked for in all of them."""
    existing = [folder for folder in folders if Path(folder).is_dir()]
    sys.path[:0] = [folder for folder in dict.fromkeys(existing) if folder not in sys.path]
    if existing:
        os.chdir(existing[0])


def _serve(connection: Connection, function: Any, arguments: tuple[Any, ...]) -> None:
    """Do one call. Where sending fails, code of the user's own has spoilt this process, and it ends."""
    output.forget()
    for message in _messages(function, arguments):
        connection.send(message)


def _messages(function: Any, arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """What comes of a call. The items of an iterator are told as they come."""
    try:
        result = function(*arguments)
        if isinstance(result, Iterator):
            yield from (("item", item) for item in result)
            yield "end", None
        else:
            yield "result", result
    except Exception as error:
        yield "raised", error
