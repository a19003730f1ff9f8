"""What the README shows works."""

from __future__ import annotations

import csv
import re
import sys
import types
from pathlib import Path

import pytest

from kdrun.engine.combinations import Combination
from kdrun.engine.gradcheck import check
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from kdrun.study.load import load_study
from kdrun.study.plan import plan
from kdrun.tasks.sine import Sine

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_study_is_that_of_the_experiments(tmp_path):
    """The study shown has the runs of experiments/sine.yaml, id by id."""
    (tmp_path / "sine.yaml").write_text(blocks("yaml")[0])
    shown, real = (plan(load_study(path)).runs for path in (tmp_path / "sine.yaml", ROOT / "experiments/sine.yaml"))
    assert [run.run_id for run in shown] == [run.run_id for run in real]


def test_the_technique_passes_the_gradient_check():
    """The file shown is a level whose gradient agrees with what it declares."""
    module = types.ModuleType("triangle")
    sys.modules["triangle"] = module
    exec(blocks("python")[1], module.__dict__)
    techniques = {"quantizer": Ternary(), "gradient": module.Triangle()}
    rows = list(check([Combination(Sine.example(), Cfc.example(), techniques)]))
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(link):
    """Relative links name files of the repository."""
    assert link.startswith("http") or (ROOT / link).exists()


def test_the_error_shown_is_the_error_that_comes(tmp_path):
    """The mistake in the README gives the message in the README."""
    from kdrun.errors import StudyError

    text = blocks("yaml")[0].replace("[ste, smoothstep]", "[ste, smoothstp]")
    (tmp_path / "sine.yaml").write_text(text)
    with pytest.raises(StudyError) as caught:
        load_study(tmp_path / "sine.yaml")
    shown = re.search(r"sine\.yaml:(\d+:\d+): .*Did you mean", README)
    assert shown is not None
    assert f":{shown[1]}: factors.gradient[1]: unknown level 'smoothstp'" in str(caught.value)


def cells_of(text: str) -> list[list[str]]:
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[re.sub(r"[*\\]", "", cell).strip() for cell in row] for row in rows]


def test_the_table_is_that_of_the_reference_results():
    """Each row of the README stands in results/sine/report.md, its training error left out."""
    report = (ROOT / "results/sine/report.md").read_text()
    reference = [[*row[:4], *row[5:]] for row in cells_of(report) if len(row) == 8]
    shown = [row for row in cells_of(README.split("## Its result")[1].split("## How")[0]) if len(row) == 7]
    assert len(shown) == 1 + 1 + 8 + 3
    assert [row for row in shown if row not in reference and "---" not in row[0]] == []


def test_every_effect_that_is_quoted_is_in_the_tables():
    """Effects with their intervals in the README's findings are those of the reports that it links to."""
    findings = README.split("What it says:")[1].split("## How")[0].replace("−", "-")
    quoted = set(re.findall(r"[-\d.]+ \[[-\d.]+, [-\d.]+\]", findings))
    linked = {"sine", *re.findall(r"\(results/(\w+)/report.md\)", findings)}
    tables = [(ROOT / f"results/{name}/report.md").read_text().replace("\\", "") for name in linked]
    assert len(linked) == 9
    assert len(quoted) > 15
    assert [text for text in quoted if not any(text in table for table in tables)] == []


def test_the_verdicts_are_those_of_the_reference_results():
    """Each verdict of the README is the one of that hypothesis, in the order of the study."""
    with (ROOT / "results/sine/tables/hypotheses.csv").open(newline="") as file:
        expected = [row["verdict"] for row in csv.DictReader(file)]
    shown = re.findall(r"^\| (supported|refuted|inconclusive) \|", README, flags=re.MULTILINE)
    assert shown == expected
