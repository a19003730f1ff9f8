"""The block ANOVA: the worked example, and statsmodels called directly on small data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn_studies import WORKED, Drawn
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from kdrun.stats.anova import COLUMNS, HOTELLING, anova_table
from kdrun.stats.scales import Layout, Response

TWO = dict.fromkeys("ABC", ("-", "+"))
LINEAR = Layout(TWO, (Response("y", "linear"),), ("y",))
MIXED = Layout({"K": ("a", "b", "c"), "L": ("0", "1"), "M": ("x", "y")}, (Response("y", "linear"),), ("y",))


def by_statsmodels(drawn: Drawn, layout: Layout, strata: str = "") -> pd.DataFrame:
    """Type III with sum coding of the runs that there are; `strata` joins the formula."""
    rows = drawn.table(layout)
    rows = rows[rows["status"] == "done"].astype({"replicate": str})
    terms = " * ".join(f"C({name}, Sum)" for name in layout.factors)
    table = anova_lm(ols(f"y ~ C(replicate, Sum) + {terms}{strata}", rows).fit(), typ=3)
    table.index = [str(name).replace("C(", "").replace(", Sum)", "") for name in table.index]
    return table.drop(index="Intercept")


def random_values(replicates: int, treatments: int) -> list[list[float]]:
    rng = np.random.default_rng(replicates)
    return (rng.normal(size=(replicates, treatments)) + rng.normal(size=(replicates, 1))).tolist()  # type: ignore[no-any-return]


def plain(got: pd.DataFrame) -> pd.DataFrame:
    """The rows of terms, replicate and residual as statsmodels names them."""
    rows = got[got["stratum"] != HOTELLING]
    return rows.assign(term=rows["term"].replace("residual", "Residual")).set_index("term")


def test_the_worked_example(drawn: Drawn) -> None:
    """Sums of squares, degrees of freedom and F are those of the page."""
    drawn.treatments("y", WORKED, LINEAR)
    got = anova_table(drawn.contrasts(LINEAR))
    assert tuple(got.columns) == COLUMNS
    got = got.set_index("term")
    expected = {"replicate": 4, "A": 121.5, "B": 1.5, "C": 37.5, "A:B": 6, "A:B:C": 1.5, "residual": 20}
    assert got.loc[list(expected), "sum_sq"].tolist() == pytest.approx(list(expected.values()), abs=1e-12)
    assert (got.loc["residual", "df"], got.loc["replicate", "df"]) == (14, 2)
    assert (got.loc["A", "F"], got.loc["C", "F"]) == (pytest.approx(85.05), pytest.approx(26.25))
    assert got.loc["A", "partial_eta_sq"] == pytest.approx(121.5 / 141.5)
    assert got.loc["A", "p_value"] == pytest.approx(stats.f.sf(85.05, 1, 14))


@pytest.mark.parametrize("holes", [(), ("r1t2", "r3t2", "r2t12", "r4t7")], ids=["balanced", "with holes"])
def test_it_is_that_of_statsmodels(drawn: Drawn, holes: tuple[str, ...]) -> None:
    """On a 3 × 2 × 2 design, complete or not, every row but replicate's agrees with statsmodels' Type III."""
    drawn.treatments("y", random_values(4, 12), MIXED)
    for run_id in holes:
        del drawn.outcomes[run_id]
    got, expected = plain(anova_table(drawn.contrasts(MIXED))), by_statsmodels(drawn, MIXED)
    for term in expected.index:
        assert got.loc[term, "df"] == expected.loc[term, "df"]
        assert got.loc[term, "sum_sq"] == pytest.approx(expected.loc[term, "sum_sq"], rel=1e-9)
        if term not in ("replicate", "Residual"):
            assert got.loc[term, "F"] == pytest.approx(expected.loc[term, "F"], rel=1e-9)
            assert got.loc[term, "p_value"] == pytest.approx(expected.loc[term, "PR(>F)"], rel=1e-8)


@pytest.mark.parametrize("holes", [(), ("r1t2", "r3t2", "r2t12")], ids=["balanced", "with holes"])
def test_a_shared_factor_is_tested_in_its_own_stratum(drawn: Drawn, holes: tuple[str, ...]) -> None:
    """M's error is replicate × M; the others' is the residual of a model that contains it."""
    drawn.treatments("y", random_values(5, 12), MIXED)
    for run_id in holes:
        del drawn.outcomes[run_id]
    got = anova_table(drawn.contrasts(MIXED), shared=("M",)).set_index(["term", "stratum"])
    expected = by_statsmodels(drawn, MIXED, " + C(replicate, Sum):C(M, Sum)")
    error = got.loc["residual", "replicate:M"]
    assert error["df"] == 4
    if not holes:
        assert error["sum_sq"] == pytest.approx(expected.loc["replicate:M", "sum_sq"], rel=1e-9)
    assert got.loc[("M", "replicate:M"), "F"] == pytest.approx(
        got.loc[("M", "replicate:M"), "mean_sq"] / error["mean_sq"]
    )
    for term in ("K", "L", "K:L", "K:M", "L:M", "K:L:M"):
        row: Any = got.loc[(term, "residual")]
        assert row["sum_sq"] == pytest.approx(expected.loc[term, "sum_sq"], rel=1e-9)
        assert row["F"] == pytest.approx(expected.loc[term, "F"], rel=1e-9)
    assert got.loc[("residual", "residual"), "df"] == expected.loc["Residual", "df"]


def test_two_shared_factors_have_a_stratum_each(drawn: Drawn) -> None:
    """Of L and M both are tested in their own strata, and their interaction in that of both."""
    drawn.treatments("y", random_values(6, 12), MIXED)
    got = anova_table(drawn.contrasts(MIXED), shared=("L", "M")).set_index(["term", "stratum"])
    strata = " + C(replicate, Sum):C(L, Sum) + C(replicate, Sum):C(M, Sum) + C(replicate, Sum):C(L, Sum):C(M, Sum)"
    expected = by_statsmodels(drawn, MIXED, strata)
    for names in ("L", "M", "L:M"):
        error = got.loc[("residual", f"replicate:{names}")]
        assert error["sum_sq"] == pytest.approx(expected.loc[f"replicate:{names}", "sum_sq"], rel=1e-9)
        ratio = expected.loc[names, "sum_sq"] / expected.loc[f"replicate:{names}", "sum_sq"] * 5
        assert got.loc[(names, f"replicate:{names}"), "F"] == pytest.approx(ratio, rel=1e-9)


def test_of_a_balanced_two_level_design_the_stratum_is_the_paired_t(drawn: Drawn) -> None:
    """F of a shared factor is the square of its within-replicate t."""
    drawn.treatments("y", WORKED, LINEAR)
    got = anova_table(drawn.contrasts(LINEAR), shared=("A",)).set_index(["term", "stratum"])
    assert got.loc[("A", "replicate:A"), "F"] == pytest.approx(7.794229**2, rel=1e-6)


def test_hotelling_needs_spare_replicates(drawn: Drawn) -> None:
    """A term with q = 2 has Hotelling's T² from seven replicates on, as F with 2 and R − 2 degrees of freedom."""
    values = np.array(random_values(7, 12))
    drawn.treatments("y", values.tolist(), MIXED)
    got = anova_table(drawn.contrasts(MIXED))
    rows = got[got["stratum"] == HOTELLING].set_index("term")
    assert rows.index.tolist() == ["K", "K:L", "K:M", "K:L:M"]
    means = values.reshape(7, 4, 3).mean(axis=1)
    d = np.column_stack([means[:, 1] - means[:, 0], means[:, 2] - means[:, 0]])
    t_squared = 7 * d.mean(axis=0) @ np.linalg.inv(np.cov(d.T)) @ d.mean(axis=0)
    assert rows.loc["K", "F"] == pytest.approx(t_squared * 5 / 12)
    assert rows.loc["K", "p_value"] == pytest.approx(stats.f.sf(t_squared * 5 / 12, 2, 5))
    drawn.runs = [run for run in drawn.runs if run.replicate < 7]
    got = anova_table(drawn.contrasts(MIXED))
    assert not (got["stratum"] == HOTELLING).any()


def test_one_replicate_has_none(drawn: Drawn) -> None:
    """Without a second replicate there is nothing to test against."""
    drawn.treatments("y", WORKED[:1], LINEAR)
    assert len(anova_table(drawn.contrasts(LINEAR))) == 0
