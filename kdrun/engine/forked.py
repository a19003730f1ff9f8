"""Worker processes as this process sees them: a fork server makes them. forkserver.py is the other side."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import wait
from pathlib import Path

from kdrun.engine import output
from kdrun.engine.forkserver import WORD

# Libraries that the user's code calls would start a thread for each core in every worker.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
SECONDS_TO_END = 1.0
_ROOT = str(Path(__file__).parents[2])
# -P: no file of the current folder stands before a module of Python's. -u: what is printed before a crash is not lost.
_START = (
    "import json, sys; sys.path += [place for place in json.loads(sys.argv[2]) if place not in sys.path]; "
    "from kdrun.engine.forkserver import main; main(int(sys.argv[1]))"
)


class ForkServer:
    """A process that makes workers, each of which may use so many threads."""

    def __init__(self, threads: int) -> None:
        self._output = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by `end`)
        self._control, theirs = socket.socketpair()
        # Python itself passes over what else may stand there.
        places = [_ROOT, *(place or str(Path.cwd()) for place in sys.path if isinstance(place, str))]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (constant)
                [sys.executable, "-P", "-u", "-c", _START, str(theirs.fileno()), json.dumps(places)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
                env={**dict.fromkeys(THREADS, str(threads)), **os.environ},
                start_new_session=True,
            )

    def fork(self, connection: int, printed: int) -> Forked:
        """A worker with its end of a connection, and an open file that it prints into; `OSError` where it is gone."""
        ours, theirs = os.pipe()
        try:
            socket.send_fds(self._control, [b"w"], [connection, printed, theirs])
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return Forked(self, ours)

    def is_gone(self) -> bool:
        """Whether it has ended, so that it makes no workers."""
        return self.exit_code() is not None

    def exit_code(self, seconds: float = 0) -> int | None:
        """How it ended; None where it lives on for so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def printed(self) -> str:
        """The end of what it has printed."""
        return output.end_of(self._output.fileno())

    def end(self) -> None:
        """End it. Workers that live go on."""
        self._process.kill()
        self._process.wait()
        self._control.close()
        self._output.close()


class Forked:
    """A worker process. What is known of it is what its server tells over a pipe: its number, and how it ended."""

    def __init__(self, server: ForkServer, status: int) -> None:
        self._server, self._status = server, status
        self._words: list[int] = []
        self._is_all = False

    @property
    def pid(self) -> int | None:
        """The number of the process; None before it is known, and where there is none."""
        self._listen(0)
        return self._words[0] if self._words else None

    def has_ended(self) -> bool:
        """Whether it lives no more, or nobody is left who would tell."""
        self._listen(0)
        return self._is_all

    def how(self) -> str:
        """How the process ended, or is ended now where only its connection is gone."""
        self._listen(SECONDS_TO_END)
        if not self._is_all:
            return "its worker process closed its connection"
        if len(self._words) == 1:
            return "its worker process ended, and so did the one that would tell how"
        code = self._words[1] if self._words else self._server.exit_code(SECONDS_TO_END)
        return "the system allows no other process now" if code is None else _how_by_code(code)

    def printed_by_server(self) -> str:
        """What the server has printed, where it is gone too."""
        return self._server.printed() if self._server.is_gone() else ""

    def end(self) -> None:
        """End it with all that it has started, and hear no more of it."""
        if (pid := self.pid) is not None and len(self._words) == 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._listen(SECONDS_TO_END)
        os.close(self._status)

    def _listen(self, seconds: float) -> None:
        """Take in what is told within so many seconds, up to how the process ended."""
        end = time.monotonic() + seconds
        while not self._is_all and wait([self._status], max(0.0, end - time.monotonic())):
            word = os.read(self._status, WORD.size)
            if word:
                self._words.extend(WORD.unpack(word))
            self._is_all = not word or len(self._words) > 1


def _how_by_code(code: int) -> str:
    """How a worker process ended."""
    if code >= 0:
        return f"its worker process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = "; the system does so where memory is short" if name == "SIGKILL" else ""
    return f"its worker process was ended by {name}{memory}"
