"""Disks that are full, files that are cut, studies and code that change while they run: a clear word, nothing lost."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdrun.folder import clear
from tests.cli.command import KDRUN, digest_of, kdrun
from tests.faults.commands import Command, own_study, stored_rows

# A response and a printed page, so that rows are of some size.
CODE = """
def main(params, seed):
    return {f"part_{i}": seed / (i + 1) for i in range(200)} | {"score": params["a"] + seed / 2**32}
"""
LEVELS = "a: {sets: task.params.a, levels: [1, 2]}"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of 400 quick runs with long rows."""
    return own_study(tmp_path / "code", CODE, LEVELS, replicates=200)


def limited(bytes_per_file: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """kdrun where no file can grow beyond a size."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, bytes_per_file))

    command = [str(KDRUN), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit)


@pytest.mark.slow
def test_a_database_that_cannot_grow_keeps_what_it_holds(study: Path, tmp_path: Path) -> None:
    """What is stored is said and kept; with room, the same command goes on to the same digest."""
    expected = digest_of(kdrun("factorial", study, "--results", tmp_path / "roomy"))
    done = limited(1_000_000, "factorial", study, "--results", tmp_path / "tight")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "runs.sqlite: it cannot be written to" in done.stderr
    assert "run the same command again to go on" in done.stderr
    before = stored_rows(tmp_path / "tight" / "own")
    assert 0 < len(before) < 400
    again = kdrun("factorial", study, "--results", tmp_path / "tight")
    assert digest_of(again) == expected
    after = stored_rows(tmp_path / "tight" / "own")
    assert {run_id: after[run_id] for run_id in before} == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes; only the administrator can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run([str(shutil.which("umount")), str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_keeps_what_it_holds(study: Path, tmp_path: Path, small_disk: Path) -> None:
    """The same on a disk that really is full, wherever it becomes so; moved to another disk, the study goes on."""
    expected = digest_of(kdrun("factorial", study, "--results", tmp_path / "roomy"))
    done = kdrun("factorial", study, "--results", small_disk)
    assert done.returncode == 1
    assert "disk" in done.stderr
    before = stored_rows(small_disk / "own")
    assert before
    shutil.copytree(small_disk / "own", tmp_path / "moved" / "own")
    again = kdrun("factorial", study, "--results", tmp_path / "moved")
    assert digest_of(again) == expected
    after = stored_rows(tmp_path / "moved" / "own")
    assert {run_id: after[run_id] for run_id in before} == before


def fill_and_mend(study: Path, small_disk: Path, free: int) -> None:
    """Run a study with so many bytes free, which are too few, and again with room."""
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize - free))
    done = kdrun("factorial", study, "--results", small_disk)
    assert done.returncode in (1, 2), free
    assert len(done.stderr.strip().splitlines()[-1]) > 20
    (small_disk / "filler").unlink()
    again = kdrun("factorial", study, "--results", small_disk, "--set", "replicates=2")
    assert again.returncode == 0, (free, again.stderr)


@pytest.mark.parametrize("free", [100_000])
def test_a_disk_that_is_full_at_the_beginning_is_said_to_be(study: Path, small_disk: Path, free: int) -> None:
    """Wherever the beginning of a study finds no room, there is a line, and what was begun can be gone on with."""
    fill_and_mend(study, small_disk, free)


@pytest.mark.slow
@pytest.mark.parametrize("free", range(4096, 500_000, 20_480))
def test_a_disk_that_becomes_full_anywhere_is_said_to_be(study: Path, small_disk: Path, free: int) -> None:
    """Page by page through what a study writes first."""
    fill_and_mend(study, small_disk, free)


@pytest.mark.parametrize(
    "command",
    ["show", *(pytest.param(name, marks=pytest.mark.slow) for name in ("factorial", "report", "verify", "plan"))],
)
def test_a_database_that_is_cut_short_is_refused(study: Path, tmp_path: Path, command: str) -> None:
    """At any length: a line that says what to do, code 2, and the file as it was; without it, runs are made again."""
    first = kdrun("factorial", study, "--results", tmp_path / "out", "--set", "replicates=40")
    path = tmp_path / "out" / "own" / "runs.sqlite"
    whole = path.read_bytes()
    arguments = {
        "factorial": [study, "--results", tmp_path / "out", "--set", "replicates=40"],
        "plan": [study, "--results", tmp_path / "out", "--set", "replicates=40"],
        "show": [path.parent, next(iter(stored_rows(path.parent)))],
    }.get(command, [path.parent])
    for length in random.Random(5).sample(range(len(whole)), 2):
        path.write_bytes(whole[:length])
        done = kdrun(command, *arguments)
        assert done.returncode == 2, (length, done.stderr)
        assert "the database is damaged" in done.stderr or "cannot be opened" in done.stderr
        assert path.read_bytes() == whole[:length]
    path.unlink()
    shutil.rmtree(path.parent)
    again = kdrun("factorial", study, "--results", tmp_path / "out", "--set", "replicates=40")
    assert digest_of(again) == digest_of(first)


@pytest.mark.slow
def test_a_study_file_that_changes_while_it_runs_changes_nothing(tmp_path: Path) -> None:
    """What was read at the beginning is what runs, and what stands in the results folder."""
    code = "import time\ndef main(params, seed):\n    time.sleep(0.1)\n    return {'score': params['a'] + seed}\n"
    study = own_study(tmp_path, code, LEVELS, replicates=8)
    expected = digest_of(kdrun("factorial", study, "--results", tmp_path / "undisturbed"))
    written = (tmp_path / "undisturbed" / "own" / "study.yaml").read_text()
    command = Command("factorial", study, "--results", tmp_path / "out")
    while not stored_rows(tmp_path / "out" / "own"):
        time.sleep(0.02)
    study.write_text("nothing of a study")
    done = command.ended()
    assert done.returncode == 0, done.stderr
    assert digest_of(done) == expected
    assert (tmp_path / "out" / "own" / "study.yaml").read_text() == written


@pytest.mark.slow
def test_runs_that_other_code_made_are_told_and_done_again_when_asked(tmp_path: Path) -> None:
    """A changed helper, a cosmetic edit of the study, and each answer to a change."""
    code = "from helper import of\ndef main(params, seed):\n    return {'score': of(params['a'])}\n"
    study = own_study(tmp_path, code, LEVELS, replicates=2)
    helper = tmp_path / "helper.py"
    helper.write_text("def of(a):\n    return a\n")
    (tmp_path / "bystander.py").write_text("")

    def again(*more: object) -> subprocess.CompletedProcess[str]:
        return kdrun("factorial", study, "--results", tmp_path / "out", *more)

    first = again()
    rows = stored_rows(tmp_path / "out" / "own")
    (tmp_path / "bystander.py").write_text("changed = True\n")
    study.write_text("# a comment\n" + study.read_text().replace("levels: [1, 2]", "levels:  [1,  2]"))
    same = again()
    assert "code" not in same.stderr
    helper.write_text("def of(a):\n    return 2 * a\n")
    warned = again()
    assert warned.returncode == 0
    assert "4 stored runs made by other code (helper.py): kept. --on-code-change rerun does them again" in warned.stderr
    silent = again("--on-code-change", "keep")
    assert "code" not in silent.stderr
    assert stored_rows(tmp_path / "out" / "own") == rows
    assert digest_of(first) == digest_of(same) == digest_of(warned) == digest_of(silent)
    more = again("--set", "replicates=3")
    assert len(stored_rows(tmp_path / "out" / "own")) == 6
    assert "4 stored runs made by other code" in more.stderr
    rerun = again("--on-code-change", "rerun")
    assert "4 stored runs done again: their code changed: helper.py (--on-code-change rerun)" in rerun.stderr
    assert digest_of(rerun) != digest_of(first)
    settled = again("--on-code-change", "rerun")
    assert "again" not in settled.stderr


@pytest.mark.slow
def test_a_run_without_a_response_that_is_asked_for_later_is_done_again(tmp_path: Path) -> None:
    """The reason is said; a response that was there from the beginning costs nothing."""
    code = "import os\ndef main(params, seed):\n    found = {'score': 1.0, 'size': params['a']}\n"
    code += "    return found | ({'late': 2.0} if os.path.exists('late') else {})\n"
    study = own_study(tmp_path, code, LEVELS, replicates=2)
    kdrun("factorial", study, "--results", tmp_path / "out")
    rows = stored_rows(tmp_path / "out" / "own")
    study.write_text(
        study.read_text().replace("better: higher}", "better: higher}, {name: size, scale: linear, better: lower}")
    )
    assert kdrun("factorial", study, "--results", tmp_path / "out").returncode == 0
    assert stored_rows(tmp_path / "out" / "own") == rows
    (tmp_path / "late").touch()
    study.write_text(study.read_text().replace("{name: size", "{name: late"))
    done = kdrun("factorial", study, "--results", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "4 stored runs done again: they lack the response late" in done.stderr


@pytest.mark.slow
def test_what_a_killed_process_was_writing_is_swept_away(tmp_path: Path) -> None:
    """A folder in which nothing was finished holds nothing; other people's hidden files stay."""
    study = own_study(tmp_path / "code", CODE, LEVELS, replicates=2)
    folder = tmp_path / "out" / "own"
    folder.mkdir(parents=True)
    for name in (".runs.sqlite.77.tmp", ".runs.sqlite.77.tmp-journal"):
        (folder / name).write_text("half")
    done = kdrun("factorial", study, "--results", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (folder / "tables" / ".runs.csv.77.tmp").write_text("half")
    (folder / ".mine").write_text("whole")
    assert kdrun("factorial", study, "--results", tmp_path / "out", "--fresh", "--yes").returncode == 0
    assert sorted(path.name for path in folder.rglob(".*")) == [".mine"]


def test_starting_over_removes_all_runs_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed at the first file that it removes leaves an empty study, which the same command fills."""
    study = own_study(tmp_path, CODE, LEVELS, replicates=2)
    first = kdrun("factorial", study, "--results", tmp_path / "out")
    folder = tmp_path / "out" / "own"

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name == "study.yaml":
            raise SystemExit("killed")
        if path.exists():
            os.unlink(path)  # noqa: PTH108 (what is patched cannot be called)

    (folder / "runs.sqlite-wal").write_bytes(b"")
    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(SystemExit):
        clear(folder)
    monkeypatch.undo()
    assert stored_rows(folder) == {}
    again = kdrun("factorial", study, "--results", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert digest_of(again) == digest_of(first)
