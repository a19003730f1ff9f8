"""kdrun as a process of its own that can be killed, and all the processes that it has started."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from kdrun import cli
from kdrun.errors import KdrunError
from tests.cli.command import KDRUN

MARK = "KDRUN_TEST_MARK"


class Command:
    """`kdrun` with arguments, running, in a process group of its own."""

    def __init__(self, *arguments: object, cwd: Path | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [str(KDRUN), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, MARK: self.mark},
            start_new_session=True,
            # Tests that run in the background inherit that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads here)
        )

    def workers(self) -> list[int]:
        """The worker processes that it has now."""
        forked = self._forked()
        return [pid for pid in forked if _parent(pid) in forked]

    def fork_servers(self) -> list[int]:
        """The processes that make its workers."""
        forked = self._forked()
        return [pid for pid in forked if _parent(pid) not in forked]

    def _forked(self) -> list[int]:
        """Fork servers, and the workers that are copies of them."""
        return [pid for pid in self._marked() if b"kdrun.engine.forkserver" in _read(pid, "cmdline")]

    def others(self) -> list[int]:
        """Every process that it has started and that lives."""
        return [pid for pid in self._marked() if pid != self.process.pid]

    def _marked(self) -> list[int]:
        wanted = f"{MARK}={self.mark}".encode()
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in pids if wanted in _read(pid, "environ") and not _is_zombie(pid)]

    def ends_within(self, seconds: float) -> bool:
        """Whether it comes to its end in that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """SIGKILL to the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def ended(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Wait for its end. Whatever it does, it shows no traceback of its own."""
        out, err = self.process.communicate(timeout=timeout)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)

    def wait_until_gone(self, seconds: float = 5.0) -> None:
        """Every process that it has started ends with it."""
        end = time.monotonic() + seconds
        while self.others():
            assert time.monotonic() < end, [_read(pid, "cmdline") for pid in self.others()]
            time.sleep(0.02)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    found = re.search(rb"\nPPid:\t(\d+)", _read(pid, "status"))
    return int(found[1]) if found else 0


def _is_zombie(pid: int) -> bool:
    return b"\nState:\tZ" in _read(pid, "status")


def stored_rows(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What was committed of each run, by id: status, responses, its network's digest, how long it took and when."""
    path = folder / "runs.sqlite"
    if not path.exists():
        return {}
    query = "SELECT run_id, status, responses, parameters_sha256, seconds, finished FROM runs"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
        return {row[0]: row[1:] for row in connection.execute(query)}


def own_study(place: Path, code: str, factors: str, **keys: object) -> Path:
    """A study of a Python function `main` in a file beside it."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "own.py").write_text(code)
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    path = place / "study.yaml"
    path.write_text(
        f"schema: 1\nstudy: own\ntask: {{name: callable, call: 'own:main'}}\nfactors: {{{factors}}}\n"
        f"responses: [{{name: score, scale: linear, better: higher}}]\n{more}"
    )
    return path


def called(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command and what it says, in this process; what would be a traceback is raised."""
    done = CliRunner().invoke(cli.app, arguments, env={"NUMBA_DISABLE_JIT": None})
    if isinstance(done.exception, KdrunError):
        return done.exception.exit_code, str(done.exception)
    if isinstance(done.exception, OSError):
        return 1, str(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output
