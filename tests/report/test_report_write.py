"""What is written into a results folder."""

from __future__ import annotations

import csv
import json
import math
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from judged_studies import effects, half, judged
from markdown_it import MarkdownIt

from kdrun.errors import UsageError
from kdrun.files import replacing, write_bytes
from kdrun.report import manifest as manifest_module
from kdrun.report.document import factorial_document
from kdrun.report.index import is_index, study_index, write_index
from kdrun.report.markdown import report_text
from kdrun.report.plots import Picture
from kdrun.report.write import csv_bytes, export_tables, table_text, write_report
from kdrun.stats.analysis import Analysis

PICTURE = Picture("means", "Means", "Means of treatments.", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
REGISTRATION = {
    "registered": "2025-01-01T00:00:00+00:00",
    "hash": "cafe",
    "changes": [{"time": "2025-01-02T00:00:00+00:00", "text": "Criterion |x| was added."}],
    "exploratory_criteria": ["same bits"],
}
HISTORY = pd.DataFrame({"run_id": ["a", "a"], "epoch": [0, 1], "name": ["loss", "loss"], "value": [1.5, math.nan]})


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Content of every file by its path in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_a_results_folder(
    tmp_path: Path, analysis: Analysis, study: dict[str, Any], manifest: dict[str, Any]
) -> None:
    """Tables as CSV and Parquet, histories, report and manifest are written, and no temporary file stays."""
    write_report(tmp_path, analysis, study, "study: sine\n", manifest, [HISTORY, HISTORY], REGISTRATION, [PICTURE])
    names = ("runs", "treatments", "effects", "anova", "hypotheses", "criteria")
    tables = [f"tables/{name}.{kind}" for name in names for kind in ("csv", "parquet")]
    reports = ["plots/means.svg", "report.md", "report.html", "manifest.json"]
    assert set(bytes_of(tmp_path)) == {*tables, "tables/history.parquet", *reports}
    assert len(pd.read_parquet(tmp_path / "tables" / "history.parquet")) == 4
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    for name, picture in (("report.md", "plots/means.svg"), ("report.html", "data:image/svg+xml;base64,")):
        text = (tmp_path / name).read_text()
        assert all(part in text for part in ("cafe", picture, "7e5")), name
    assert "<code>study: sine</code>" in (tmp_path / "report.html").read_text()


def test_equal_data_give_equal_bytes(
    tmp_path: Path, make: Callable[..., Analysis], study: dict[str, Any], manifest: dict[str, Any]
) -> None:
    """Writing the same study twice gives the same bytes in every file, over an older one too."""
    write_report(tmp_path / "a", make(), study, "study: sine\n", manifest, [HISTORY], REGISTRATION, [PICTURE])
    write_report(tmp_path / "b", make(replicates=2), study, "", manifest)
    write_report(tmp_path / "b", make(), study, "study: sine\n", manifest, [HISTORY], REGISTRATION, [PICTURE])
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_tables_read_back_to_the_bit(tmp_path: Path, analysis: Analysis, study: dict[str, Any]) -> None:
    """CSV and Parquet hold the floats of the tables exactly."""
    analysis.runs.loc[0, "eval_mse"] = 5e-324
    analysis.runs.loc[1, "eval_mse"] = 1 / 3
    analysis.runs.loc[2, "eval_mse"] = math.inf
    write_report(tmp_path, analysis, study, "", {})
    expected = [value.hex() for value in analysis.runs["eval_mse"]]
    parquet = pd.read_parquet(tmp_path / "tables" / "runs.parquet")["eval_mse"]
    with (tmp_path / "tables" / "runs.csv").open(encoding="utf-8", newline="") as file:
        text = [row["eval_mse"] for row in csv.DictReader(file)]
    assert [value.hex() for value in parquet] == expected
    assert [float(value).hex() for value in text] == expected


def test_levels_stay_as_written_in_csv(make: Callable[..., Analysis]) -> None:
    """A level is the text of the study file, a hole is empty, and whole numbers have no point."""
    rows = list(csv.DictReader(csv_bytes(make({"width": ("16", "1e-3")}).runs).decode().splitlines()))
    assert [rows[index]["width"] for index in (0, 1, 2)] == ["", "16", "1e-3"]
    assert [rows[index]["treatment"] for index in (0, 1, 2)] == ["", "1", "2"]
    assert rows[0]["vs_float"] == ""


def test_csv_cells_are_no_formulas(make: Callable[..., Analysis]) -> None:
    """Text that a spreadsheet would run is made text, in cells and headings; numbers stay numbers."""
    table = make({"=f()": ("=1+1", "-5")}).runs
    table.loc[0, "error"] = '@x\n,"quoted"'
    table.loc[1, "eval_mse"] = -1.0
    rows = list(csv.DictReader(csv_bytes(table).decode().splitlines(keepends=True)))
    assert [rows[index]["'=f()"] for index in (1, 2)] == ["'=1+1", "-5"]
    assert rows[0]["error"] == '\'@x\n,"quoted"'
    assert rows[1]["eval_mse"] == "-1.0"


def test_report_says_what_came_of_the_study(
    analysis: Analysis, study: dict[str, Any], manifest: dict[str, Any]
) -> None:
    """The report has title, runs, tables, criteria, how it was judged, how to run it again, digests and versions."""
    got = report_text(analysis, study, manifest)
    assert got.startswith("# A study of sines\n")
    for part in (
        "8 treatments in 4 replicates, 40 runs (4 of teachers, 32 of treatments, 4 of comparators)",
        "- **gradient**: `ste`, `smoothstep`",
        "| Treatment | Gradient | Distillation | Width | Train MSE | Eval MSE | vs Float | vs Baseline |",
        "- [x] **all reported** (required)",
        "| gradient:distillation:width |",
        "kdrun factorial study.yaml --results again\nkdrun compare . again/sine\n",
        "| results digest | `7e5` |",
        "| python | `3.11.0` |",
    ):
        assert part in got


def test_a_title_is_text(analysis: Analysis, study: dict[str, Any]) -> None:
    """A title with markup or newlines stays one heading of plain text."""
    got = report_text(analysis, {**study, "title": "a\n# <b>b</b> [c](d)"}, {})
    assert got.splitlines()[0] == "# a \\# &lt;b&gt;b&lt;/b&gt; \\[c\\](d)"


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    """A write that fails leaves the file as it was, and nothing beside it."""
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert bytes_of(tmp_path) == {"file": b"old"}


def test_the_manifest_holds_no_trace_of_the_machine(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions and CPU are in the manifest; paths, host and user are not."""
    monkeypatch.setenv("USER", "somebody")
    made = manifest_module.manifest(study, "a", "b", manifest_module.environment(), "start", "end")
    text = json.dumps(made)
    assert made["versions"]["python"] == platform.python_version()
    assert made["cpu"]["architecture"] == platform.machine()
    for trace in (str(Path.cwd()), sys.prefix, str(Path.home()) + "/", "somebody"):
        assert trace not in text
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_the_commit_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is found where there is one; without repository, commit or git there is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert manifest_module.git_commit() is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert manifest_module.git_commit() is None
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "x", "--no-gpg-sign"], check=True)
    assert len(manifest_module.git_commit() or "") == 40
    monkeypatch.setenv("PATH", "")
    assert manifest_module.git_commit() is None


def test_json_document_has_null_for_nan(analysis: Analysis) -> None:
    """The document of `--json` is valid JSON, holes are null, and means stand under the response's name."""
    got = factorial_document(analysis, "sine", "results/sine", "a", "b")
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["runs"] == {"done": 40, "failed": 0, "diverged": 0, "missing": 0}
    first = got["treatments"][0]
    assert first["eval_mse"] == analysis.treatments["eval_mse_mean"].iloc[0]
    assert (first["treatment"], first["width"], first["vs_baseline"], first["vs_baseline_ci_low"]) == (
        1,
        "16",
        1.0,
        None,
    )
    assert got["criteria"][0]["holds"] is True


def test_index_over_committed_folders(
    tmp_path: Path, make: Callable[..., Analysis], study: dict[str, Any], manifest: dict[str, Any]
) -> None:
    """Each folder with tables is a row, without any database, and the folders are left as they are."""
    write_report(tmp_path / "one", make(), study, "", manifest)
    write_report(tmp_path / "two", make(replicates=2), study, "", {**manifest, "study": "two|x"})
    (tmp_path / "notes").mkdir()
    before = bytes_of(tmp_path)
    got = study_index(tmp_path)
    write_index(tmp_path, got)
    assert got["study"].tolist() == ["sine", "two|x"]
    assert got["replicates"].tolist() == [4, 2]
    assert got[["criteria", "held"]].to_numpy().tolist() == [[2, 1], [2, 1]]
    best = make().treatments.sort_values("eval_mse_mean").iloc[0]
    assert got["mean"].iloc[0] == best["eval_mse_mean"]
    assert (
        got["best"].iloc[0]
        == f"gradient {best['gradient']}, distillation {best['distillation']}, width {best['width']}"
    )
    after = bytes_of(tmp_path)
    assert "| two\\|x |" in after.pop("index.md").decode()
    assert "two|x" in after.pop("index.html").decode()
    assert after == before


def test_what_is_an_index(tmp_path: Path, analysis: Analysis, study: dict[str, Any], manifest: dict[str, Any]) -> None:
    """A folder of results folders is an index; one study's folder and an empty one are not."""
    write_report(tmp_path / "all" / "one", analysis, study, "", manifest)
    (tmp_path / "all" / "one" / "study.yaml").write_text("study: one\n")
    (tmp_path / "empty").mkdir()
    assert [is_index(tmp_path / name) for name in ("all", "all/one", "empty")] == [True, False, False]


def test_pictures_that_are_made_no_more_are_removed(tmp_path: Path, analysis: Analysis, study: dict[str, Any]) -> None:
    """plots/ holds the pictures of this report and none of an earlier one; other files in it stay."""
    write_report(tmp_path, analysis, study, "", {}, pictures=[PICTURE, replace(PICTURE, name="old")])
    (tmp_path / "plots" / "mine.png").write_bytes(b"x")
    write_report(tmp_path, analysis, study, "", {}, pictures=[PICTURE])
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["means.svg", "mine.png"]
    assert (tmp_path / "plots" / "means.svg").read_bytes() == PICTURE.svg
    (tmp_path / "plots" / "mine.png").unlink()
    write_report(tmp_path, analysis, study, "", {})
    assert not (tmp_path / "plots").exists()


def test_the_report_has_verdicts_first(analysis: Analysis, study: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Verdicts, criteria and changes stand before what matters, tables, pictures and how it was judged."""
    got = report_text(judged(analysis), study, manifest, REGISTRATION, [PICTURE])
    sections = re.findall(r"^## (.*)$", got, re.MULTILINE)
    assert sections == [
        "Verdicts", "Criteria", "Changes since registration", "What matters to Eval MSE", "Treatments", "Pictures",
        "Effects", "How it was judged", "How to run it again", "Digests and versions",
    ]  # fmt: skip
    for part in (
        "1 supported, 1 refuted, 1 inconclusive. Each verdict stands for itself",
        "- **supported**: gradient helps\\\n  gradient multiplies it\n",
        "- **inconclusive** (exploratory): they differ",
        "**same bits** (exploratory): replicate 1 was not run again",
        "- 2025-01-02T00:00:00+00:00: Criterion \\|x\\| was added.",
        "![Means](plots/means.svg)",
        "| registration | `cafe` |",
    ):
        assert part in got


def test_the_report_shows_no_picture_that_is_not_there(analysis: Analysis, study: dict[str, Any]) -> None:
    """Without pictures nothing links to any."""
    assert "plots/" not in report_text(analysis, study, {})


def test_the_report_has_aliases_and_cautions(make: Callable[..., Analysis], study: dict[str, Any]) -> None:
    """A fraction lists its classes, a selection what it cannot estimate, and what is left out is said first."""
    fraction = report_text(make(chosen=half), study, {})
    assert "## What cannot be told apart\n\nEach line has one estimate" in fraction
    assert "\n- **gradient** + distillation:width\n" in fraction
    selection = report_text(make(chosen=lambda at: at != (1, 1, 1)), study, {})
    assert "\n- **Its levels vary together with those of other terms:** gradient:distillation:width\n" in selection
    assert "told apart" not in report_text(make(), study, {})
    caution = report_text(make(diverged=("r1t2",), stand_in=None), study, {})
    assert "## What matters to Eval MSE\n\n**1 diverged run " in caution


def test_the_report_stays_short(analysis: Analysis, study: dict[str, Any]) -> None:
    """More than 40 effects are cut to the terms, and the report says where the rest is."""
    rows = [("gradient", f"c{number}", 0.1, -0.1, 0.2) for number in range(50)]
    long = replace(analysis, effects=effects(("gradient", "omnibus", math.nan, math.nan, math.nan), *rows))
    got = report_text(long, study, {})
    assert "Shown: 1 of 51 effects; all of them are in tables/effects.csv." in got
    assert "c49" not in got


def test_hostile_hypotheses_are_text_in_the_report(analysis: Analysis, study: dict[str, Any]) -> None:
    """Verdicts, changes and pictures of hostile words make no HTML, link or picture of their own."""
    words = "<img src=x> ![x](y) [l](m)\n# h"
    rows = judged(analysis).hypotheses.assign(say=words, evidence=words)
    registration = {"changes": [{"time": words, "text": words}]}
    text = report_text(judged(analysis, hypotheses=rows), study, {}, registration, [replace(PICTURE, title=words)])
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)
    assert html.count("<img") == 1
    assert "<a " not in html
    assert html.count("<h1>") == 1


@pytest.mark.parametrize(("kind", "ending", "part"), [
    ("markdown", "md", "| Effect | Estimate | Ratio |"), ("latex", "tex", "\\toprule"),
])  # fmt: skip
def test_tables_are_exported_for_people(tmp_path: Path, analysis: Analysis, kind: Any, ending: str, part: str) -> None:
    """Markdown and LaTeX are written beside the tables, one file each, as printing one gives them."""
    written = export_tables(tmp_path, judged(analysis), kind)
    names = ("treatments", "effects", "anova", "hypotheses", "criteria")
    assert written == [tmp_path / "tables" / f"{name}.{ending}" for name in names]
    assert part in written[1].read_text()
    assert written[3].read_text() == table_text(judged(analysis), "hypotheses", kind)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_are_exported_in_full(tmp_path: Path, analysis: Analysis, kind: Any) -> None:
    """CSV and Parquet hold every table with its numbers in full, as the report writes them."""
    study = judged(analysis)
    written = export_tables(tmp_path, study, kind)
    assert [path.name for path in written] == [f"{name}.{kind}" for name in study.tables]
    write_report(tmp_path / "report", study, {"study": "x"}, "", {})
    assert all(path.read_bytes() == (tmp_path / "report" / "tables" / path.name).read_bytes() for path in written)


def test_unknown_tables_and_formats_are_refused(tmp_path: Path, analysis: Analysis) -> None:
    """The error names what there is."""
    with pytest.raises(UsageError, match="no table 'runs' as latex; there are treatments, effects"):
        table_text(analysis, "runs", "latex")
    with pytest.raises(UsageError, match=r"no format 'xlsx' .*csv, parquet, markdown, latex"):
        export_tables(tmp_path, analysis, "xlsx")  # type: ignore[arg-type]
    assert table_text(analysis, "runs", "csv").startswith("run_id,kind,treatment")


def test_the_document_has_the_verdicts(analysis: Analysis) -> None:
    """Hypotheses have their verdict and numbers, null where there is none."""
    got = factorial_document(judged(analysis), "sine", "results/sine", "a", "b")["hypotheses"]
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got[0] == {
        "say": "gradient helps", "verdict": "supported", "estimate": 0.585, "ci_low": 0.445, "ci_high": 0.771,
        "replicates": 4,
    }  # fmt: skip
    assert [got[1][key] for key in ("estimate", "ci_low", "ci_high")] == [None, None, None]


def test_index_counts_verdicts_and_links_reports(tmp_path: Path, analysis: Analysis, study: dict[str, Any]) -> None:
    """Verdicts are counted where there are any; folders of older versions, without these tables, are indexed too."""
    write_report(tmp_path / "new", judged(analysis), study, "", {})
    write_report(tmp_path / "old", analysis, study, "", {})
    for name in ("tables/hypotheses.csv", "tables/criteria.csv", "report.html", "manifest.json"):
        (tmp_path / "old" / name).unlink()
    got = study_index(tmp_path)
    assert got[["supported", "refuted", "inconclusive"]].to_numpy().tolist() == [[1, 1, 1], [0, 0, 0]]
    assert got["report"].tolist() == ["report.html", "report.md"]
    write_index(tmp_path, got)
    text = (tmp_path / "index.md").read_text()
    assert "1 supported, 1 refuted, 1 inconclusive" in text
    assert "[old](./old/report.md)" in text
    assert 'href="./new/report.html"' in (tmp_path / "index.html").read_text()


def test_index_takes_tables_that_are_not_ours(tmp_path: Path) -> None:
    """A folder whose tables hold other columns and texts than ours is a row, and stops nothing."""
    (tmp_path / "odd" / "tables").mkdir(parents=True)
    (tmp_path / "odd" / "tables" / "treatments.csv").write_text("x_mean,replicates\nabc,many\n1,<b>\n")
    (tmp_path / "odd" / "manifest.json").write_text('{"primary": 5, "title": 7, "results_digest": null}')
    row = study_index(tmp_path).iloc[0]
    assert (row["replicates"], row["mean"], row["best"], row["title"], row["report"]) == (0, 1.0, "", "7", "")
    write_index(tmp_path, study_index(tmp_path))
