"""Criteria: each claim at its edges, and evidence that holds the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_studies import Drawn
from scipy import stats

from kdrun.records import GradientCheck, Run
from kdrun.stats.findings import Finding, Known
from kdrun.stats.scales import Layout, Response
from kdrun.stats.verdicts import criteria_table, judge

LAYOUT = Layout({"width": ("16", "32")}, (Response("mse", "linear"),), ("mse",))


def known(drawn: Drawn, layout: Layout = LAYOUT, **changes: Any) -> Known:
    """What the drawn runs let claims be judged by."""
    return Known(drawn.table(layout), layout, **changes)


def check(error: float, tolerance: float = 1e-3) -> GradientCheck:
    """A row of the gradient check."""
    return GradientCheck("student", "float32", 10, error, tolerance)


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([check(1e-4), check(1e-3)], "supported"),
        ([check(1e-4), check(1.1e-3, tolerance=1e-2)], "refuted"),
        ([check(1e-5, tolerance=1e-6)], "refuted"),
        ([check(float("nan")), check(1e-4)], "refuted"),
        ([], "inconclusive"),
    ],
)
def test_gradients(drawn: Drawn, checks: list[GradientCheck], expected: str) -> None:
    """Gradients hold when every check passes its own tolerance and the claim's; nan passes neither."""
    assert judge({"gradients": 1e-3}, known(drawn, gradient_checks=checks)).verdict == expected


def test_gradient_evidence_names_the_worst(drawn: Drawn) -> None:
    """The evidence has the number of checks and the worst of them."""
    got = judge({"gradients": 1e-3}, known(drawn, gradient_checks=[check(1e-4), check(2.5e-3)])).evidence
    assert got == (
        "1 of 2 checks passed, over 20 parameters; worst relative error 0.0025 (student, float32) against 0.001"
    )


@pytest.mark.parametrize(("values", "expected"), [((0.1, 0.2), "supported"), ((0.1, 0.3), "refuted")])
def test_teacher(drawn: Drawn, values: tuple[float, ...], expected: str) -> None:
    """Every teacher of every replicate must be below; one at the threshold is not."""
    for replicate, value in enumerate(values, 1):
        drawn.add(Run(f"t{replicate}", "teacher", replicate, {}, levels={"width": "16"}), {"mse": value})
    got = judge({"teacher": 0.3}, known(drawn))
    assert got.verdict == expected
    assert f"the worst has {values[1]} (replicate 2, width 16)" in got.evidence


def test_a_missing_teacher_is_not_below(drawn: Drawn) -> None:
    """A teacher that was not trained does not meet the claim; without any there is nothing to say."""
    assert judge({"teacher": 0.3}, known(drawn)).verdict == "inconclusive"
    drawn.add(Run("t1", "teacher", 1, {}), {"mse": 0.1})
    drawn.runs.append(Run("t2", "teacher", 2, {}))
    got = judge({"teacher": 0.3}, known(drawn))
    assert (got.verdict, got.evidence[:17]) == ("refuted", "1 of 2 teachers h")


@pytest.mark.parametrize(("same", "expected"), [(True, "supported"), (False, "refuted"), (None, "inconclusive")])
def test_reproducible(drawn: Drawn, same: bool | None, expected: str) -> None:
    """Reproducibility is what the second run of replicate 1 found."""
    assert judge({"reproducible": True}, known(drawn, reproducible=same)).verdict == expected


def test_complete(drawn: Drawn) -> None:
    """Diverged runs are reported, failed and missing ones are not; each kind is counted for itself."""
    drawn.treatments("mse", [[0.1, 0.2], [0.3, 0.4]], LAYOUT)
    drawn.add(Run("d", "treatment", 3, {}, (), 1, None, {"width": "16"}), {}, status="diverged")
    assert judge({"complete": "treatments"}, known(drawn)).verdict == "supported"
    drawn.runs.append(Run("c", "comparator", 1, {}, (), None, "search"))
    assert judge({"complete": "treatments"}, known(drawn)).verdict == "supported"
    for scope, evidence in (("comparators", "0 of 1 comparator runs reported"), (True, "5 of 6 runs reported")):
        got = judge({"complete": scope}, known(drawn))
        assert got.verdict == "refuted"
        assert got.evidence.startswith(evidence)


def test_nothing_is_not_complete(drawn: Drawn) -> None:
    """A study without comparators does not report them."""
    drawn.treatments("mse", [[0.1, 0.2]], LAYOUT)
    assert judge({"complete": "comparators"}, known(drawn)).verdict == "refuted"


def test_complete_effects(drawn: Drawn) -> None:
    """Effects are complete when every term has an estimate; evidence says from how many replicates."""
    drawn.treatments("mse", [[0.1, 0.2], [0.3, 0.5]], LAYOUT)
    got = judge({"complete": "effects"}, known(drawn))
    expected = "1 of 1 main effects and interactions estimated, from 2 replicates"
    assert (got.verdict, got.evidence) == ("supported", expected)
    del drawn.outcomes["r1t1"], drawn.outcomes["r2t2"]
    assert judge({"complete": "effects"}, known(drawn)).verdict == "refuted"


def some(drawn: Drawn, below: float, layout: Layout = LAYOUT, **argument: Any) -> Finding:
    """The finding on a claim `some_treatment`."""
    return judge({"some_treatment": {"below": below, **argument}}, known(drawn, layout))


def test_some_treatment_pays_for_the_choice(drawn: Drawn) -> None:
    """The bound on the smallest one-sided p is 0.025 over the number of treatments that match."""
    values = np.array([[1.0, 5.0], [1.2, 6.0], [0.9, 5.5], [1.1, 5.1]])
    drawn.treatments("mse", values.tolist(), LAYOUT)
    p = lambda x: stats.ttest_1samp(values[:, 0], x, alternative="less").pvalue  # noqa: E731
    thresholds = np.linspace(1.05, 1.6, 40)
    met = {x: some(drawn, x).verdict == "supported" for x in thresholds}
    assert met == {x: p(x) <= 0.025 / 2 for x in thresholds}
    alone = {x: some(drawn, x, where={"width": 16}).verdict == "supported" for x in thresholds}
    assert alone == {x: p(x) <= 0.025 for x in thresholds}
    assert met != alone


def test_some_treatment_is_refuted_when_all_lie_above(drawn: Drawn) -> None:
    """It takes the 95% interval of every treatment above the threshold to refute; else nothing is shown."""
    drawn.treatments("mse", [[1.0, 5.0], [1.2, 6.0], [0.9, 5.5]], LAYOUT)
    low = stats.ttest_1samp([1.0, 1.2, 0.9], 0).confidence_interval().low
    assert some(drawn, low - 1e-6).verdict == "refuted"
    assert some(drawn, low + 1e-6).verdict == "inconclusive"


def test_some_treatment_needs_replicates_that_vary(drawn: Drawn) -> None:
    """With one replicate, or constant values, there is no verdict."""
    drawn.treatments("mse", [[1.0, 5.0]], LAYOUT)
    assert some(drawn, 2.0).verdict == "inconclusive"
    drawn.treatments("mse", [[1.0, 5.0]], LAYOUT, first_replicate=2)
    got = some(drawn, 2.0)
    assert got.verdict == "inconclusive"
    assert "no test without replicates that vary" in got.evidence


def test_some_treatment_on_a_log_scale(drawn: Drawn) -> None:
    """Thresholds are transformed like the response, and the evidence is in its own units."""
    layout = Layout(LAYOUT.factors, (Response("mse"),), ("mse",))
    drawn.treatments("mse", [[1e-4, 5e-3], [2e-4, 9e-3], [1.5e-4, 1e-3]], layout)
    got = some(drawn, 0.05, layout, response=None)
    assert got.verdict == "supported"
    assert some(drawn, 1e-5, layout).verdict == "refuted"
    assert got.estimate == pytest.approx(stats.gmean([1e-4, 2e-4, 1.5e-4]))
    assert got.evidence.startswith("treatment 1 has mse 0.000144 [")


@pytest.mark.parametrize(("written", "named"), [("1e-3", 0.001), ("16", 16), ("16", "16"), ("true", True)])
def test_levels_are_named_as_yaml_reads_them(drawn: Drawn, written: str, named: Any) -> None:
    """A level in `where` is found whether it is read as a number, a word or a truth value."""
    layout = Layout({"f": (written, "other")}, (Response("mse", "linear"),), ("mse",))
    drawn.treatments("mse", [[1.0, 9.0], [1.1, 9.5], [1.2, 9.1]], layout)
    assert some(drawn, 5.0, layout, where={"f": named}).evidence.startswith("treatment 1 ")


def test_diverged_runs_without_stand_in_make_a_verdict_doubtful(drawn: Drawn) -> None:
    """A verdict that hangs on leaving diverged runs out is inconclusive, and the evidence says why."""
    drawn.treatments("mse", [[1.0, 50.0], [1.2, 60.0], [0.9, 55.0]], LAYOUT)
    assert some(drawn, 3.0).verdict == "supported"
    drawn.add(Run("d", "treatment", 4, {}, (), 1, None, {"width": "16"}), {}, status="diverged")
    got = some(drawn, 3.0)
    assert got.verdict == "inconclusive"
    assert "worst value seen" in got.evidence
    registered = Layout(LAYOUT.factors, (Response("mse", "linear", stand_in=1.1),), ("mse",))
    assert some(drawn, 3.0, registered).verdict == "supported"


def test_criteria_table(drawn: Drawn) -> None:
    """Criteria stand in the order of the study, with whether they are required and hold."""
    criteria = [
        {"name": "again", "claim": {"reproducible": True}, "required": True},
        {"name": "checked", "claim": {"gradients": 1e-3}},
    ]
    got = criteria_table(criteria, known(drawn, reproducible=True))
    assert got[["name", "required", "holds"]].to_numpy().tolist() == [["again", True, True], ["checked", False, False]]
    assert got["evidence"].tolist() == ["replicate 1 run again gave the same bits", "gradients were not checked"]


def test_no_criteria_is_an_empty_table(drawn: Drawn) -> None:
    """A study without criteria has a table with their columns."""
    assert list(criteria_table([], known(drawn)).columns) == ["name", "required", "holds", "evidence"]
