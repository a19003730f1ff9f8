"""A Dask scheduler and two workers as real processes: the same runs, the same bits, whatever becomes of a worker."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.command import SMOKE, digest_of, kdrun
from tests.faults.commands import Command, own_study, stored_rows
from tests.faults.test_bad_runs import CODE as EVIL


class Cluster:
    """A scheduler on loopback, and workers that can be killed."""

    def __init__(self, place: Path) -> None:
        self._place, self._processes = place, ExitStack()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._start("scheduler", "--host", self.address, "--no-dashboard", "--no-jupyter")
        self.workers = [self.worker() for _ in range(2)]

    def worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """One more worker."""
        return self._start("worker", self.address, "--nthreads", "1", "--no-dashboard", **environment)

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
            cwd=self._place,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.callback(process.wait)
        self._processes.callback(_kill, process)
        return process

    def close(self) -> None:
        """End it."""
        self._processes.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """For the tests that leave its workers alive."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    found.close()


@pytest.mark.slow
def test_a_cluster_computes_the_same_bits(cluster: Cluster, tmp_path: Path) -> None:
    """Teachers, students and comparators; a second command has nothing left to do."""
    expected = digest_of(kdrun("factorial", SMOKE, "--results", tmp_path / "local"))
    done = kdrun("factorial", SMOKE, "--results", tmp_path, "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert digest_of(done) == expected
    again = kdrun("factorial", SMOKE, "--results", tmp_path, "--scheduler", "tcp://127.0.0.1:9")
    assert digest_of(again) == digest_of(done)


@pytest.mark.slow
def test_runs_that_kill_their_process_do_no_harm_to_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Workers of the cluster have runs done beside them: crashes, time and memory are found as on one machine."""
    fates = "fine, crash, hang, eat, wrong, good"
    study = own_study(tmp_path, EVIL, f"fate: {{sets: task.params.fate, levels: [{fates}]}}", replicates=2)
    limits = ("--timeout", 4, "--memory", "400MB")
    local = kdrun("factorial", study, "--results", tmp_path / "local", *limits)
    done = kdrun("factorial", study, "--results", tmp_path / "out", "--scheduler", cluster.address, *limits)
    assert done.returncode == local.returncode == 1
    assert digest_of(done) == digest_of(local)
    assert sorted(row[0] for row in stored_rows(tmp_path / "out" / "own").values()) == ["done"] * 4 + ["failed"] * 8
    assert all(worker.poll() is None for worker in cluster.workers)


SLOW = "import time\ndef main(params, seed):\n    time.sleep(0.1)\n    return {'score': params['a'] + seed / 2**32}\n"


@pytest.mark.slow
def test_a_worker_of_the_cluster_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    """One of two is killed while runs are done; the other does all, with the same bits."""
    study = own_study(tmp_path / "code", SLOW, "a: {sets: task.params.a, levels: [1, 2]}", replicates=20)
    expected = digest_of(kdrun("factorial", study, "--results", tmp_path / "local"))
    cluster = Cluster(tmp_path)
    try:
        command = Command("factorial", study, "--results", tmp_path / "out", "--scheduler", cluster.address)
        while not stored_rows(tmp_path / "out" / "own"):
            assert command.process.poll() is None
            time.sleep(0.02)
        _kill(cluster.workers[0])
        done = command.ended()
    finally:
        cluster.close()
    assert done.returncode == 0, done.stderr
    assert digest_of(done) == expected


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        pytest.param("tcp://127.0.0.1:9", marks=pytest.mark.slow),
        pytest.param("tcp://", marks=pytest.mark.slow),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(tmp_path: Path, address: str) -> None:
    """Code 2 and a line, before anything is run or written."""
    study = own_study(tmp_path / "code", SLOW, "a: {sets: task.params.a, levels: [1, 2]}")
    done = kdrun("factorial", study, "--results", tmp_path / "out", "--scheduler", address)
    assert done.returncode == 2, done.stderr
    assert "no Dask scheduler answers there" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_worker_with_another_kdrun_is_refused(tmp_path: Path) -> None:
    """Its sources differ by a line; the refusal names the worker and what differs."""
    study = own_study(tmp_path / "code", SLOW, "a: {sets: task.params.a, levels: [1, 2]}")
    sources = Path(__file__).parents[2] / "kdrun"
    copy = tmp_path / "other" / "kdrun"
    shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "engine" / "train.py").open("a") as file:
        file.write("# changed\n")
    cluster = Cluster(tmp_path)
    try:
        cluster.worker(PYTHONPATH=str(copy.parent))
        time.sleep(3)
        done = kdrun("factorial", study, "--results", tmp_path / "out", "--scheduler", cluster.address)
    finally:
        cluster.close()
    assert done.returncode == 2, done.stderr
    assert "of the cluster has other versions: kdrun" in done.stderr
