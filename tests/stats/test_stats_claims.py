"""Hypotheses: each claim against what SciPy says of the same numbers, at the edge between two verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn_studies import WORKED, Drawn
from numpy.typing import NDArray
from scipy import stats

from kdrun.records import Run
from kdrun.stats.findings import Finding, Known
from kdrun.stats.scales import Layout, Response
from kdrun.stats.verdicts import hypotheses_table, judge

Array = NDArray[np.float64]

TWO = dict.fromkeys("ABC", ("-", "+"))
LINEAR = Layout(TWO, (Response("y", "linear"),), ("y",))
LOG = Layout(TWO, (Response("y"),), ("y",))
EDGE = 1e-9


def worked(drawn: Drawn) -> Drawn:
    """The worked example."""
    drawn.treatments("y", WORKED, LINEAR)
    return drawn


def verdict(study: Drawn, claim: dict[str, Any], layout: Layout = LINEAR) -> str:
    return judged(study, claim, layout).verdict


def judged(study: Drawn, claim: dict[str, Any], layout: Layout = LINEAR) -> Finding:
    return judge(claim, Known(study.table(layout), layout))


def limits(values: Array, level: float = 0.95) -> tuple[float, float]:
    """The t interval of a mean."""
    low, high = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


A, C = np.array([5.5, 3.5, 4.5]), np.array([-2.0, -3.0, -2.5])


@pytest.mark.parametrize(
    ("bound", "shift", "expected"),
    [
        ("below", EDGE, "supported"),
        ("below", -EDGE, "inconclusive"),
    ],
)
def test_an_effect_below(drawn: Drawn, bound: str, shift: float, expected: str) -> None:
    """Supported when the whole interval lies below."""
    claim = {"effect": {"term": "C", bound: limits(C)[1] + shift}}
    assert verdict(worked(drawn), claim) == expected


def test_an_effect_outside_is_refuted(drawn: Drawn) -> None:
    """Refuted as soon as the interval lies wholly on the other side."""
    low, high = limits(A)
    study = worked(drawn)
    assert verdict(study, {"effect": {"term": "A", "below": low - EDGE}}) == "refuted"
    assert verdict(study, {"effect": {"term": "A", "below": low + EDGE}}) == "inconclusive"
    assert verdict(study, {"effect": {"term": "A", "above": low - EDGE}}) == "supported"
    assert verdict(study, {"effect": {"term": "A", "above": high + EDGE}}) == "refuted"
    assert verdict(study, {"effect": {"term": "A", "between": [low - EDGE, high + EDGE]}}) == "supported"
    assert verdict(study, {"effect": {"term": "A", "between": [low - EDGE, high - EDGE]}}) == "inconclusive"
    assert verdict(study, {"effect": {"term": "A", "between": [high + EDGE, high + 1]}}) == "refuted"


def test_an_effect_on_a_log_scale_is_a_ratio(drawn: Drawn) -> None:
    """Bounds and the estimate are ratios, whatever the order of factors in an interaction's name."""
    values = 10.0 ** np.array(WORKED)
    drawn.treatments("y", values.tolist(), LOG)
    low, high = 10.0 ** np.array(limits(np.array([1, 1.5, 0.5])))
    for name in ("A:B", "B:A"):
        assert verdict(drawn, {"effect": {"term": name, "above": low * (1 - EDGE)}}, LOG) == "supported"
        assert verdict(drawn, {"effect": {"term": name, "above": low * (1 + EDGE)}}, LOG) == "inconclusive"
    got = judged(drawn, {"effect": {"term": "A:B", "above": 1}}, LOG)
    assert (got.estimate, got.low, got.high) == pytest.approx((10.0, low, high))
    assert got.replicates == 3


def test_a_contrast_of_more_levels_is_named(drawn: Drawn) -> None:
    """A claim on a factor of three levels is about the two that it names."""
    layout = Layout({"K": ("a", "b", "c")}, (Response("y", "linear"),), ("y",))
    drawn.treatments("y", [[1, 2, 9], [1, 3, 9.5], [1.1, 2.6, 9.2]], layout)
    assert verdict(drawn, {"effect": {"term": "K", "contrast": "c - b", "above": 5}}, layout) == "supported"
    assert verdict(drawn, {"effect": {"term": "K", "contrast": "b - a", "above": 5}}, layout) == "refuted"


def test_an_effect_that_the_design_cannot_tell(drawn: Drawn) -> None:
    """There is no verdict on an interaction that the treatments cannot tell, and the evidence says so."""
    study = worked(drawn)
    study.runs = [run for run in study.runs if run.treatment != 8]
    got = judged(study, {"effect": {"term": "A:B:C", "above": 0}})
    assert (got.verdict, got.evidence) == ("inconclusive", "A:B:C cannot be estimated in this design")


def test_an_aliased_effect_is_named_with_its_alias(drawn: Drawn) -> None:
    """A claim may name one of two aliased effects; the evidence names both."""
    study = worked(drawn)
    study.runs = [run for run in study.runs if run.treatment in (1, 4, 6, 7)]
    got = judged(study, {"effect": {"term": "A", "above": -100}})
    assert got.evidence.startswith("A - B:C on y")


def test_an_aliased_effect_keeps_its_sign(drawn: Drawn) -> None:
    """Where C stands for minus A:B, a claim on A:B is about the estimate with its sign turned."""
    factors = dict.fromkeys("ABC", ("-", "+"))
    layout = Layout(factors, (Response("y", "linear"),), ("y",))
    drawn.treatments(
        "y", [[5, 0, 0, 5, 5.1, 0, 0, 5.2], [6, 0, 0.1, 5, 5, 0, 0, 6], [5, 0.2, 0, 5, 5.5, 0, 0, 5]], layout
    )
    # C = -AB: of standard order treatments 2, 3, 5 and 8 have A·B·C = +1, the others −1.
    drawn.runs = [run for run in drawn.runs if run.treatment in (1, 4, 6, 7)]
    c = judged(drawn, {"effect": {"term": "C", "above": 0}}, layout)
    ab = judged(drawn, {"effect": {"term": "A:B", "above": 0}}, layout)
    assert c.evidence.startswith("C - A:B on y")
    assert ab.evidence.startswith("A:B - C on y")
    assert ab.estimate == -c.estimate != 0
    assert {c.verdict, ab.verdict} == {"supported", "refuted"}


def test_the_mean_of_matching_treatments(drawn: Drawn) -> None:
    """Per replicate the mean over everything that matches; its interval against the threshold."""
    low, high = limits(np.mean(np.array(WORKED, float)[:, [1, 3]], axis=1))
    where = {"A": "+", "C": "-"}
    study = worked(drawn)
    for bound, value, expected in (
        ("below", high + EDGE, "supported"),
        ("below", high - EDGE, "inconclusive"),
        ("below", low - EDGE, "refuted"),
        ("above", low - EDGE, "supported"),
        ("above", high + EDGE, "refuted"),
    ):
        assert verdict(study, {"response": {"where": where, bound: value}}) == expected
    got = judged(study, {"response": {"where": where, "below": 100}})
    assert (got.low, got.high) == (pytest.approx(low), pytest.approx(high))


def test_a_mean_uses_replicates_that_are_whole(drawn: Drawn) -> None:
    """A replicate that lacks one of the matching runs takes no part in a mean."""
    study = worked(drawn)
    del study.outcomes["r2t2"]
    got = judged(study, {"response": {"where": {"A": "+", "C": "-"}, "below": 100}})
    assert got.replicates == 2
    assert got.estimate == pytest.approx(np.mean([14, 15, 17, 14]))


def with_search(drawn: Drawn, values: list[float]) -> Drawn:
    """The worked example with a comparator in each replicate."""
    worked(drawn)
    for replicate, value in enumerate(values, 1):
        drawn.add(Run(f"s{replicate}", "comparator", replicate, {}, (), None, "search"), {"y": value})
    return drawn


def test_better_looks_at_paired_differences(drawn: Drawn) -> None:
    """Lower is better: supported when the interval of the differences lies below 0, refuted when above."""
    first = {"A": "-", "B": "-", "C": "-"}
    second = {"A": "+", "B": "-", "C": "-"}
    study = worked(drawn)
    d = np.array([10.0, 12, 11]) - np.array([14.0, 14, 17])
    got = judged(study, {"better": {"a": first, "b": second}})
    assert (got.low, got.high) == pytest.approx(limits(d))
    assert (got.estimate, got.verdict) == (pytest.approx(-4), "inconclusive")
    search = {"comparator": "search"}
    assert verdict(with_search(Drawn(), [1, 2, 1]), {"better": {"a": search, "b": first}}) == "supported"
    assert verdict(with_search(Drawn(), [1, 2, 1]), {"better": {"a": first, "b": search}}) == "refuted"


def test_better_knows_which_way_is_better(drawn: Drawn) -> None:
    """Where higher is better the verdicts turn round."""
    layout = Layout(TWO, (Response("y", "linear", better="higher"),), ("y",))
    claim = {"better": {"a": {"comparator": "search"}, "b": {"A": "-"}}}
    assert verdict(with_search(drawn, [1, 2, 1]), claim, layout) == "refuted"


def test_differences_use_replicates_that_have_both(drawn: Drawn) -> None:
    """A replicate without one of the two is left out, and n is what is left."""
    study = with_search(drawn, [1.0, 2.0, 1.5])
    del study.outcomes["s2"]
    got = judged(study, {"better": {"a": {"comparator": "search"}, "b": {"A": "-", "B": "-", "C": "-"}}})
    assert (got.replicates, got.estimate) == (2, pytest.approx(((1 - 10) + (1.5 - 11)) / 2))


def test_identical_things(drawn: Drawn) -> None:
    """What is equal in every replicate is identical: equivalent, and neither better nor worse."""
    study = with_search(drawn, [10, 12, 11])
    a, b = {"comparator": "search"}, {"A": "-", "B": "-", "C": "-"}
    got = judged(study, {"equivalent": {"a": a, "b": b, "within": 0.1}})
    assert (got.verdict, got.low, got.high) == ("supported", 0, 0)
    assert "identical" in got.evidence
    assert verdict(study, {"better": {"a": a, "b": b}}) == "inconclusive"


def test_a_constant_difference_is_no_evidence(drawn: Drawn) -> None:
    """Replicates that do not vary give a warning and no verdict."""
    study = with_search(drawn, [9, 11, 10])
    got = judged(study, {"better": {"a": {"comparator": "search"}, "b": {"A": "-", "B": "-", "C": "-"}}})
    assert got.verdict == "inconclusive"
    assert "the replicates do not vary" in got.evidence


def test_equivalence_on_a_log_scale_is_within_a_ratio(drawn: Drawn) -> None:
    """The interval of the ratio must lie inside [1/r, r]; it is refuted when wholly outside."""
    values = 10.0 ** (np.array(WORKED) / 100)
    drawn.treatments("y", values.tolist(), LOG)
    claim = {"a": {"A": "+"}, "b": {"A": "-"}}
    d = np.array([5.5, 3.5, 4.5]) / 100
    low, high = limits(d)
    for within, expected in (
        (10 ** (high + EDGE), "supported"),
        (10 ** (high - EDGE), "inconclusive"),
        (10 ** (low - EDGE), "refuted"),
    ):
        assert verdict(drawn, {"equivalent": {**claim, "within": within}}, LOG) == expected


def test_the_largest_effect_of_the_worked_example(drawn: Drawn) -> None:
    """|A| > |C| is inconclusive: the interval of A + C is 2 ± 3.726."""
    got = judged(worked(drawn), {"largest_effect": "A"})
    assert got.verdict == "inconclusive"
    assert got.evidence.endswith("compared with B and C it is not shown to be larger or smaller")
    assert limits(A + C) == pytest.approx((2 - 3.726, 2 + 3.726), abs=5e-4)


def main_effects(drawn: Drawn, a: Array, b: Array, c: Array) -> Drawn:
    """A study whose main effects in each replicate are these."""
    signs = np.array([[1 if cell >> factor & 1 else -1 for factor in range(3)] for cell in range(8)])
    values = 50 + np.column_stack([a, b, c]) / 2 @ signs.T
    drawn.treatments("y", values.tolist(), LINEAR)
    return drawn


def side(values: Array, level: float) -> int:
    low, high = limits(values, level)
    return 1 if low > 0 else -1 if high < 0 else 0


@pytest.mark.parametrize("seed", range(12))
def test_ranks_follow_their_definition(seed: int) -> None:
    """Verdicts on ranks agree with pairwise intervals of sums and differences at the stated levels."""
    rng = np.random.default_rng(seed)
    a, b, c = (mean + rng.normal(size=6) for mean in rng.choice([-9, -4, -3, 0.2, 1, 3, 5, 8], 3, replace=False))
    study = main_effects(Drawn(), a, b, c)
    larger = {level: [side(a + g, level) * side(a - g, level) for g in (b, c)] for level in (0.95, 0.975)}
    expected = "inconclusive"
    if larger[0.95] == [1, 1]:
        expected = "supported"
    elif -1 in larger[0.975]:
        expected = "refuted"
    assert verdict(study, {"largest_effect": "A"}) == expected
    low, high = 1 + larger[0.975].count(-1), 3 - larger[0.975].count(1)
    for rank in (1, 2, 3):
        expected = "supported" if low == high == rank else "inconclusive" if low <= rank <= high else "refuted"
        got = judged(study, {"effect_rank": {"term": "A", "rank": rank}})
        assert (got.verdict, got.low, got.high) == (expected, low, high)


def test_several_verdicts_occur_above() -> None:
    """The seeds above reach every verdict: the test before this one can fail in each direction."""
    seen = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        a, b, c = (mean + rng.normal(size=6) for mean in rng.choice([-9, -4, -3, 0.2, 1, 3, 5, 8], 3, replace=False))
        seen.add(verdict(main_effects(Drawn(), a, b, c), {"largest_effect": "A"}))
    assert seen == {"supported", "refuted", "inconclusive"}


def test_an_effect_may_be_large_and_negative(drawn: Drawn) -> None:
    """Size is what counts: −9 is larger than 3."""
    noise = np.random.default_rng(1).normal(size=(3, 6)) / 10
    study = main_effects(drawn, -9 + noise[0], 3 + noise[1], 1 + noise[2])
    assert verdict(study, {"largest_effect": "A"}) == "supported"
    assert verdict(study, {"effect_rank": {"term": "B", "rank": 2}}) == "supported"
    assert verdict(study, {"largest_effect": "B"}) == "refuted"


def test_all_needs_every_part(drawn: Drawn) -> None:
    """Supported when every part is, inconclusive when one is, refuted when one is at 5% over the number of parts."""
    study = worked(drawn)
    yes = {"effect": {"term": "A", "above": 0}}
    unsure = {"effect": {"term": "B", "above": 0}}
    assert verdict(study, {"all": [yes, yes]}) == "supported"
    assert verdict(study, {"all": [yes, unsure]}) == "inconclusive"
    low, stricter = limits(A)[0], limits(A, 0.975)[0]
    for bound, expected in (
        (stricter - EDGE, "refuted"),
        (stricter + EDGE, "inconclusive"),
        (low - EDGE, "inconclusive"),
    ):
        part = {"effect": {"term": "A", "below": bound}}
        assert verdict(study, part) == "refuted"
        assert verdict(study, {"all": [yes, part]}) == expected


def test_some_treatment_above(drawn: Drawn) -> None:
    """Where more is wanted, the best treatment is the one surest to lie above."""
    study = worked(drawn)
    values = np.array(WORKED, float)
    p = [stats.ttest_1samp(values[:, t], 12.0, alternative="greater").pvalue for t in range(8)]
    got = judged(study, {"some_treatment": {"above": 12.0}})
    assert got.verdict == ("supported" if min(p) <= 0.025 / 8 else "inconclusive")
    assert got.evidence.startswith(f"treatment {int(np.argmin(p)) + 1} has")
    assert verdict(study, {"some_treatment": {"above": 100.0}}) == "refuted"


def test_one_replicate_gives_no_verdict(drawn: Drawn) -> None:
    """Every claim on results is inconclusive with one replicate, and says so."""
    drawn.treatments("y", WORKED[:1], LINEAR)
    for claim in (
        {"effect": {"term": "A", "above": 0}},
        {"response": {"where": {}, "below": 1e9}},
        {"some_treatment": {"below": 1e9}},
        {"better": {"a": {"A": "-"}, "b": {"A": "+"}}},
        {"equivalent": {"a": {"A": "-"}, "b": {"A": "+"}, "within": 1e9}},
        {"largest_effect": {"term": "A"}},
        {"effect_rank": {"term": "A", "rank": 1}},
    ):
        got = judged(drawn, claim)
        assert got.verdict == "inconclusive"
        assert "one replicate" in got.evidence or "without replicates" in got.evidence
        assert np.isnan(got.low)


def test_diverged_runs_make_a_verdict_doubtful(drawn: Drawn) -> None:
    """A verdict that turns when diverged runs count as the worst value seen is none, unless a value is registered."""
    study = worked(drawn)
    d = {"A": "-", "B": "-", "C": "-"}
    claim = {"response": {"where": d, "below": 15}}
    drawn.treatments("y", [[9, 14, 9, 15, 8, 13, 6, 80], [10, 15, 9, 15, 8, 13, 6, 80]], LINEAR, first_replicate=4)
    assert verdict(study, claim) == "supported"
    study.outcomes["r4t1"] = study.outcomes["r4t1"].__class__("r4t1", "diverged")
    got = judged(study, claim)
    assert got.verdict == "inconclusive"
    assert "worst value seen" in got.evidence
    registered = Layout(TWO, (Response("y", "linear", stand_in=11.0),), ("y",))
    assert verdict(study, claim, registered) == "supported"


def test_the_table_of_hypotheses(drawn: Drawn) -> None:
    """One row per hypothesis in the order of the study, with the claim as JSON and the mark that it was given."""
    claims = [
        {"say": "A helps", "claim": {"effect": {"term": "A", "below": 0}}, "exploratory": True},
        {"say": "A is first", "claim": {"effect_rank": {"term": "A", "rank": 1}}},
    ]
    got = hypotheses_table(claims, Known(worked(drawn).table(LINEAR), LINEAR))
    assert got[["say", "verdict", "exploratory", "replicates"]].to_numpy().tolist() == [
        ["A helps", "refuted", True, 3],
        ["A is first", "inconclusive", False, 3],
    ]
    assert got["claim"][0] == '{"effect": {"term": "A", "below": 0}}'
    assert got["estimate"].tolist() == [4.5, 1.0]


def test_no_hypotheses_is_an_empty_table(drawn: Drawn) -> None:
    """A study without hypotheses has a table with their columns."""
    got = hypotheses_table([], Known(worked(drawn).table(LINEAR), LINEAR))
    assert list(got.columns) == [
        "say", "claim", "verdict", "exploratory", "estimate", "ci_low", "ci_high", "replicates", "evidence",
    ]  # fmt: skip


def test_a_ranking_says_what_it_leaves_out(drawn: Drawn) -> None:
    """A factor with more levels has no part in a ranking of main effects, and the evidence says so."""
    layout = Layout({"A": ("-", "+"), "B": ("-", "+"), "K": ("a", "b", "c")}, (Response("y", "linear"),), ("y",))
    drawn.treatments("y", np.random.default_rng(1).normal(size=(4, 12)).tolist(), layout)
    assert judged(drawn, {"largest_effect": "A"}, layout).evidence.endswith(
        "; not compared, for more than two levels: K"
    )
