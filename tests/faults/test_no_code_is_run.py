"""What only looks at a study or at results neither imports nor runs the code that they name."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import ROOT, kdrun
from tests.faults.commands import called, stored_rows

# Importing it, and calling it, leave a trace.
CODE = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
def main(params, seed):
    pathlib.Path(__file__).with_name("called").touch()
    return {"score": params["a"] + seed / 2**32}
if __name__ == "__main__":
    print('{"score": 1.5}')
"""
TASKS = {
    "callable": "{name: callable, call: 'traced:main'}",
    "command": "{name: command, run: ['{python}', traced.py, '{a}']}",
}
TRACES = ("imported", "called")


def traces(place: Path) -> list[str]:
    return [str(path) for name in TRACES for path in place.rglob(name)]


def study_of(place: Path, task: str) -> Path:
    place.mkdir(exist_ok=True)
    (place / "traced.py").write_text(CODE)
    path = place / "study.yaml"
    path.write_text(
        f"schema: 1\nstudy: traced\ntask: {TASKS[task]}\nfactors: {{a: {{sets: task.params.a, levels: [1, 2]}}}}\n"
        "replicates: 2\nresponses: [{name: score, scale: linear, better: higher}]\n"
    )
    return path


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls a command where the code stands and could be imported. Returns its exit code."""

    def _look(place: Path, *arguments: object) -> int:
        monkeypatch.chdir(place)
        monkeypatch.syspath_prepend(str(place))
        code, _ = called([str(argument) for argument in arguments])
        return code

    return _look


@pytest.mark.parametrize("task", ["callable", pytest.param("command", marks=pytest.mark.slow)])
def test_what_only_looks_runs_no_code(tmp_path: Path, task: str, look: Callable[..., int]) -> None:
    """Before the first run and after the last one; nor does a study run any when nothing is missing."""
    study, folder = study_of(tmp_path / "place", task), tmp_path / "out" / "traced"
    here, out = study.parent, ("--results", tmp_path / "out")
    assert look(here, "plan", study) == 0
    assert look(here, "factorial", study, "--set", "replicates=0") == 2
    for command in ("verify", "factorial", "report"):
        assert look(here, command, "--help") == 0
    assert look(here, "list") == look(here, "schema") == 0
    assert not traces(tmp_path)
    assert kdrun("factorial", study, *out).returncode == 0
    assert traces(tmp_path)
    for path in traces(tmp_path):
        Path(path).unlink()
    run = next(iter(stored_rows(folder)))
    for command in (
        ("plan", study, *out),
        ("report", folder),
        ("report", folder, "--format", "latex"),
        ("compare", folder, folder),
        ("show", folder, run),
        ("factorial", study, *out),
        ("factorial", study, *out, "--only", "a=1"),
        ("factorial", study, *out, "--on-code-change", "rerun"),
    ):
        assert look(here, *command) == 0, command
    assert look(here, "export", folder, "--run", run, "--output", tmp_path / "network.npz") == 2
    assert not traces(tmp_path)


@pytest.mark.slow
def test_results_from_elsewhere_run_nothing_when_they_are_reported(tmp_path: Path, look: Callable[..., int]) -> None:
    """A study.yaml that was changed to name other code, which lies beside it: its runs are missing, and stay so."""
    study, folder = study_of(tmp_path / "place", "callable"), tmp_path / "out" / "traced"
    assert kdrun("factorial", study, "--results", tmp_path / "out").returncode == 0
    for path in traces(tmp_path):
        Path(path).unlink()
    written = (folder / "study.yaml").read_text()
    (folder / "evil.py").write_text(CODE)
    (folder / "study.yaml").write_text(written.replace("call: traced:main", "call: evil:main"))
    for command in (("report", folder.parent), ("compare", folder, folder)):
        assert look(folder, *command) == 0
    assert not traces(tmp_path)


def test_only_what_kdrun_itself_has_sent_is_unpickled() -> None:
    """Pickles can run anything: they go between a kdrun and its own workers, and nothing in a results folder is one."""
    users = set()
    for path in (ROOT / "kdrun").rglob("*.py"):
        text = path.read_text()
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
        }
        if names & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"} or "read_pickle" in text:
            users.add(path.relative_to(ROOT).as_posix())
        assert "allow_pickle=True" not in text, path
        assert "np.load(" not in text or "allow_pickle=False" in text, path
    assert users == {"kdrun/engine/worker.py", "kdrun/engine/workers.py", "kdrun/engine/cluster.py"}
