"""Whatever is killed, and whenever: nothing that was stored is lost or done again, and the end has the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import digest_of, kdrun
from tests.faults.commands import Command, own_study, stored_rows

SINE = """
schema: 1
study: killed
task: {name: sine, steps: 8, sequences: 4, eval: {phases: 4, steps: 8}}
model: {hidden: 8}
teacher: {epochs: 60}
student: {epochs: 60}
factors:
  gradient: [ste, smoothstep]
  rate: {sets: student.optimizer.lr, levels: [1e-3, 1e-2]}
replicates: 8
responses:
  - {name: eval_mse, scale: log10, better: lower}
comparators: [post_training]
criteria:
  - {name: same bits, claim: {reproducible: true}}
"""
SLEEPS = """
import time
def main(params, seed):
    time.sleep(0.02)
    return {"score": params["a"] + seed / 2**32}
"""


def studies(place: Path) -> dict[str, Path]:
    """Networks that need others, and a function of the user's own."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "sine.yaml").write_text(SINE)
    return {
        "killed": place / "sine.yaml",
        "own": own_study(place / "code", SLEEPS, "a: {sets: task.params.a, levels: [1, 2, 3]}", replicates=60),
    }


def undisturbed(study: Path, place: Path) -> tuple[str, float]:
    """The digest of a study that nobody disturbs, and how long it takes once kernels are compiled."""
    seconds = []
    for name in ("first", "second"):
        start = time.monotonic()
        done = kdrun("factorial", study, "--results", place / name)
        assert done.returncode == 0, done.stderr
        seconds.append(time.monotonic() - start)
    return digest_of(done), min(seconds)


def kill_and_resume(study: Path, folder: Path, kills: int, seconds: float, seed: int) -> list[str]:
    """Kill the process group at random moments of a study, resuming it each time, and begin anew where it was complete.

    Returns the digests of all studies that were completed. No run that was committed before a kill is run again.
    """
    moments, digests, before = random.Random(seed), list[str](), dict[str, tuple[object, ...]]()
    fresh: tuple[str, ...] = ()
    while kills:
        command = Command("factorial", study, "--results", folder.parent, *fresh)
        complete = command.ends_within(moments.uniform(0, seconds))
        if complete:
            digests.append(digest_of(command.ended()))
        else:
            command.kill_group()
            kills -= 1
        command.wait_until_gone()
        rows = stored_rows(folder)
        if not fresh:
            assert {run_id: rows.get(run_id) for run_id in before} == before
        fresh = ("--fresh", "--yes") if complete else ()
        before = rows
    done = kdrun("factorial", study, "--results", folder.parent, *fresh)
    assert done.returncode == 0, done.stderr
    if not fresh:
        rows = stored_rows(folder)
        assert {run_id: rows[run_id] for run_id in before} == before
    return [*digests, digest_of(done)]


def test_a_study_killed_at_random_moments_has_the_same_digest(tmp_path: Path) -> None:
    """Short form: two kills of the study that trains networks."""
    name = "killed"
    study = studies(tmp_path)[name]
    expected, seconds = undisturbed(study, tmp_path / "undisturbed")
    digests = kill_and_resume(study, tmp_path / "results" / name, 2, seconds, seed=1)
    assert set(digests) == {expected}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["killed", "own"])
def test_a_study_killed_at_fifty_random_moments_has_the_same_digest(tmp_path: Path, name: str) -> None:
    """From its first import to the last line that it prints."""
    study = studies(tmp_path)[name]
    expected, seconds = undisturbed(study, tmp_path / "undisturbed")
    digests = kill_and_resume(study, tmp_path / "results" / name, 50, seconds, seed=2)
    assert set(digests) == {expected}


def kill_workers(study: Path, results: Path, kills: int, seed: int) -> str:
    """Kill single workers, or what makes them, at random moments of a study. Returns its digest."""
    moments, left = random.Random(seed), kills
    command = Command("factorial", study, "--results", results)
    while left and command.process.poll() is None:
        time.sleep(moments.uniform(0.05, 0.4))
        if workers := command.workers():
            try:
                os.kill(moments.choice(workers + command.fork_servers()), signal.SIGKILL)
            except ProcessLookupError:
                continue
            left -= 1
    done = command.ended()
    assert left < kills, "no worker was killed"
    if done.returncode == 1:
        # Two workers were killed in the same run, which then has failed, as it says; nothing else has.
        assert "twice" in done.stderr
        done = kdrun("factorial", study, "--results", results, "--retry-failed")
    assert done.returncode == 0, done.stderr
    return digest_of(done)


@pytest.mark.parametrize("name", [pytest.param("killed", marks=pytest.mark.slow), "own"])
def test_single_workers_that_are_killed_cost_nothing(tmp_path: Path, name: str) -> None:
    """Others take their place; what they were doing is done again."""
    study = studies(tmp_path)[name]
    digest = kill_workers(study, tmp_path / "results", 3, seed=3)
    assert digest == digest_of(kdrun("factorial", study, "--results", tmp_path / "undisturbed"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_many_single_workers_that_are_killed_cost_nothing(tmp_path: Path, seed: int) -> None:
    """The same with twenty kills."""
    study = studies(tmp_path)["own"]
    expected, _ = undisturbed(study, tmp_path / "undisturbed")
    assert kill_workers(study, tmp_path / "results", 20, seed) == expected
