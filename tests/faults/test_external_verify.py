"""Studies of the user's own code are verified like others, from wherever their code can be found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.command import kdrun
from tests.faults.commands import own_study

CODE = """
def main(params, seed):
    if params["a"] == 3: return {"other": 1.0}
    if params["a"] == 4: return {"score": 4.0, "more": float("inf")}
    if params["a"] == 5: return {"score": float("nan"), "more": seed}
    return {"score": params["a"] + seed / 2**32, "more": seed}
"""


@pytest.mark.slow
def test_a_study_of_ones_own_code_is_verified_with_and_without_its_database(tmp_path: Path) -> None:
    """Numbers beside the responses of the study count in the digest; others make no run diverge."""
    study = own_study(tmp_path / "code", CODE, "a: {sets: task.params.a, levels: [1, 2, 3, 4, 5]}", replicates=2)
    assert kdrun("factorial", study, "--results", tmp_path / "out").returncode == 1
    folder = tmp_path / "out" / "own"
    runs = pd.read_csv(folder / "tables" / "runs.csv")
    assert runs["status"].tolist() == ["done", "done", "failed", "done", "diverged"] * 2
    assert runs["score"][3] == 4.0
    stored = kdrun("verify", folder, "--all", cwd=tmp_path)
    assert stored.returncode == 0, stored.stdout + stored.stderr
    committed = tmp_path / "committed"
    shutil.copytree(folder, committed, ignore=shutil.ignore_patterns("runs.sqlite*"))
    equal = kdrun("verify", committed, cwd=tmp_path / "code")
    assert equal.returncode == 0, equal.stdout + equal.stderr
    lost = kdrun("verify", committed, cwd=tmp_path)
    assert lost.returncode == 2
    assert "there is no module 'own'" in lost.stderr
    (tmp_path / "code" / "own.py").write_text(CODE.replace('params["a"] +', '2 * params["a"] +'))
    different = kdrun("verify", committed, cwd=tmp_path / "code")
    assert different.returncode == 5
    assert "4 runs different" in different.stdout
