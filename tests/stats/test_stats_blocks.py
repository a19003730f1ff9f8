"""The block model with holes: CR2 against its definition, and against the paired t where nothing is missing."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_studies import WORKED, Drawn
from numpy.typing import NDArray
from scipy import linalg, stats

from kdrun.stats.blocks import BlockFit
from kdrun.stats.effects import effects_table
from kdrun.stats.scales import Layout, Response
from kdrun.stats.terms import Terms

TWO = dict.fromkeys("ABC", ("-", "+"))
LINEAR = Layout(TWO, (Response("y", "linear"),), ("y",))
MIXED = Layout({"A": ("a", "b", "c"), "B": ("0", "1")}, (Response("y", "linear"),), ("y",))

Array = NDArray[np.float64]


def by_definition(columns: Array, y: Array, c: Array) -> tuple[float, float, float]:
    """Estimate, standard error and df of one combination, run by run and replicate by replicate as the page has it."""
    rows = [(r, t) for r in range(len(y)) for t in range(y.shape[1]) if not np.isnan(y[r, t])]
    group = np.array([r for r, _ in rows])
    x = np.array([columns[t] for _, t in rows])
    values = np.array([y[r, t] for r, t in rows])
    for r in set(group):
        x[group == r] -= x[group == r].mean(axis=0)
        values[group == r] -= values[group == r].mean()
    inverse = np.linalg.inv(x.T @ x)
    residual_projection = np.eye(len(x)) - x @ inverse @ x.T
    e = residual_projection @ values
    weights = {}
    for r in set(group):
        mine = group == r
        h = x[mine] @ inverse @ x[mine].T
        half = linalg.sqrtm(np.linalg.pinv(np.eye(mine.sum()) - h, rcond=1e-10, hermitian=True)).real
        weights[r] = half @ x[mine] @ inverse @ c
    p = np.array(
        [
            [(residual_projection[group == g].T @ weights[g]) @ (residual_projection[group == h].T @ weights[h])
             for h in weights]
            for g in weights
        ]
    )  # fmt: skip
    variance = sum(float(weights[r] @ e[group == r]) ** 2 for r in weights)
    df = np.trace(p) ** 2 / np.trace(p @ p)
    return float(c @ inverse @ x.T @ values), variance**0.5, float(df)


def design(drawn: Drawn, layout: Layout) -> Terms:
    """The terms of the full factorial of a layout."""
    size = int(np.prod([len(levels) for levels in layout.factors.values()]))
    drawn.treatments("y", [[1.0] * size], layout)
    return drawn.contrasts(layout).terms


def test_the_worked_example_with_a_hole(drawn: Drawn) -> None:
    """Estimate, standard error, df and p of A without one run are those of the page."""
    terms = design(drawn, LINEAR)
    y = np.array(WORKED, np.float64)
    y[1, 7] = np.nan
    got = BlockFit(terms.columns, y).intervals(terms.combinations)
    assert got.mean[0] == pytest.approx(4.428571, abs=5e-7)
    assert got.std_error[0] == pytest.approx(0.685825, abs=5e-7)
    assert got.df[0] == pytest.approx(1.923077, abs=5e-7)
    assert got.p_value[0] == pytest.approx(0.025512, abs=5e-7)


def test_without_holes_it_is_the_paired_t(drawn: Drawn) -> None:
    """On complete data estimates, standard errors, df and p are those of the within-replicate t."""
    terms = design(drawn, LINEAR)
    y = np.array(WORKED, np.float64)
    got = BlockFit(terms.columns, y).intervals(terms.combinations)
    inside = terms.estimates(y)
    np.testing.assert_allclose(got.mean, inside.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(got.std_error, inside.std(axis=0, ddof=1) / 3**0.5, atol=1e-13)
    np.testing.assert_allclose(got.df, 2.0, rtol=1e-10)
    np.testing.assert_allclose(got.p_value, stats.ttest_1samp(inside, 0).pvalue, atol=1e-9)


@pytest.mark.parametrize("layout", [LINEAR, MIXED], ids=["2x2x2", "3x2"])
@pytest.mark.parametrize("replicates", [3, 5, 40])
def test_cr2_is_what_its_definition_says(drawn: Drawn, layout: Layout, replicates: int) -> None:
    """With holes in several replicates every contrast agrees with the definition, computed the slow way."""
    terms = design(drawn, layout)
    rng = np.random.default_rng(replicates)
    y = rng.normal(size=(replicates, terms.treatments)) + rng.normal(size=(replicates, 1))
    y[0, 1] = y[1, 0] = y[1, 4] = y[-1, 3] = np.nan
    got = BlockFit(terms.columns, y).intervals(terms.combinations)
    for place, c in enumerate(terms.combinations):
        estimate, error, df = by_definition(terms.columns, y, c)
        assert got.mean[place] == pytest.approx(estimate, abs=1e-12)
        assert got.std_error[place] == pytest.approx(error, rel=1e-9)
        assert got.df[place] == pytest.approx(df, rel=1e-8)
    expected = 2 * stats.t.sf(np.abs(got.mean / got.std_error), got.df)
    np.testing.assert_allclose(got.p_value, expected, rtol=1e-9)
    half = stats.t.ppf(0.975, got.df) * got.std_error
    np.testing.assert_allclose(got.high - got.low, 2 * half, rtol=1e-9)


def test_a_treatment_needs_three_replicates(drawn: Drawn) -> None:
    """With two runs of one treatment there are estimates and nothing more; with three there are intervals."""
    drawn.treatments("y", [*WORKED, [11, 16, 10, 15, 9, 12, 7, 13]], LINEAR)
    del drawn.outcomes["r1t3"]
    assert drawn.effects(LINEAR)["ci_low"].notna().all()
    del drawn.outcomes["r2t3"]
    got = drawn.effects(LINEAR)
    assert got["estimate"].notna().all()
    assert got[["ci_low", "ci_high", "std_error", "df", "p_value", "p_holm"]].isna().all().all()


def test_what_no_run_tells_has_no_estimate(drawn: Drawn) -> None:
    """A treatment that never ran leaves nothing of a saturated model to estimate."""
    drawn.treatments("y", WORKED, LINEAR)
    for replicate in (1, 2, 3):
        del drawn.outcomes[f"r{replicate}t8"]
    assert drawn.effects(LINEAR)["estimate"].isna().all()


def test_a_study_without_any_value(drawn: Drawn) -> None:
    """Where every run failed there are terms and nothing else."""
    drawn.treatments("y", WORKED, LINEAR)
    drawn.outcomes.clear()
    got = drawn.effects(LINEAR)
    assert len(got) == 7
    assert got[["estimate", "ci_low", "p_value"]].isna().all().all()
    assert effects_table(drawn.contrasts(LINEAR).complete)["estimate"].isna().all()
