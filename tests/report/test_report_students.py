"""The table "Size and cost", where students are quantized, and nothing of it where they are not."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import kdrun
from kdrun.report.document import factorial_document
from kdrun.report.html import report_html
from kdrun.report.markdown import report_text
from kdrun.report.student_tables import TITLE, student_rich, student_sheet
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Layout, Response
from tests.tiny_results import tiny_results, without_workers

COLUMNS = ["compression", "retention", "training_cost"]
OWN = """
schema: 1
study: own
task: {name: callable, call: "joyous:main"}
factors: {effort: {sets: task.params.effort, levels: [1, 2]}}
replicates: 2
responses: [{name: joy, scale: linear, better: higher}]
"""


@pytest.fixture
def students(analysis: Analysis) -> Analysis:
    """The study with the three columns, the first two rows of which say something."""
    rest = [math.nan] * (len(analysis.treatments) - 2)
    table = analysis.treatments.assign(
        compression=[5.2051, 1.0, *rest], retention=[98.76, 100.0, *rest], training_cost=[1.0, 12.345, *rest]
    )
    return replace(analysis, treatments=table, has_students=True)


def test_rows_are_treatments_with_units(students: Analysis) -> None:
    """Levels, then three significant digits and the unit; a dash where there is nothing; in full to sort by."""
    got = student_sheet(students)
    assert got is not None
    assert got.headings == (
        "Treatment",
        "Gradient",
        "Distillation",
        "Width",
        "Compression",
        "Retention",
        "Training Cost",
    )
    assert got.rows[0] == ("1", "ste", "none", "16", "5.21×", "98.8%", "1.00×")
    assert got.rows[1][4:] == ("1.00×", "100%", "12.3×")
    assert got.rows[2][4:] == ("–", "–", "–")
    assert [numbers[0] for numbers in got.values.values()] == [5.2051, 98.76, 1.0]  # noqa: PD011 (a mapping)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response("mse"), "MSE of the teacher over that of its student in the same replicate, geometric mean of the"),
        (Response("mse", "linear"), "MSE of the teacher over that of its student in the same replicate, mean of the"),
        (
            Response("accuracy", "logit", "higher"),
            "Accuracy of the student over that of its teacher in the same replicate, mean of the ratios over",
        ),
    ],
)
def test_notes_say_which_ratio_and_which_mean(students: Analysis, response: Response, words: str) -> None:
    """Below the table stands what retention is here."""
    layout = Layout(students.layout.factors, (response,), (response.name,))
    got = student_sheet(replace(students, layout=layout))
    assert got is not None
    assert got.notes[1].startswith(f"Retention: {words}")


def test_notes_say_what_training_cost_is(students: Analysis) -> None:
    """It is relative to treatment 1, and no digest holds it."""
    got = student_sheet(students)
    assert got is not None
    assert "over that of treatment 1 in the same replicate" in got.notes[2]
    assert "median over replicates" in got.notes[2]
    assert "in no digest" in got.notes[2]


def test_a_long_table_is_cut(students: Analysis) -> None:
    """The first rows are shown, and where the rest is."""
    got = student_sheet(students, limit=2)
    assert got is not None
    assert len(got.rows) == 2
    assert got.notes[-1] == "Shown: 2 of 8 treatments; all of them are in tables/treatments.csv."


def test_every_report_has_the_table(students: Analysis, study: dict[str, Any]) -> None:
    """Terminal, Markdown, HTML and JSON."""
    file = io.StringIO()
    Console(file=file, width=100).print(student_rich(students))
    markdown = report_text(students, study, {})
    page = report_html(students, study, "", {}, {}, ())
    for text in (file.getvalue(), markdown, page):
        assert TITLE in text
        assert "5.21×" in text
    assert markdown.index("## Treatments") < markdown.index(f"### {TITLE}") < markdown.index("## Effects")
    first = factorial_document(students, "sine", "out", "5d", "7e5")["treatments"][0]
    assert [first[name] for name in COLUMNS] == [5.2051, 98.76, 1.0]
    last = factorial_document(students, "sine", "out", "5d", "7e5")["treatments"][-1]
    assert [last[name] for name in COLUMNS] == [None, None, None]


def test_other_reports_have_none(analysis: Analysis, study: dict[str, Any]) -> None:
    """Where no student is quantized, nothing speaks of it."""
    assert student_sheet(analysis) is None
    assert student_rich(analysis) is None
    for text in (report_text(analysis, study, {}), report_html(analysis, study, "", {}, {}, ())):
        assert TITLE not in text


def test_a_study_that_ran_has_the_columns(tmp_path: Path) -> None:
    """A ternary CfC of four units: 32·(5·8 + 8 + 4 + 4 + 1) bits over 2·44 + 32·9 + 32·13; scores from its own runs."""
    found = kdrun.open_results(tiny_results(tmp_path))
    table = pd.read_csv(found.folder / "tables" / "treatments.csv")
    assert list(table.columns[-3:]) == COLUMNS
    assert set(table["compression"]) == {32 * 57 / (2 * 44 + 32 * 9 + 32 * 13)}
    assert table["training_cost"].iloc[0] == 1.0
    runs = found.runs.set_index(["replicate", "kind"])["eval_mse"]
    first = found.runs.query("treatment == 1").set_index("replicate")["eval_mse"]
    ratios = [runs[replicate, "teacher"].item() / first[replicate] for replicate in (1, 2)]
    assert table["retention"].iloc[0] == pytest.approx(100 * math.sqrt(ratios[0] * ratios[1]), rel=1e-12)


def test_times_are_in_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that goes ten times as fast the costs differ from run to run, and both digests stay."""
    first = kdrun.open_results(tiny_results(tmp_path / "a"))
    ticks = iter(range(10**6))
    monkeypatch.setattr("kdrun.engine.run.time.perf_counter", lambda: float(next(ticks)) ** 2)
    second = kdrun.open_results(tiny_results(tmp_path / "b"))
    assert first.treatments["training_cost"].tolist() != second.treatments["training_cost"].tolist()
    assert first.results_digest == second.results_digest
    assert first.study_digest == second.study_digest


def test_students_that_are_all_float_have_no_columns(tmp_path: Path) -> None:
    """The tables are those of a study without quantization."""
    folder = tiny_results(tmp_path, "student.quantizer=float", "comparators=[]")
    assert not set(COLUMNS) & set(pd.read_csv(folder / "tables" / "treatments.csv").columns)
    assert TITLE not in (folder / "report.md").read_text()


def test_a_study_of_own_code_has_no_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of the user's own has neither teachers nor students."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "joyous.py").write_text("def main(params, seed):\n    return {'joy': params['effort'] + seed % 7}\n")
    with without_workers():
        folder = kdrun.run(kdrun.load_study(tmp_path / "own.yaml"), results=tmp_path / "out", workers=1).folder
    assert not set(COLUMNS) & set(pd.read_csv(folder / "tables" / "treatments.csv").columns)
    assert TITLE not in (folder / "report.html").read_text()
