"""`kdrun verify`: exit codes and output, with worker processes of its own."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.cli.command import kdrun
from tests.tiny_results import tiny_results


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two studies: one with its runs, one as a repository holds it."""
    results = tmp_path_factory.mktemp("studies")
    folder = tiny_results(results)
    shutil.copytree(folder, results / "committed", ignore=shutil.ignore_patterns("runs.sqlite*"))
    return results


def test_equal_runs_give_code_0_and_the_digest(studies: Path) -> None:
    """Progress goes to stderr; the last line says what was compared."""
    done = kdrun("verify", studies / "tiny", "--sample", 3, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 runs to do on 1 worker" in done.stderr
    expected = "equal, bit for bit: 3 of 12 runs, run again and compared with runs.sqlite"
    assert done.stdout.splitlines()[-1] == f"{expected} by status, responses and trained networks"


def test_long_lines_are_whole_where_there_is_no_terminal(studies: Path, tmp_path: Path) -> None:
    """What was left out stands at the end of the last one, beyond the width of tables."""
    copy = Path(shutil.copytree(studies / "tiny", tmp_path / "tiny"))
    with sqlite3.connect(copy / "runs.sqlite") as connection:
        connection.execute("UPDATE runs SET status = 'failed' WHERE kind = 'comparator'")
    connection.close()
    done = kdrun("verify", copy, "--sample", 1, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("responses and trained networks; left out: 2 failed")


@pytest.mark.slow
def test_a_difference_in_one_of_several_studies_gives_code_5(studies: Path, tmp_path: Path) -> None:
    """One JSON document tells of each study; nothing else is printed."""
    copy = Path(shutil.copytree(studies, tmp_path / "studies"))
    with sqlite3.connect(copy / "tiny" / "runs.sqlite") as connection:
        connection.execute("UPDATE runs SET parameters_sha256 = 'x' WHERE kind = 'teacher'")
    connection.close()
    done = kdrun("verify", copy, "--all", "--workers", 1, "--json", "--quiet")
    assert done.returncode == 5, done.stderr
    assert done.stderr == ""
    got = json.loads(done.stdout)
    assert (got["equal"], [study["equal"] for study in got["studies"]]) == (False, [True, False])


def test_a_study_that_cannot_be_compared_does_not_keep_others_from_it(studies: Path, tmp_path: Path) -> None:
    """Code 2 and why; the last line tells of all."""
    copy = Path(shutil.copytree(studies, tmp_path / "studies"))
    (copy / "committed" / "study.yaml").write_text("study: [")
    done = kdrun("verify", copy, "--sample", 1, "--workers", 1, "--quiet")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kdrun: committed: {copy / 'committed' / 'study.yaml'}:1")
    first, last = done.stdout.splitlines()
    assert first.startswith("tiny: equal, bit for bit: 1 of 12 runs")
    assert last == "1 of 2 studies equal; not compared: committed"


def test_what_cannot_be_verified_gives_code_2(tmp_path: Path) -> None:
    """A sentence says why; nothing is run."""
    done = kdrun("verify", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path}: there is no study.yaml, so this is not the results folder of a study" in done.stderr
    assert done.stdout == ""
