"""`kdrun plan`: the study up to its first run, with nothing trained and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import KDRUN, SMOKE, kdrun


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_plan_lists_every_run_before_there_is_one(tmp_path: Path) -> None:
    """Ids, treatments and replicates in order, and minimum detectable effects, as one JSON document."""
    done = kdrun("plan", SMOKE, "--json", "--replicates", "2", "--set", "student.epochs=41", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert len(got["runs"]) == 26
    treatments = [(run["replicate"], run["treatment"]) for run in got["runs"] if run["kind"] == "treatment"]
    assert treatments == [(replicate, treatment) for replicate in (1, 2) for treatment in range(1, 9)]
    assert got["runs"][2] | {"run_id": ""} == {
        "run_id": "", "kind": "treatment", "treatment": 1, "replicate": 1, "comparator": None, "gradient": "ste",
        "distillation": "none", "width": "4", "status": "missing",
    }  # fmt: skip
    assert got["expected_seconds"] is None
    assert len(got["minimum_detectable"]) == 7
    assert done.stderr == ""


def test_plan_writes_nothing_anywhere(tmp_path: Path) -> None:
    """Not beside the study, not into the home, the cache of compiled kernels or the temporary folder."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (work / "study.yaml").write_text(SMOKE.read_text())
    before = tree(tmp_path)
    places = {key: str(home) for key in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "KDRUN_CACHE_DIR")}
    done = subprocess.run(
        [str(KDRUN), "plan", "study.yaml", "--set", "design=plackett-burman"],
        cwd=work, env={**os.environ, **places}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "(4 treatments + 2 teachers + 3 comparators) × 2 replicates = 18 runs; 0 of them stored" in done.stdout
    assert tree(tmp_path) == before


def test_plan_knows_the_runs_that_factorial_stored(smoke: tuple[Path, str]) -> None:
    """The same ids; what is stored is not missing, and its times tell that of what is."""
    folder, _ = smoke
    before = tree(folder)
    done = kdrun("plan", SMOKE, "--results", folder.parent, "--replicates", "3", "--workers", "1", "--json")
    got = json.loads(done.stdout)
    assert [run["status"] for run in got["runs"]] == ["done"] * 26 + ["missing"] * 13
    assert got["missing"] == 13
    assert got["expected_seconds"] > 0
    assert tree(folder) == before


def test_plan_with_a_pilot_gives_effects_on_the_analysis_scale(smoke: tuple[Path, str], tmp_path: Path) -> None:
    """With the pilot's own deviations and times, as a person reads them."""
    folder, _ = smoke
    done = kdrun("plan", SMOKE, "--results", tmp_path, "--pilot", folder, "--seed", "7", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert " on 2 workers" in done.stdout
    assert "σ_d" in done.stdout
    assert "seed 7: " in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "design=plackett"], "design.fraction: found 'plackett'; one of resolution-III"),
        (["--pilot", "nowhere"], "nowhere: there is no study.yaml"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_a_wrong_plan_ends_with_code_2(options: list[str], words: str, tmp_path: Path) -> None:
    """The mistake is named, nothing is printed on stdout."""
    done = kdrun("plan", SMOKE, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
