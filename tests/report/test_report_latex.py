"""Tables for LaTeX."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from judged_studies import HOSTILE, judged

from kdrun.report.latex import latex, latex_table
from kdrun.report.sheet import Sheet
from kdrun.report.treatment_tables import treatment_sheet
from kdrun.report.write import SHEETS
from kdrun.stats.analysis import Analysis

SPECIAL = r"a & 5% of $x$ #1 eval_mse {b} ~ ^ \textbf < > | \" `"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5% & $x$ #1", r"5\% \& \$x\$ \#1"),
        ("eval_mse {b}", r"eval\_mse \{b\}"),
        (r"~ ^ \end", r"\textasciitilde{} \textasciicircum{} \textbackslash{}end"),
        ("a < b > c | d", r"a \textless{} b \textgreater{} c \textbar{} d"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("η² – α, β, Δ, Α, ς", r"$\eta$$^2$ \textendash{} $\alpha$, $\beta$, $\Delta$, $\mathrm{A}$, $\varsigma$"),
        ("Bell–McCaffrey é ü ç ß", r"Bell\textendash{}McCaffrey é ü ç ß"),
        ("中\u202e", r"\texttt{U+4E2D}\texttt{U+FFFD}"),
        ("e\u0301", "é"),
        ("two\nlines", "two lines"),
    ],
)
def test_text_is_text(text: str, expected: str) -> None:
    """Special characters are escaped, Greek is mathematics, and what no font has is named by its number."""
    assert latex(text) == expected


def test_a_table_has_rules_caption_and_label() -> None:
    """The table is that of booktabs: columns of numbers to the right, stressed rows bold, notes below."""
    sheet = Sheet(
        headings=("Name", "Value"),
        rows=(("a_b", "-5.00e-5 [-1.00e-4, 0.1] -2"), ("[c]", "–")),
        numeric=frozenset({1}),
        stressed=frozenset({1}),
        ruled=frozenset({0}),
        notes=("100%.",),
    )
    expected = r"""\begin{table}
  \centering
  \caption{A \& B}
  \label{tab:a-b}
  \begin{tabular}{lr}
    \toprule
    Name & Value \\
    \midrule
    a\_b & $-5.00\times10^{-5}$ [$-1.00\times10^{-4}$, 0.1] $-2$ \\
    \midrule
    \textbf{[c]} & \textbf{\textendash{}} \\
    \bottomrule
  \end{tabular}
  \par\smallskip {\footnotesize 100\%.}
\end{table}
"""
    assert latex_table(sheet, "A & B", "tab:a b") == expected


@pytest.mark.parametrize("start", ["[2em]", "*"])
def test_a_row_does_not_begin_like_an_argument(start: str) -> None:
    """After the end of a row TeX reads a bracket or star as an option of it: braces stand before."""
    table = latex_table(Sheet(("a",), ((start,),), frozenset()), "c", "l")
    assert rf"    {{}}{start} \\" in table


def test_levels_that_look_like_numbers_stay_as_written() -> None:
    """Only columns of numbers have powers of ten."""
    assert r"1e-3 & $1\times10^{-3}$ \\" in latex_table(Sheet(("a", "b"), (("1e-3", "1e-3"),), frozenset({1})), "", "")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="tables were not set: pdflatex is not installed")
def test_pdflatex_sets_every_table(tmp_path: Path, analysis: Analysis) -> None:
    """Each table of a study, and one of special characters, is set without an error."""
    study = judged(analysis)
    sheets = [make(study) for make in SHEETS.values()]
    sheets.append(Sheet((SPECIAL, HOSTILE), ((SPECIAL, HOSTILE), ("[x]", "*")), frozenset({1})))
    body = "\n".join(latex_table(sheet, SPECIAL, f"tab:{place}") for place, sheet in enumerate(sheets))
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_sheet_is_that_of_the_terminal(analysis: Analysis) -> None:
    """Cells are those of the other forms: each treatment is a line with its rounded mean."""
    sheet = treatment_sheet(analysis)
    lines = [line for line in latex_table(sheet, "", "").splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(sheet.rows)
    assert all(row[5].split()[0] in line for row, line in zip(sheet.rows, lines[1:], strict=True) if "e" not in row[5])
