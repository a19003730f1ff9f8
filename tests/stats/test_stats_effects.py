"""Effects: the worked example of the statistics page, an outside reference, and designs with more levels."""

from __future__ import annotations

from itertools import combinations, product
from math import prod

import numpy as np
import pandas as pd
import pytest
from drawn_studies import WORKED, Drawn
from scipy import stats
from statsmodels.stats.multitest import multipletests

from kdrun.stats.analysis import analyse
from kdrun.stats.effects import COLUMNS, OMNIBUS, effects_table, holm
from kdrun.stats.scales import Layout, Response

TWO = dict.fromkeys("ABC", ("-", "+"))
LINEAR = Layout(TWO, (Response("y", "linear"),), ("y",))
TERMS = ["A", "B", "C", "A:B", "A:C", "B:C", "A:B:C"]


@pytest.fixture
def worked(drawn: Drawn) -> Drawn:
    """The worked example."""
    drawn.treatments("y", WORKED, LINEAR)
    return drawn


def test_estimates_of_the_worked_example(worked: Drawn) -> None:
    """Each term's estimate inside each replicate is that of the page."""
    contrasts = worked.contrasts(LINEAR)
    got = dict(zip(contrasts.terms.names, contrasts.within.T.tolist(), strict=True))
    expected = {
        "A": [5.5, 3.5, 4.5],
        "B": [-0.5, 1, -2],
        "C": [-2, -3, -2.5],
        "A:B": [1, 1.5, 0.5],
        "A:C": [0.5, 0.5, -1],
        "B:C": [-0.5, 0, 0.5],
        "A:B:C": [0, 0.5, 1],
    }
    assert got == expected


@pytest.mark.parametrize(
    ("term", "estimate", "spread", "p", "p_holm"),
    [
        ("A", 4.5, 1.0, 0.016065, 0.096392),
        ("C", -2.5, 0.5, 0.013072, 0.091507),
        ("A:B", 1.0, 0.5, 0.074180, 0.370900),
        ("A:B:C", 0.5, 0.5, 0.225403, 0.901613),
    ],
)
def test_tests_of_the_worked_example(
    worked: Drawn, term: str, estimate: float, spread: float, p: float, p_holm: float
) -> None:
    """Estimate, standard error, p and Holm's p of the terms are those of the page."""
    got = worked.effects(LINEAR).set_index("term").loc[term]
    assert (got["estimate"], got["df"]) == (estimate, 2)
    assert got["std_error"] == pytest.approx(spread / 3**0.5, rel=1e-12)
    assert (got["p_value"], got["p_holm"]) == (pytest.approx(p, abs=5e-7), pytest.approx(p_holm, abs=5e-7))


def test_intervals_of_the_worked_example(worked: Drawn) -> None:
    """The intervals of A and C are those of the page."""
    got = worked.effects(LINEAR).set_index("term")[["ci_low", "ci_high"]].round(4)
    assert got.loc["A"].tolist() == [2.0159, 6.9841]
    assert got.loc["C"].tolist() == [-3.7421, -1.2579]


def test_columns_and_terms_stand_in_order(worked: Drawn) -> None:
    """Columns are those of effects.csv; terms come by order; two-level terms name no contrast; linear has no ratio."""
    got = worked.effects(LINEAR)
    assert tuple(got.columns) == COLUMNS
    assert got["term"].tolist() == TERMS
    assert got["order"].tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert set(got["contrast"]) == {""}
    assert got[["ratio", "ratio_low", "ratio_high"]].isna().all().all()


def test_ratios_on_a_log_scale(drawn: Drawn) -> None:
    """On log10 a main effect is a ratio of geometric means, an interaction the root of a ratio of ratios."""
    layout = Layout({"A": ("0", "1"), "B": ("0", "1")}, (Response("y"),), ("y",))
    values = np.array([[1.0, 2.0, 3.0, 24.0], [1.0, 3.0, 5.0, 30.0]])
    drawn.treatments("y", values.tolist(), layout)
    got = drawn.effects(layout).set_index("term")["ratio"]
    one, a, b, ab = stats.gmean(values, axis=0)
    assert got["A"] == pytest.approx(np.sqrt(a * ab / (one * b)))
    assert got["A:B"] == pytest.approx(np.sqrt((ab / b) / (a / one)))


def test_complete_replicates_are_the_others(drawn: Drawn) -> None:
    """The complete-replicate estimate is what the replicates without holes give alone."""
    drawn.treatments("y", WORKED, LINEAR)
    expected = drawn.effects(LINEAR)
    drawn.treatments("y", [[1, 2, 3, 4, 5, 6, 7, 8]], LINEAR, first_replicate=4)
    del drawn.outcomes["r4t8"]
    pd.testing.assert_frame_equal(effects_table(drawn.contrasts(LINEAR).complete), expected)


def test_one_replicate_has_estimates_alone(drawn: Drawn) -> None:
    """One replicate gives estimates, no interval and no p."""
    drawn.treatments("y", WORKED[:1], LINEAR)
    got = drawn.effects(LINEAR)
    assert got["estimate"].tolist() == [5.5, -0.5, -2, 1, 0.5, -0.5, 0]
    assert got[["ci_low", "ci_high", "std_error", "df", "p_value", "p_holm"]].isna().all().all()


def test_a_level_that_changes_nothing_has_the_effect_zero(drawn: Drawn) -> None:
    """A factor without any effect has [0, 0] and no p, and does not count in Holm."""
    layout = Layout({"A": ("0", "1"), "B": ("0", "1")}, (Response("y", "linear"),), ("y",))
    drawn.treatments("y", [[0.1, 0.1, 0.7, 0.7], [0.2, 0.2, 0.5, 0.5]], layout)
    got = drawn.effects(layout).set_index("term")
    assert got.loc["A", ["estimate", "ci_low", "ci_high"]].tolist() == [0, 0, 0]
    assert got["p_value"].isna().tolist() == [True, False, True]
    assert got.loc["B", "p_holm"] == got.loc["B", "p_value"]


def test_every_declared_response_has_effects(drawn: Drawn) -> None:
    """Responses that the study declares have their own terms and their own Holm; others have none."""
    layout = Layout({"A": ("0", "1")}, tuple(Response(name, "linear") for name in "xyz"), ("y", "x"))
    drawn.treatments("x", [[1, 2], [1, 4]], layout)
    got = analyse(drawn.runs, drawn.outcomes, layout).effects
    assert got["response"].tolist() == ["y", "x"]
    assert got["estimate"].tolist()[1] == 2


def by_hand(values: np.ndarray, layout: Layout) -> dict[tuple[str, str], float]:  # type: ignore[type-arg]
    """Mean contrasts [by term and label] from their definition: products of level differences, cell by cell."""
    names, levels = list(layout.factors), list(layout.factors.values())
    mean = values.mean(axis=0)
    cells = [tuple(reversed(cell)) for cell in product(*(range(len(each)) for each in reversed(levels)))]
    found = {}
    for size in range(1, len(names) + 1):
        for chosen in combinations(range(len(names)), size):
            for pairs in product(*(combinations(range(len(levels[f])), 2) for f in chosen)):
                weight = np.ones(len(cells))
                for f, (low, high) in zip(chosen, pairs, strict=True):
                    weight *= [(cell[f] == high) * 1.0 - (cell[f] == low) for cell in cells]
                averaged = prod(len(levels[f]) for f in range(len(names)) if f not in chosen)
                label = " : ".join(
                    f"{levels[f][j]} - {levels[f][i]}"
                    for f, (i, j) in zip(chosen, pairs, strict=True)
                    if len(levels[f]) > 2
                )
                estimate = weight @ mean / averaged / 2 ** (size - 1)
                found[":".join(names[f] for f in chosen), label] = float(estimate)
    return found


@pytest.fixture
def three_levels(drawn: Drawn) -> tuple[Drawn, Layout, np.ndarray]:  # type: ignore[type-arg]
    """Four replicates of a 3 × 2 × 3 design."""
    factors = {"A": ("a", "b", "c"), "B": ("0", "1"), "C": ("x", "y", "z")}
    layout = Layout(factors, (Response("y", "linear"),), ("y",))
    values = np.random.default_rng(3).normal(size=(4, 18))
    drawn.treatments("y", values.tolist(), layout)
    return drawn, layout, values


def test_contrasts_of_more_levels(three_levels: tuple[Drawn, Layout, np.ndarray]) -> None:  # type: ignore[type-arg]
    """A term of more levels has every product of level differences, halved for each factor beyond the first."""
    study, layout, values = three_levels
    got = study.effects(layout)
    got = got[got["contrast"] != OMNIBUS].set_index(["term", "contrast"])["estimate"].to_dict()
    expected = by_hand(values, layout)
    assert set(got) == set(expected)
    for key, estimate in expected.items():
        assert got[key] == pytest.approx(estimate, abs=1e-12)


def test_omnibus_enters_holm_over_terms(three_levels: tuple[Drawn, Layout, np.ndarray]) -> None:  # type: ignore[type-arg]
    """The omnibus p is the smallest p times the number of contrasts; Holm is over terms, and within each."""
    study, layout, _ = three_levels
    rows = study.effects(layout)
    several = rows.groupby("term", sort=False)["contrast"].transform("size") > 1
    heads = rows[~several | (rows["contrast"] == OMNIBUS)]
    contrasts = rows[several & (rows["contrast"] != OMNIBUS)]
    for term, group in contrasts.groupby("term"):
        p = heads.set_index("term").loc[term, "p_value"]
        assert p == pytest.approx(min(1, len(group) * group["p_value"].min()))
        np.testing.assert_allclose(group["p_holm"], multipletests(group["p_value"], method="holm")[1])
    np.testing.assert_allclose(heads["p_holm"], multipletests(heads["p_value"], method="holm")[1])
    assert heads["term"].tolist() == ["A", "B", "C", "A:B", "A:C", "B:C", "A:B:C"]


def test_holm_is_that_of_statsmodels() -> None:
    """Adjusted p values agree with statsmodels, ties and holes included."""
    p_values = np.random.default_rng(5).uniform(0, 0.2, 40).round(2)
    with_hole = np.insert(p_values, 7, np.nan)
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected)
    np.testing.assert_allclose(np.delete(holm(with_hole), 7), expected)
    assert np.isnan(holm(with_hole)[7])
