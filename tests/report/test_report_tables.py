"""The tables of a study, on a terminal and in Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from judged_studies import effects, half, judged, mixed
from markdown_it import MarkdownIt
from rich.console import Console
from rich.table import Table

from kdrun.report.effect_tables import (
    ALIASED,
    LENTH_CAUTION,
    anova_sheet,
    complete_effects_sheet,
    effects_rich,
    effects_sheet,
)
from kdrun.report.sheet import markdown_table
from kdrun.report.text import estimate
from kdrun.report.treatment_tables import treatment_markdown, treatment_sheet, treatment_table
from kdrun.report.verdict_tables import (
    changes_rich,
    criteria_markdown,
    criteria_rich,
    hypotheses_rich,
    hypotheses_sheet,
)
from kdrun.stats.analysis import Analysis
from kdrun.stats.lenth import Lenth
from kdrun.stats.scales import Response

HEADINGS = ["Treatment", "Gradient", "Distillation", "Width", "Train MSE", "Eval MSE", "vs Float", "vs Baseline"]


def printed(table: Table, width: int) -> list[str]:
    """The lines that a terminal of `width` columns shows."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(table)
    return file.getvalue().splitlines()


def test_rows_are_treatments_then_comparators(analysis: Analysis) -> None:
    """The table has the columns of the study and one row per treatment, comparators after them."""
    got = treatment_sheet(analysis)
    assert list(got.headings) == HEADINGS
    assert [row[0] for row in got.rows] == [*"12345678", "coordinate_search"]
    assert got.rows[1][1:4] == ("smoothstep", "none", "16")
    assert got.rows[-1][1:5] == ("", "", "", "–")


def test_values_are_means_with_intervals(analysis: Analysis) -> None:
    """A cell holds the geometric mean and its interval, as the table of treatments has them."""
    row = analysis.treatments.iloc[3]
    got = treatment_sheet(analysis).rows[3][5]
    assert got == estimate(row["eval_mse_mean"], row["eval_mse_ci_low"], row["eval_mse_ci_high"])


def test_the_baseline_is_a_reference(analysis: Analysis) -> None:
    """Treatment 1 against itself prints `1 (reference)`, and no other row does."""
    got = [row[7] for row in treatment_sheet(analysis).rows]
    assert got[0] == "1 (reference)"
    assert "1 (reference)" not in got[1:]


def test_equal_runs_print_identical(analysis: Analysis) -> None:
    """A treatment with the baseline's values in every replicate is called identical."""
    bounds = [f"vs_baseline_{key}" for key in ("mean", "ci_low", "ci_high")]
    analysis.treatments.loc[3, bounds] = 1.0
    assert treatment_sheet(analysis).rows[3][7] == "identical"


def test_the_best_treatment_is_marked(analysis: Analysis) -> None:
    """The smallest mean of the primary response is marked, and a note says what the mark is."""
    best = int(analysis.treatments["eval_mse_mean"].idxmin())
    got = treatment_sheet(analysis)
    assert [index for index, row in enumerate(got.rows) if "*" in row[5]] == [best]
    assert got.stressed == {best}
    assert "* best treatment by Eval MSE." in got.notes


def test_notes_say_what_the_numbers_are(make: Callable[..., Analysis]) -> None:
    """Below the table stand the kind of mean, the replicates, how runs ended, and what diverged runs count as."""
    assert treatment_sheet(make()).notes[0] == "Geometric means over 4 replicates with 95% t intervals."
    got = treatment_sheet(make(diverged=("r2t3", "r3t3"))).notes
    assert got[0] == "Geometric means over up to 4 replicates with 95% t intervals."
    assert got[-3:] == (
        "40 runs: 38 done, 2 diverged, 0 failed, 0 missing.",
        "Treatment 3: 2 diverged.",
        "Diverged runs count as Eval MSE 0.5 and are left out of Train MSE.",
    )


def test_a_stand_in_that_is_better_than_a_finished_run_is_warned_of(make: Callable[..., Analysis]) -> None:
    """Where a diverged run counts as better than one that finished, the notes say so."""
    got = treatment_sheet(make(diverged=("r2t3",), stand_in=1e-5)).notes
    assert got[-2] == "Diverged runs count as Eval MSE 1e-05 and are left out of Train MSE."
    assert got[-1].startswith("The registered value 1e-05 is better than the worst finished run of Eval MSE (0.000")
    assert got[-1].endswith("): a run that diverges counts as better than that one.")


def test_fewer_values_are_counted(make: Callable[..., Analysis]) -> None:
    """Where a row lacks values, a column says how many each has, and the best one says so too."""
    assert "n" not in treatment_sheet(make()).headings
    best = int(make().treatments["eval_mse_mean"].idxmin()) + 1
    analysis = make(missing=(f"r1t{best}", "c1", "c2"))
    analysis.treatments.loc[best - 1, "eval_mse_mean"] = 1e-9
    got = treatment_sheet(analysis)
    assert got.headings == (*HEADINGS[:4], "n", *HEADINGS[4:])
    expected = ["3" if number == best else "4" for number in range(1, 9)]
    assert [row[4] for row in got.rows] == [*expected, "2"]
    assert got.values[4][best - 1] == 3.0
    assert got.values[6][best - 1] == 1e-9
    assert "*" in got.rows[best - 1][6]
    assert got.notes[0] == "Geometric means over up to 4 replicates with 95% t intervals."
    assert "n is the number of replicates with a value of Eval MSE." in got.notes
    assert "* best treatment by Eval MSE, of 3 of 4 replicates." in got.notes


def test_kinds_of_means_are_told_by_column(analysis: Analysis) -> None:
    """Where columns hold different kinds of means, the note says which holds which."""
    measured = (Response("train_mse", "linear"), Response("eval_mse"))
    mixed = replace(analysis, layout=replace(analysis.layout, responses=measured))
    assert treatment_sheet(mixed).notes[0] == (
        "Means of Train MSE, geometric means of Eval MSE, vs Float and vs Baseline, over 4 replicates with 95% t"
        " intervals."
    )


def test_one_huge_cell_leaves_the_others_readable(analysis: Analysis) -> None:
    """Small numbers share their exponents; beside ordinary numbers a huge one alone has one."""
    analysis.treatments["train_mse_mean"] = 1e-5
    analysis.comparators["train_mse_mean"] = math.nan
    analysis.treatments["vs_float_mean"] = 1.68
    analysis.treatments.loc[2, "vs_float_mean"] = 2.5e9
    rows = treatment_sheet(analysis).rows
    assert [row[4].split(" ")[0] for row in rows[:8]] == ["1.00e-5"] * 8
    assert [row[6].split(" ")[0] for row in rows[:4]] == ["1.68", "1.68", "2.50e9", "1.68"]


def test_one_replicate_claims_no_interval(make: Callable[..., Analysis]) -> None:
    """With one replicate cells are values alone, and the note says so."""
    got = treatment_sheet(make(replicates=1))
    assert got.notes[0] == "Values of 1 replicate: no intervals."
    assert not [cell for row in got.rows for cell in row if "[" in cell]
    assert "paired" not in " ".join(got.notes)


@pytest.mark.parametrize("width", [100, 120, 200])
def test_tables_fit_the_terminal(analysis: Analysis, width: int) -> None:
    """At 100 columns and more no line is longer than the terminal, and no word of a name is broken."""
    lines = printed(treatment_table(analysis, "Title", width), width)
    assert max(len(line.rstrip()) for line in lines) <= width
    text = "\n".join(lines)
    for word in ("Treatment", "Distillation", "smoothstep", "trajectory", "(reference)"):
        assert word in text


def test_intervals_go_below_when_the_terminal_is_narrow(analysis: Analysis) -> None:
    """A wide terminal has one line per treatment, a narrow one has the interval under the mean."""
    mean = f"{analysis.treatments['eval_mse_mean'].iloc[4]:.6f}"
    wide, narrow = (
        next(line for line in printed(treatment_table(analysis, width=width), width) if mean in line)
        for width in (200, 100)
    )
    assert "[" in wide
    assert "[" not in narrow


def test_markup_of_a_study_is_text_on_a_terminal(make: Callable[..., Analysis]) -> None:
    """Names that look like Rich markup, or steer a terminal, are shown and not obeyed."""
    factors = {"[red]f[/red]": ("[bold]x", "\x1b[31my")}
    analysis = make(factors, criteria=[{"name": "[blink]c", "claim": {"complete": True}}])
    tables = (treatment_table(analysis, "[link=x]title", 200), effects_rich(analysis), criteria_rich(analysis))
    text = "\n".join(line for table in tables for line in printed(table, 200))
    for shown in ("[red]f[/red]", "[bold]x", "\ufffd[31my", "[blink]c", "[link=x]title"):
        assert shown in text
    assert "\x1b" not in text


def test_markup_of_a_study_is_text_in_markdown(make: Callable[..., Analysis]) -> None:
    """Names with pipes, newlines and HTML neither break the table nor become HTML."""
    analysis = make({"f|g": ("<b>x</b>", "y\n| z |")}, comparator="a|b")
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(treatment_markdown(analysis))
    assert html.count("<tr>") == 4
    assert html.count("<td") == 3 * 6
    assert "<b>" not in html
    for shown in ("F|g", "&lt;b&gt;x&lt;/b&gt;", "y | z |", "a|b"):
        assert shown in html


def test_criteria_are_a_checklist_with_evidence(analysis: Analysis) -> None:
    """Each criterion is ticked or not, says whether it is required, and shows its evidence."""
    expected = [
        "- [x] **all reported** (required): 40 of 40 runs reported",
        "- [ ] **same bits**: replicate 1 was not run again",
    ]
    assert criteria_markdown(analysis).splitlines() == expected
    text = "\n".join(printed(criteria_rich(analysis), 100))
    assert "all reported (required)" in text
    assert "40 of 40 runs reported" in text


def test_effects_show_estimate_ratio_and_both_p(analysis: Analysis) -> None:
    """Each term is a row with its estimate, its ratio and p before and after Holm, and notes say how."""
    got = effects_sheet(analysis)
    assert got.headings == ("Effect", "Estimate", "Ratio", "p", "p (Holm)")
    assert [row[0] for row in got.rows][-1] == "gradient:distillation:width"
    assert all("[" in row[1] and "[" in row[2] for row in got.rows)
    assert "with 3 degrees of freedom over the 4 complete replicates" in got.notes[0]


def test_effects_of_more_levels_name_their_contrasts(analysis: Analysis) -> None:
    """A contrast is named beside its term, and the omnibus row has a p and no estimate."""
    analysis.effects.loc[0, "contrast"] = "omnibus"
    analysis.effects.loc[1, "contrast"] = "c - a"
    got = effects_sheet(analysis).rows
    assert (got[0][0], got[0][1]) == ("gradient (omnibus)", "")
    assert got[1][0] == "distillation (c - a)"
    assert "distillation (c - a)" in markdown_table(effects_sheet(analysis))


def test_one_degree_of_freedom_is_singular(make: Callable[..., Analysis]) -> None:
    """Two replicates leave one degree of freedom."""
    got = effects_sheet(make(replicates=2)).notes[0]
    assert got.endswith("95% t intervals with 1 degree of freedom over the 2 complete replicates.")


def test_robust_effects_say_so_and_show_their_df(analysis: Analysis) -> None:
    """Where runs are missing the note names CR2 and its degrees of freedom, and each effect has its own."""
    table = effects(("gradient", "", -0.2, -0.3, -0.1), ("width", "", 0.1, -0.1, 0.3))
    table["df"] = [1.923077, 2.5]
    holes = replace(analysis, effects=table, complete_effects=effects(("gradient", "", -0.3, -0.4, -0.2), df=1))
    got = effects_sheet(holes)
    assert "CR2 with Bell–McCaffrey degrees of freedom (1.92 to 2.50), because runs have no value." in got.notes[0]
    assert "complete replicates" not in got.notes[0]
    assert got.headings == ("Effect", "Estimate", "Ratio", "df", "p", "p (Holm)")
    assert [row[3] for row in got.rows] == ["1.92", "2.50"]
    complete = complete_effects_sheet(holes)
    assert [row[:2] for row in complete.rows] == [("gradient", "-0.300 [-0.400, -0.200]")]
    assert "df" not in complete.headings
    assert complete.notes[0].startswith("From the complete replicates alone")


def test_effects_say_what_has_no_value(make: Callable[..., Analysis]) -> None:
    """Missing and diverged runs are told apart, and that leaving out diverged ones biases is said."""
    got = effects_sheet(make(missing=("r1t1",), diverged=("r2t2", "r3t4"), stand_in=None)).notes
    assert "because 1 run is missing or failed, and 2 runs diverged without a registered value to stand in." in got[0]
    assert (
        "2 diverged runs (all at gradient smoothstep and width 16) are left out of the effects on Eval MSE, which"
        " biases them in favour of the levels at which they diverged: register a value (diverged: {value: x})."
    ) in got
    registered = effects_sheet(make(missing=("r1t1",), diverged=("r2t2",))).notes
    assert "because 1 run is missing or failed." in registered[0]
    assert "biases" not in " ".join(registered)


def test_refused_intervals_leave_estimates_alone(make: Callable[..., Analysis]) -> None:
    """Where a treatment lacks too many runs, effects have no p, and no note speaks of intervals."""
    got = effects_sheet(make(missing=("r1t1", "r2t1")))
    assert got.headings == ("Effect", "Estimate", "Ratio")
    assert all(row[1] and "[" not in row[1] for row in got.rows)
    assert got.notes[0].endswith("2 runs are missing or failed: no intervals and no tests.")
    assert "95%" not in " ".join(got.notes)


def test_effects_of_a_part_say_what_they_stand_for(make: Callable[..., Analysis]) -> None:
    """Below the effects of a fraction or a screening design stands that they are not those of factors alone."""
    assert ALIASED["fraction"] in effects_sheet(make(chosen=half)).notes
    assert ALIASED["screening"] in effects_sheet(make(chosen=mixed, screening=True)).notes


def test_one_replicate_has_lenth(make: Callable[..., Analysis]) -> None:
    """Limits of Lenth and what to think of them stand below effects without intervals."""
    one = replace(make(replicates=1), lenth={"eval_mse": Lenth(7, 0.75, 0.75, 2.8231, 6.7562)}, notes=("Why.",))
    got = effects_sheet(one).notes
    assert got[0] == "Eval MSE on the log10 scale; one replicate, so no intervals and no tests."
    assert (
        "over 7 contrasts: pseudo standard error 0.750, margin of error 2.82 for one contrast, 6.76 for all" in got[2]
    )
    assert got[3:] == (LENTH_CAUTION, "Why.")


def test_long_effects_are_shortened(analysis: Analysis) -> None:
    """Beyond the limit contrasts within terms are left out, and a note says where they are."""
    rows = [("gradient", f"c{number}", 0.1, -0.1, 0.2) for number in range(5)]
    table = effects(("gradient", "omnibus", math.nan, math.nan, math.nan), *rows, ("width", "", 0.1, 0.0, 0.2))
    long = replace(analysis, effects=table)
    assert len(effects_sheet(long, 7).rows) == len(effects_sheet(long).rows) == 7
    got = effects_sheet(long, 6)
    assert [row[0] for row in got.rows] == ["gradient (omnibus)", "width"]
    assert got.notes[-1] == "Shown: 2 of 7 effects; all of them are in tables/effects.csv."
    assert len(got.values[1]) == 2


def test_long_treatments_keep_the_best(analysis: Analysis) -> None:
    """Beyond the limit the first treatments are shown, and the best wherever it is, still marked."""
    analysis.treatments.loc[6, "eval_mse_mean"] = 1e-9
    got = treatment_sheet(analysis, limit=3)
    assert [row[0] for row in got.rows] == ["1", "2", "3", "7", "coordinate_search"]
    assert got.stressed == {3}
    assert got.ruled == {3}
    assert got.notes[-1] == "Shown: 4 of 8 treatments; all of them are in tables/treatments.csv."
    assert got.values[5][3] == 1e-9


def test_hypotheses_show_verdicts_and_what_they_rest_on(analysis: Analysis) -> None:
    """A row has verdict, sentence, estimate, replicates and evidence; what is not known is empty."""
    sheet = hypotheses_sheet(judged(analysis))
    assert sheet.headings == ("Verdict", "Hypothesis", "Estimate", "Replicates", "Evidence")
    assert sheet.rows[0][:4] == ("supported", "gradient helps", "0.585 [0.445, 0.771]", "4")
    assert sheet.rows[1][2:] == ("", "4", "distillation is larger")
    assert sheet.rows[2][0] == "inconclusive (exploratory)"
    assert "nothing is adjusted across hypotheses" in sheet.notes[0]
    text = "\n".join(printed(hypotheses_rich(judged(analysis)), 120))
    assert "width matters most" in text


def test_the_analysis_of_variance_has_its_strata(analysis: Analysis) -> None:
    """Strata without a test have neither F nor p."""
    sheet = anova_sheet(judged(analysis))
    assert sheet.headings[:3] == ("Term", "Stratum", "df")
    assert sheet.rows[0] == ("gradient", "residual", "1", "122", "122", "85.0", "2.50e-7", "0.859")
    assert sheet.rows[2] == ("residual", "residual", "14", "20.0", "1.43", "", "", "")


def test_exploratory_criteria_are_marked(analysis: Analysis) -> None:
    """A criterion that changed after runs existed says so."""
    got = criteria_markdown(analysis, frozenset({"all reported"}))
    assert got.splitlines()[0].startswith("- [x] **all reported** (required, exploratory): ")
    assert "all reported (required, exploratory)" in printed(criteria_rich(analysis, {"all reported"}), 120)[4]


def test_changes_are_shown_on_a_terminal() -> None:
    """What changed since the registration is a table as text; where nothing did there is none."""
    assert changes_rich({}) is None
    assert changes_rich({"changes": ()}) is None
    table = changes_rich({"changes": [{"time": "2026-01-01", "text": "[red]added"}, {"time": "", "text": "y" * 30}]})
    assert table is not None
    lines = printed(table, 100)
    assert lines[0].strip() == "Changes since registration"
    assert [line.split() for line in lines[4:6]] == [["2026-01-01", "[red]added"], ["now", "y" * 30]]
