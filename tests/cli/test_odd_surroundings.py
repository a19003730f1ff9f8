"""Closed streams, folders that are gone, names that are no text: the command does its work, or says what is wrong."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import KDRUN, kdrun
from tests.faults.commands import called, own_study

SLOW = pytest.mark.slow
STUDY = "a: {sets: task.params.a, levels: [1, 2]}"
CODE = "def main(params, seed):\n    return {'score': params['a'] + seed}\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_study(tmp_path_factory.mktemp("odd"), CODE, STUDY, replicates=2)


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", *(pytest.param(one, marks=SLOW) for one in (">&-", "2>&-"))])
def test_closed_streams_change_nothing(study: Path, tmp_path: Path, closed: str) -> None:
    """What would be said is not, and all the rest is done."""
    command = f'"{KDRUN}" factorial "{study}" --results "{tmp_path}/out" {closed}'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (tmp_path / "out" / "own" / "report.html").stat().st_size > 10_000


def test_a_results_folder_whose_name_is_no_text_holds_results(study: Path, tmp_path: Path) -> None:
    """Bytes that are not UTF-8, spaces and newlines; they are not sent to the terminal."""
    place = tmp_path / os.fsdecode(b"a \xff\x1b[31m\n=1")
    done = kdrun("factorial", study, "--results", place)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert (place / "own" / "tables" / "history.parquet").exists()


def test_a_current_folder_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    """Nothing relative can be found from there."""
    (tmp_path / "gone").mkdir()
    command = f'cd "{tmp_path}/gone" && rmdir ../gone && "{KDRUN}" plan study.yaml'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert "the current folder: No such file" in done.stderr


@pytest.mark.parametrize("command", ["factorial", "plan"])
def test_too_many_workers_are_refused(study: Path, command: str) -> None:
    """A slip of the finger starts no million processes."""
    code, said = called([command, str(study), "--results", str(study.parent / "none"), "--workers", "1000000"])
    assert (code, "at most 1,024" in said) == (2, True)
    assert not (study.parent / "none").exists()


IMPORTS = {
    "a syntax error": ("def main(:\n", "SyntaxError"),
    "an exit": ("import sys; sys.exit('no')\n", "SystemExit: no"),
    "a crash": ("import os; os._exit(3)\n", "ended a worker"),
    "colours": ("raise ImportError('\\x1b[31mred\\ud800')\n", "red"),
    "an exception of its own": ("class E(BaseException): pass\nraise E('mine')\n", "E: mine"),
}


@pytest.mark.parametrize("kind", [kind if kind == "colours" else pytest.param(kind, marks=SLOW) for kind in IMPORTS])
def test_code_that_cannot_be_imported_is_refused_with_its_reason(tmp_path: Path, kind: str) -> None:
    """Code 2, no control characters, and nothing is left in the results folder."""
    text, words = IMPORTS[kind]
    done = kdrun("factorial", own_study(tmp_path / "code", text, STUDY), "--results", tmp_path / "out")
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert "\x1b" not in done.stderr
    assert not (tmp_path / "out").exists()
