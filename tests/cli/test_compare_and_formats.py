"""`kdrun compare`, and tables of `kdrun report` in other formats."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kdrun.comparison import compare
from kdrun.errors import UsageError
from tests.cli.command import SMOKE, kdrun

Smoke = tuple[Path, str]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke study with another seed, less training and no criteria."""
    results = tmp_path_factory.mktemp("other")
    less = ("--set", "teacher.epochs=5", "--set", "student.epochs=5", "--set", "criteria=[]")
    done = kdrun("factorial", SMOKE, "--results", results, "--seed", "43", "--replicates", "3", *less, "--quiet")
    assert done.returncode == 0, done.stderr
    return results / "smoke"


@pytest.fixture
def committed(smoke: Smoke, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the smoke results as a repository holds them: without the database."""

    def _committed() -> Path:
        folder = tmp_path / "committed"
        shutil.copytree(smoke[0], folder, ignore=shutil.ignore_patterns("runs.sqlite*"))
        return folder

    return _committed


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, but for SQLite's own about the database."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_results_are_identical_to_a_committed_copy_without_its_runs(
    smoke: Smoke, committed: Callable[[], Path]
) -> None:
    """Code 0, every row says so, and nothing is written on either side."""
    copy = committed()
    before = files(smoke[0]), files(copy)
    done = kdrun("compare", smoke[0], copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "identical: the same runs with the same bits"
    assert sum(" identical" in line for line in done.stdout.splitlines()) == 13
    assert "different" not in done.stdout
    assert (files(smoke[0]), files(copy)) == before


def test_another_seed_is_another_result(smoke: Smoke, other: Path) -> None:
    """Code 1; each treatment differs, and the intervals are those of unpaired replicates."""
    done = kdrun("compare", smoke[0], other)
    assert done.returncode == 1, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "not identical: 13 different; replicates only in B"
    assert "95% Welch intervals" in done.stdout


def test_json_is_one_document_without_nan(smoke: Smoke, other: Path) -> None:
    """Numbers that are not there are null; both digests are named."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    done = kdrun("compare", smoke[0], other, "--json")
    assert done.returncode == 1
    got = json.loads(done.stdout, parse_constant=refuse)
    assert set(got) == {"a", "b", "results_digests", "identical", "paired", "rows"}
    assert (got["a"], got["b"], got["identical"], got["paired"]) == (str(smoke[0]), str(other), False, False)
    assert got["results_digests"][0] == smoke[1].split()[-1]
    assert len(got["rows"]) == 13
    assert {row["only_b"] for row in got["rows"]} == {1}
    assert all(row["ci_low"] < row["estimate"] < row["ci_high"] for row in got["rows"])
    assert done.stderr == ""


def test_a_folder_that_is_not_there_cannot_be_compared(smoke: Smoke, tmp_path: Path) -> None:
    """Code 2, and it is named; code 1 would say that something differs."""
    done = kdrun("compare", smoke[0], tmp_path / "nowhere")
    assert done.returncode == 2
    assert f"{tmp_path / 'nowhere'}: there is no study.yaml" in done.stderr
    assert done.stdout == ""


def test_studies_without_a_response_in_common_cannot_be_compared(smoke: Smoke, committed: Callable[[], Path]) -> None:
    """Code 2, with the responses of both."""
    copy = committed()
    study = copy / "study.yaml"
    study.write_text(study.read_text().replace("name: eval_mse", "name: train_mse"))
    done = kdrun("compare", smoke[0], copy)
    assert done.returncode == 2
    assert "have no response in common: the first has eval_mse, the second train_mse" in done.stderr


def test_a_response_on_two_scales_cannot_be_compared(smoke: Smoke, committed: Callable[[], Path]) -> None:
    """A difference needs one scale."""
    copy = committed()
    study = copy / "study.yaml"
    study.write_text(study.read_text().replace("scale: log10", "scale: linear"))
    with pytest.raises(UsageError, match=r"eval_mse is analysed on the scale log10 in .* and on linear in"):
        compare(smoke[0], copy)


def test_the_same_seed_pairs_replicates(smoke: Smoke, committed: Callable[[], Path]) -> None:
    """And a changed bit in a committed table shows."""
    copy = committed()
    table = pd.read_parquet(copy / "tables" / "runs.parquet")
    table.loc[table["kind"] == "teacher", "eval_mse"] *= 2
    table.to_parquet(copy / "tables" / "runs.parquet")
    found = compare(smoke[0], copy)
    assert found.paired
    assert found.table["verdict"].tolist() == ["different"] * 2 + ["identical"] * 11
    assert found.table["ratio"][:2].tolist() == pytest.approx([2, 2])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tables/runs.parquet", None, r"there is neither runs\.sqlite nor tables/runs\.parquet"),
        ("tables/runs.parquet", b"PAR1", r"runs\.parquet: this table cannot be read"),
        ("manifest.json", None, r"manifest\.json: no results_digest can be read there"),
        ("manifest.json", b"{", r"manifest\.json: no results_digest can be read there"),
        ("manifest.json", b"[]", r"manifest\.json: no results_digest can be read there"),
    ],
)
def test_a_damaged_committed_folder_is_a_usage_error(
    smoke: Smoke, committed: Callable[[], Path], name: str, content: bytes | None, words: str
) -> None:
    """The file is named; nothing is taken for a difference."""
    path = committed() / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        compare(smoke[0], path.parent if path.parent.name == "committed" else path.parent.parent)


@pytest.mark.parametrize(
    ("table_format", "ending", "start"),
    [
        ("latex", "tex", b"\\begin{table}\n"),
        ("markdown", "md", b"| "),
        ("csv", "csv", b""),
        ("parquet", "parquet", b"PAR1"),
    ],
)
def test_report_writes_tables_in_a_format(
    smoke: Smoke, tmp_path: Path, table_format: str, ending: str, start: bytes
) -> None:
    """It prints the files that it wrote, and they are there."""
    copy = tmp_path / "smoke"
    shutil.copytree(smoke[0], copy)
    shutil.rmtree(copy / "tables")
    done = kdrun("report", copy, "--format", table_format)
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert copy / "tables" / f"effects.{ending}" in written
    assert sorted(written) == sorted((copy / "tables").iterdir())
    assert all(path.suffix == f".{ending}" and path.read_bytes().startswith(start) for path in written)


def test_report_prints_one_table_and_writes_nothing(smoke: Smoke) -> None:
    """As CSV it is the file of the results folder, byte by byte."""
    before = files(smoke[0])
    done = kdrun("report", smoke[0], "--format", "csv", "--table", "effects")
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == before["tables/effects.csv"]
    assert len(pd.read_csv(io.StringIO(done.stdout))) == 7
    assert files(smoke[0]) == before


def test_report_prints_one_table_for_people(smoke: Smoke) -> None:
    """Nothing but the table and its notes, ready to be pasted."""
    done = kdrun("report", smoke[0], "--format", "markdown", "--table", "effects")
    assert done.returncode == 0, done.stderr
    rows, _, notes = done.stdout.partition("\n\n")
    assert len(rows.splitlines()) == 2 + 7
    assert all(line.startswith("| ") and line.endswith(" |") for line in rows.splitlines())
    assert "|" not in notes
    assert "results_digest" not in notes


def test_an_unknown_table_is_a_usage_error(smoke: Smoke) -> None:
    """With the names that there are."""
    done = kdrun("report", smoke[0], "--format", "latex", "--table", "efects")
    assert done.returncode == 2
    assert (
        "there is no table 'efects' as latex; there are treatments, effects, anova, hypotheses, criteria" in done.stderr
    )
    assert done.stdout == ""


def test_a_table_needs_a_format(smoke: Smoke) -> None:
    """What would it be printed as?"""
    done = kdrun("report", smoke[0], "--table", "effects")
    assert done.returncode == 2
    assert "--table effects: say in which --format: csv, markdown or latex" in done.stderr
    assert done.stdout == ""
