"""Worker processes, really started and really ended."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdrun.engine import forked
from kdrun.engine.workers import Limits, WorkerLost, Workers, results_of
from tests.engine import worker_calls as calls

# More than select.select takes.
MANY = 1100


@pytest.fixture
def one() -> Iterator[Workers]:
    """One worker without limits."""
    workers = Workers(1)
    yield workers
    workers.shutdown(cancel_futures=True)


def test_results_items_and_errors_come_back(one: Workers) -> None:
    """What a function returns, the list of what it yields, or what it raises."""
    assert one.submit(calls.add, 2, 3).result() == 5
    assert one.submit(calls.count, 3).result() == [0, 1, 2]
    assert one.submit(calls.count, 0).result() == []
    with pytest.raises(ZeroDivisionError):
        one.submit(calls.divide, 1, 0).result()
    assert one.submit(calls.add, 1, 1).result() == 2


def test_a_worker_is_another_process_in_a_group_of_its_own(one: Workers) -> None:
    """Ctrl-C in a terminal reaches the coordinator alone."""
    pid, group, has_input = one.submit(calls.who).result()
    assert pid == group != os.getpgid(0)
    assert not has_input
    assert one.submit(calls.who).result()[0] == pid


def test_what_came_before_a_death_is_kept_and_another_takes_its_place(one: Workers) -> None:
    """The error says how the worker ended, and what it had printed."""
    with pytest.raises(WorkerLost) as lost:
        one.submit(calls.die_after, 2, signal.SIGKILL).result()
    assert lost.value.reason == "died"
    assert lost.value.items == [0, 1]
    assert lost.value.text.startswith("its worker process was ended by SIGKILL")
    assert lost.value.printed == "last words"
    assert one.submit(calls.add, 2, 3).result() == 5


def test_a_worker_that_dies_while_nothing_is_asked_of_it_costs_nothing(one: Workers) -> None:
    """The next call is done by another."""
    pid = one.submit(calls.who).result()[0]
    os.kill(pid, signal.SIGKILL)
    assert not _lives(pid)
    time.sleep(0.5)
    assert one.submit(calls.who).result()[0] != pid


def test_a_dead_worker_leaves_no_program_behind(one: Workers) -> None:
    """What it had started ends with it."""
    with pytest.raises(WorkerLost) as lost:
        one.submit(calls.start_program_and_die).result()
    (child,) = lost.value.items
    assert one.submit(calls.add, 1, 1).result() == 2
    assert not _lives(child)


def test_the_end_of_what_makes_workers_costs_nothing(one: Workers) -> None:
    """The call goes on without it, and the next one is done by a worker of another server."""
    pid = one.submit(calls.who).result()[0]
    server = one._servers[-1]._process.pid
    assert one.submit(calls.end_maker).result() == server
    assert one.submit(calls.add, 2, 3).result() == 5
    assert one.submit(calls.who).result()[0] != pid
    assert one.submit(calls.parent).result() != server
    with pytest.raises(WorkerLost, match="worker process ended with exit code 1") as lost:
        one.submit(calls.die).result()
    assert lost.value.reason == "died"


def test_a_worker_whose_maker_is_gone_is_ended_all_the_same() -> None:
    """Also where it is in the midst of something that lets no other thread of it run."""
    workers = Workers(1, limits=Limits(seconds=1.0))
    pid = workers.submit(calls.who).result()[0]
    with pytest.raises(WorkerLost, match="longer than 1 s"):
        workers.submit(calls.end_maker_and_hold_python_for, 30).result()
    workers.shutdown()
    assert not _lives(pid)


def test_how_a_worker_ended_is_not_told_by_how_its_maker_did(one: Workers) -> None:
    """Memory is not short because somebody has killed the server."""
    with pytest.raises(WorkerLost, match="so did the one that would tell how") as lost:
        one.submit(calls.end_maker_and_die, signal.SIGTERM).result()
    assert lost.value.reason == "died"


def test_a_signal_without_a_name_is_told_too(one: Workers) -> None:
    """And the next call is done."""
    with pytest.raises(WorkerLost, match=f"ended by signal {signal.SIGRTMIN + 1}"):
        one.submit(calls.die_after, 0, signal.SIGRTMIN + 1).result()
    assert one.submit(calls.add, 2, 3).result() == 5


def test_odd_surroundings_keep_no_worker_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many open files, and an entry of the path that is no text."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * MANY:
        pytest.skip(f"no more than {hard} files may be open")
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nowhere")])
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MANY, hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(MANY)]
    try:
        workers = Workers(1)
        assert workers.submit(calls.add, 2, 3).result() == 5
        workers.shutdown()
    finally:
        for each in files:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_shut_down_takes_no_calls_and_leaves_nothing() -> None:
    """Also where nobody waits for it."""
    workers = Workers(2)
    call = workers.submit(calls.who)
    workers.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="stopped"):
        workers.submit(calls.add, 1, 1)
    pid = call.result()[0]
    for thread in workers._threads:
        thread.join()
    assert not _lives(pid)
    assert [server.is_gone() for server in workers._servers] == [True]


def test_where_the_system_allows_no_process_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server lives, and makes none."""
    start = "import os\ndef refuse(): raise BlockingIOError\nos.fork = refuse\n"
    monkeypatch.setattr("kdrun.engine.forked._START", start + forked._START.replace("; ", "\n"))
    workers = Workers(1)
    with pytest.raises(WorkerLost, match="the system allows no other process now") as lost:
        workers.submit(calls.add, 1, 1).result()
    assert lost.value.reason == "start"
    workers.shutdown()


def test_workers_draw_different_numbers_without_a_seed(one: Workers) -> None:
    """Though they are copies of one process."""
    first = one.submit(calls.draw).result()
    with pytest.raises(WorkerLost):
        one.submit(calls.die).result()
    assert one.submit(calls.draw).result() != first


def test_time_is_for_each_item() -> None:
    """Three items of half the limit are no fault; one beyond it is, and what came before is kept."""
    workers = Workers(1, limits=Limits(seconds=0.6))
    assert workers.submit(calls.wait, [0.4, 0.4, 0.4]).result() == [0.4, 0.4, 0.4]
    with pytest.raises(WorkerLost, match=r"longer than 0\.6 s") as lost:
        workers.submit(calls.wait, [0.1, 9.0]).result()
    assert (lost.value.reason, lost.value.items) == ("time", [0.1])
    workers.shutdown()


def test_memory_counts_with_that_of_children() -> None:
    """A worker that starts a program which eats memory is ended with it."""
    workers = Workers(1, limits=Limits(memory=500_000_000))
    for eat in (calls.eat, calls.have_eaten):
        with pytest.raises(WorkerLost, match=r"where 0\.50 GB are allowed") as lost:
            workers.submit(eat, 2_000_000_000).result()
        assert lost.value.reason == "memory"
    workers.shutdown()
    assert 500_000_000 < workers.peak_memory < 2_500_000_000


def test_stopping_ends_workers_at_once_with_all_that_they_started(one: Workers, tmp_path: Path) -> None:
    """What calls had given comes with the error; calls that had not begun are cancelled."""
    given = tmp_path / "given"
    busy, waiting = one.submit(calls.start_program_and_wait, str(given)), one.submit(calls.add, 1, 1)
    while not given.exists():
        time.sleep(0.01)
    time.sleep(0.5)
    start = time.monotonic()
    one.shutdown(cancel_futures=True)
    assert time.monotonic() - start < 1.5
    assert waiting.cancelled()
    lost = busy.exception()
    assert isinstance(lost, WorkerLost)
    assert lost.reason == "stopped"
    (child,) = lost.items
    assert not _lives(child)
    with pytest.raises(RuntimeError):
        one.submit(calls.add, 1, 1)


def _lives(pid: int) -> bool:
    """Whether a process is there, and still is some seconds later: a signal takes effect when the system gets to it."""
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        try:
            if "\tZ" in Path(f"/proc/{pid}/status").read_text():
                return False
        except OSError:
            return False
        time.sleep(0.01)
    return True


def test_work_is_done_in_the_first_folder_and_imports_from_all(tmp_path: Path) -> None:
    """A module of the user's does not stand before one of Python's that kdrun imports."""
    for name in ("study", "current"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"only_{name}.py").write_text("")
        (tmp_path / name / "json.py").write_text("raise ImportError('this is not the json of Python')")
    workers = Workers(1, [str(tmp_path / "study"), str(tmp_path / "nowhere"), str(tmp_path / "current")])
    assert workers.submit(calls.import_both, "only_study", "only_current").result() == str(tmp_path / "study")
    workers.shutdown()


def test_a_worker_that_cannot_start_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three tries, with what it printed."""
    monkeypatch.setattr("kdrun.engine.forked._START", "print('no such luck'); raise SystemExit(3)")
    workers = Workers(1)
    with pytest.raises(WorkerLost, match="exit code 3") as lost:
        workers.submit(calls.add, 1, 1).result()
    assert (lost.value.reason, lost.value.printed) == ("start", "no such luck")
    workers.shutdown()


def test_a_call_whose_worker_dies_is_done_once_more(one: Workers, tmp_path: Path) -> None:
    """And no more often; a call that takes too long is not."""
    assert results_of(one, calls.die_once, [(str(tmp_path / "a"),), (str(tmp_path / "b"),)]) == ["lived", "lived"]
    with pytest.raises(WorkerLost, match="exit code 1"):
        results_of(one, calls.die, [()])


def test_what_is_printed_belongs_to_one_call(one: Workers) -> None:
    """Libraries and programs print into the same file; a call that fails shows its own words alone."""
    one.submit(calls.print_everywhere, "before").result()
    with pytest.raises(WorkerLost) as lost:
        one.submit(calls.print_and_die, "after").result()
    assert sorted(lost.value.printed.split()) == ["after-error", "after-print", "after-program"]
