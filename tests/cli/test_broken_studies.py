"""Twenty-odd ways to get a study wrong: code 2, the place, no traceback, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import SMOKE, kdrun

TEXT = SMOKE.read_text()


def replaced(old: str, new: str) -> bytes:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new).encode()


GRADIENT = next(line for line in TEXT.splitlines() if line.strip().startswith("gradient:"))
WIDTH = next(line for line in TEXT.splitlines() if line.strip().startswith("width:"))
REPLICATES = next(line for line in TEXT.splitlines() if line.startswith("replicates:"))
SEED = next(line for line in TEXT.splitlines() if line.startswith("seed:"))

BROKEN: dict[str, tuple[bytes, str]] = {
    "unknown key": (replaced(SEED, f"{SEED}\nsead: 1"), "Did you mean 'seed'?"),
    "unknown level": (replaced(GRADIENT, "  gradient: [ste, smoothstp]"), "Did you mean 'smoothstep'?"),
    "unknown task": (TEXT.replace("name: sine", "name: sinus").encode(), "Did you mean 'sine'?"),
    "wrong type": (replaced(REPLICATES, "replicates: two"), "replicates"),
    "a float where a whole number is needed": (replaced(REPLICATES, "replicates: 2.5"), "replicates"),
    "zero replicates": (replaced(REPLICATES, "replicates: 0"), "replicates"),
    "a huge value": (replaced(REPLICATES, "replicates: 99999999999999999999"), "replicates"),
    "not a number": (replaced(SEED, "seed: .nan"), "seed"),
    "a negative seed": (replaced(SEED, "seed: -1"), "seed"),
    "a duplicate key": (replaced(SEED, f"{SEED}\n{SEED}"), "twice"),
    "a tab": (replaced(GRADIENT, "\tgradient: [ste, smoothstep]"), "tab"),
    "a factor that sets a missing key": (replaced(WIDTH, "  width: {sets: model.hiden, levels: [4, 6]}"), "hidden"),
    "a factor that sets nothing": (replaced(WIDTH, "  width: [4, 6]"), "sets"),
    "one level only": (replaced(GRADIENT, "  gradient: [ste]"), "level"),
    "the same level twice": (replaced(GRADIENT, "  gradient: [ste, ste]"), "ste"),
    "a level out of range": (replaced(WIDTH, "  width: {sets: model.hidden, levels: [4, 5000]}"), "4096"),
    "no factors": (
        b"schema: 1\nstudy: x\ntask: {name: sine}\nresponses: [{name: eval_mse, scale: log10, better: lower}]\n",
        "factors",
    ),
    "an unclosed bracket": (replaced(GRADIENT, "  gradient: [ste, smoothstep"), ""),
    "an empty file": (b"", "empty"),
    "a list instead of a mapping": (b"- 1\n- 2\n", "mapping"),
    "a binary file": (bytes(range(256)), ""),
    "another schema": (TEXT.replace("schema: 1", "schema: 2").encode(), "schema"),
    "a name that leaves the folder": (TEXT.replace("study: smoke", "study: ../smoke").encode(), "study"),
    "negative epochs": (TEXT.replace("student:", "student:\n  epochs: -5\nx_student:", 1).encode(), "epochs"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_study_is_refused(tmp_path: Path, kind: str):
    """Code 2 and file:line:column; the results folder is not made."""
    content, words = BROKEN[kind]
    study = tmp_path / "study.yaml"
    study.write_bytes(content)
    done = kdrun("factorial", study, "--results", tmp_path / "results")
    assert done.returncode == 2, done.stderr
    assert f"{study}:" in done.stderr
    assert words.lower() in done.stderr.lower()
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.yaml"]


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind not in ("an empty file", "a binary file")])
def test_the_place_is_named_by_line_and_column(tmp_path: Path, kind: str):
    """Wherever the file has text, the first mistake has a line and a column."""
    import re

    from kdrun.errors import StudyError, UsageError
    from kdrun.study.load import load_study

    study = tmp_path / "study.yaml"
    study.write_bytes(BROKEN[kind][0])
    with pytest.raises(UsageError) as caught:
        load_study(study)
    if isinstance(caught.value, StudyError):
        assert re.match(rf"{re.escape(str(study))}:\d+:\d+: ", str(caught.value))


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path):
    """A typing mistake in the name is met with the file that there is."""
    (tmp_path / "sine.yaml").write_text(TEXT)
    done = kdrun("factorial", "sin.yaml", cwd=tmp_path)
    assert (done.returncode, "sine.yaml" in done.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sine.yaml"]


def test_a_folder_is_no_study(tmp_path: Path):
    """A folder in place of a file is refused."""
    assert kdrun("factorial", tmp_path).returncode == 2


def test_setting_what_a_factor_sets_is_refused(tmp_path: Path):
    """--set on a key that a factor sets names both."""
    done = kdrun("factorial", SMOKE, "--set", "model.hidden=8", cwd=tmp_path)
    assert (done.returncode, "width" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_an_override_is_checked_like_the_file(tmp_path: Path):
    """The place is the option itself."""
    done = kdrun("factorial", SMOKE, "--set", "student.epochs=-5", cwd=tmp_path)
    assert (done.returncode, "--set student.epochs=-5" in done.stderr) == (2, True)


def test_all_mistakes_are_shown_at_once(tmp_path: Path):
    """Two mistakes, two lines."""
    study = tmp_path / "study.yaml"
    study.write_text(TEXT.replace(REPLICATES, "replicates: 0").replace(GRADIENT, "  gradient: [ste, smoothstp]"))
    lines = kdrun("factorial", study).stderr.strip().splitlines()
    assert len(lines) == 2
