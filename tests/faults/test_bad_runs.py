"""Runs that crash the interpreter, hang, or eat memory fail with a word that says how, and all others are done."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kdrun.results import Results
from tests.cli.command import digest_of, kdrun
from tests.faults.commands import Command, own_study, stored_rows

CODE = """
import ctypes, os, subprocess, sys, time
def main(params, seed):
    kind = params["fate"]
    print("this is", kind)
    if kind == "crash": ctypes.string_at(0)
    if kind == "leave": os._exit(7)
    if kind == "exit": sys.exit("enough")
    if kind == "hang": time.sleep(1000)
    if kind == "spawn": subprocess.run(["sleep", "1000"])
    if kind == "eat":
        eaten = []
        while True: eaten.append(b"x" * 20_000_000)
    if kind == "wrong": return {"score": 1 / 0}
    if kind == "other": return {"other": 1.0}
    if kind == "text": return {"score": "high"}
    if kind == "nothing": return None
    if kind == "nan": return {"score": float("nan")}
    if kind == "noisy": print("x" * 3_000_000)
    return {"score": seed / 2**32}
"""
REASONS = {
    "crash": "its worker process was ended by SIGSEGV, twice",
    "leave": "its worker process ended with exit code 7, twice",
    "exit": "SystemExit: enough",
    "hang": "it took longer than 3 s",
    "spawn": "it took longer than 3 s",
    "eat": "GB are allowed, twice in fresh processes",
    "wrong": "ZeroDivisionError: division by zero",
    "other": "the run gave other, and not score, which the study's responses name",
    "text": "own:main gave score = 'high'; a number is needed",
    "nothing": "own:main gave None; a mapping of at least one response to its number is needed",
}
FINE = ("fine", "noisy", "good")


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[int]]:
    """The results of a study in which nearly everything goes wrong, what was said, and which processes are left."""
    place = tmp_path_factory.mktemp("evil")
    fates = ", ".join(["fine", *REASONS, "nan", "noisy", "good"])
    study = own_study(place, CODE, f"fate: {{sets: task.params.fate, levels: [{fates}]}}", replicates=1)
    command = Command("factorial", study, "--results", place / "out", "--timeout", 3, "--memory", "400MB")
    _, err = command.process.communicate(timeout=120)
    assert command.process.returncode == 1, err
    command.wait_until_gone()
    return place / "out" / "own", err, command.others()


def test_each_failed_run_says_why_and_all_others_are_done(evil: tuple[Path, str, list[int]]) -> None:
    """Nothing is missing: those of three levels are done, and that of one diverged."""
    folder, said, left = evil
    assert not left
    found = Results.open(folder)
    outcomes = found.stored.outcomes
    assert len(outcomes) == len(found.plan.runs) == len(REASONS) + 4
    for run in found.plan.runs:
        fate, outcome = run.levels["fate"], outcomes[run.run_id]
        assert outcome.status == ("done" if fate in FINE else "diverged" if fate == "nan" else "failed"), outcome.error
        if fate in REASONS:
            assert outcome.reason.endswith(REASONS[fate]), outcome.error
    assert "10 runs failed, such as treatment 2, replicate 1: its worker process was ended by SIGSEGV, twice" in said
    assert "--retry-failed" in said


def test_a_failure_keeps_what_was_printed_and_where_it_went_wrong(evil: tuple[Path, str, list[int]]) -> None:
    """A traceback begins in the user's own code; a crash shows the line that it was in."""
    found = Results.open(evil[0])
    errors = {run.levels["fate"]: found.stored.outcomes[run.run_id].error for run in found.plan.runs}
    assert errors["wrong"].startswith("Traceback (most recent call last):\n  File")
    assert "own.py" in errors["wrong"].splitlines()[1]
    assert "kdrun/engine" not in errors["wrong"]
    assert "this is crash" in errors["crash"]
    assert "own.py" in errors["crash"]
    assert "this is hang" in errors["hang"]


@pytest.mark.slow
def test_failed_runs_are_not_tried_again_unless_asked(evil: tuple[Path, str, list[int]], tmp_path: Path) -> None:
    """The same command does nothing and says so; --retry-failed does them and says why."""
    code = "import os\ndef main(params, seed):\n    assert params['fate'] != 'bad' or os.path.exists('mended')\n"
    study = own_study(
        tmp_path,
        code + "    return {'score': seed}\n",
        "fate: {sets: task.params.fate, levels: [bad, fine]}",
        replicates=2,
    )
    first = kdrun("factorial", study, "--results", tmp_path / "out")
    assert first.returncode == 1
    (tmp_path / "mended").touch()
    rows = stored_rows(tmp_path / "out" / "own")
    again = kdrun("factorial", study, "--results", tmp_path / "out")
    assert again.returncode == 1
    assert digest_of(again) == digest_of(first)
    assert "2 runs failed before: not tried again without --retry-failed" in again.stderr
    assert stored_rows(tmp_path / "out" / "own") == rows
    mended = kdrun("factorial", study, "--results", tmp_path / "out", "--retry-failed")
    assert mended.returncode == 0, mended.stderr
    assert "2 stored runs done again: they had failed (--retry-failed)" in mended.stderr
    after = stored_rows(tmp_path / "out" / "own")
    assert {key: row for key, row in after.items() if rows[key][0] == "done"} == {
        key: row for key, row in rows.items() if row[0] == "done"
    }
    assert {row[0] for row in after.values()} == {"done"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_ends_within_two_seconds_and_keeps_what_is_finished(tmp_path: Path, number: int) -> None:
    """Code 130, a line that says how to go on, no process left, and every run that had ended."""
    code = """
import pathlib, time
def main(params, seed):
    if params["a"] == 3: time.sleep(1000)
    pathlib.Path(f"ended-{params['a']}-{seed}").touch()
    return {"score": params["a"]}
"""
    study = own_study(tmp_path, code, "a: {sets: task.params.a, levels: [1, 2, 3]}", replicates=4)
    command = Command("factorial", study, "--results", tmp_path / "out", "--workers", 2)
    folder = tmp_path / "out" / "own"
    # Until both workers hang, and what had ended in their batches is known to nobody but them.
    ended = -1
    while ended != len(list(tmp_path.glob("ended-*"))) or not stored_rows(folder):
        ended = len(list(tmp_path.glob("ended-*")))
        time.sleep(1)
    start = time.monotonic()
    command.process.send_signal(number)
    done = command.ended(timeout=10)
    assert time.monotonic() - start < 2
    assert done.returncode == 130
    last = done.stderr.strip().splitlines()[-1]
    assert ended >= 2
    assert last.startswith(f"Interrupted: {ended} of 12 runs are stored. Go on with: kdrun factorial")
    assert len(stored_rows(folder)) == ended
    command.wait_until_gone()


def test_a_second_kdrun_on_a_folder_is_refused_and_a_stale_lock_is_not(tmp_path: Path) -> None:
    """The refusal names the process; what a killed one left is no lock."""
    code = """
import pathlib, time
def main(params, seed):
    while params["a"] == 2 and not pathlib.Path("go").exists(): time.sleep(0.02)
    return {"score": 1.0}
"""
    study = own_study(tmp_path, code, "a: {sets: task.params.a, levels: [1, 2]}", replicates=3)
    first = Command("factorial", study, "--results", tmp_path / "out")
    lock = tmp_path / "out" / ".own.lock"
    while not (lock.exists() and lock.stat().st_size):
        time.sleep(0.02)
    second = kdrun("factorial", study, "--results", tmp_path / "out", "--fresh", "--yes")
    assert second.returncode == 2
    assert f"another kdrun works on this folder (process {first.process.pid} on {os.uname().nodename}" in second.stderr
    while not stored_rows(tmp_path / "out" / "own"):
        time.sleep(0.02)
    first.kill_group()
    assert lock.exists()
    (tmp_path / "go").touch()
    third = kdrun("factorial", study, "--results", tmp_path / "out")
    assert third.returncode == 0, third.stderr
    assert "under way when an earlier kdrun ended: missing, and done again" in third.stderr
    assert not lock.exists()
