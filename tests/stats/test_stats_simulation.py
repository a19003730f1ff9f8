"""Simulations: kdrun's intervals cover what they claim, and every known wrong analysis is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from null_simulation import (
    REPLICATES,
    TERMS,
    Analysed,
    Analysis,
    Array,
    drawn,
    estimates,
    failures,
    kdruns_own,
    rows,
    table,
)
from scipy import stats
from statsmodels.stats.multitest import multipletests

from kdrun.stats.effects import Contrasts, effects_table
from kdrun.stats.scales import Response


def adjusted(p_values: Array, factors: Array, step_up: bool = False) -> Array:
    """Sorted p values times factors, made monotonous from the smallest, or for a step-up method from the largest."""
    order = np.argsort(p_values, axis=1)
    scaled = np.take_along_axis(p_values, order, axis=1) * factors
    if step_up:
        scaled = np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
    else:
        scaled = np.maximum.accumulate(scaled, axis=1)
    found = np.empty_like(p_values)
    np.put_along_axis(found, order, np.minimum(scaled, 1.0), axis=1)
    return found


M = len(TERMS.terms)


def step_down_holm(p_values: Array) -> Array:
    return adjusted(p_values, np.arange(M, 0, -1))


def benjamini_hochberg(p_values: Array) -> Array:
    return adjusted(p_values, M / np.arange(1, M + 1), step_up=True)


def wrong(
    df: Callable[[int], float] = lambda r: r - 1.0,
    ddof: int = 1,
    adjust: Callable[[Array], Array] = step_down_holm,
) -> Analysis:
    """An analysis with one thing replaced; without any it is right."""

    def analysis(y: Array) -> Analysed:
        r = y.shape[1]
        inside = rows(estimates(y))
        mean, error = inside.mean(axis=1), inside.std(axis=1, ddof=ddof) / r**0.5
        half = stats.t.ppf(0.975, df(r)) * error
        p_values = 2 * stats.t.sf(np.abs(mean / error), df(r))
        shape = (len(y), M)
        return Analysed((mean - half).reshape(shape), (mean + half).reshape(shape), adjust(p_values.reshape(shape)))

    return analysis


def pooled(y: Array) -> Analysed:
    """Every term against the residual of replicate + treatment, with (R − 1)·7 degrees of freedom."""
    r = y.shape[1]
    centred = y - y.mean(axis=2, keepdims=True)
    residual = centred - centred.mean(axis=1, keepdims=True)
    df = (r - 1) * (y.shape[2] - 1)
    error = np.sqrt(np.sum(residual**2, axis=(1, 2)) / df * 4 / (y.shape[2] * r))[:, None]
    mean = estimates(y).mean(axis=1)
    half = stats.t.ppf(0.975, df) * error
    p_values = 2 * stats.t.sf(np.abs(mean / error), df)
    return Analysed(mean - half, mean + half, step_down_holm(p_values))


WRONG: dict[str, Analysis] = {
    "normal quantiles": wrong(df=lambda r: np.inf),
    "df = R": wrong(df=float),
    "ddof = 0": wrong(ddof=0),
    "pooling": pooled,
    "Benjamini-Hochberg": wrong(adjust=benjamini_hochberg),
    "Bonferroni": wrong(adjust=lambda p: np.minimum(1.0, p * M)),
    "no adjustment": wrong(adjust=lambda p: p),
}


def test_the_simulation_runs_what_the_effects_table_says() -> None:
    """Its vectorised analysis of a study is the effects table of that study."""
    y = drawn(3, studies=4)
    found = kdruns_own(y)
    for study in range(4):
        got = effects_table(Contrasts(Response("y", "linear"), TERMS, y[study]))
        np.testing.assert_allclose(got["ci_low"], found.low[study], rtol=1e-12)
        np.testing.assert_allclose(got["ci_high"], found.high[study], rtol=1e-12)
        np.testing.assert_allclose(got["p_holm"], found.p_adjusted[study], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("replicates", REPLICATES)
def test_intervals_cover_what_they_claim(replicates: int) -> None:
    """Coverage of each term, and familywise error with and without huge effects, lie within the bounds."""
    assert failures(kdruns_own, replicates) == []


def test_the_adjustments_here_are_those_of_statsmodels() -> None:
    """What the wrong analyses adjust with is what it is called."""
    p_values = np.random.default_rng(6).uniform(0, 0.1, (4, M))
    for ours, name in ((step_down_holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        expected = [multipletests(p, method=name)[1] for p in p_values]
        np.testing.assert_allclose(ours(p_values), expected, rtol=1e-12)


@pytest.mark.slow
def test_nothing_but_the_mistake_is_wrong_with_a_wrong_analysis() -> None:
    """With nothing replaced, the analysis that mistakes are put into lies within the bounds."""
    assert [failures(wrong(), replicates) for replicates in REPLICATES] == [[], []]


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_analysis_is_found_out(name: str) -> None:
    """Each known mistake misses a bound at R = 3 or at R = 10."""
    assert any(failures(WRONG[name], replicates) for replicates in REPLICATES)


@pytest.mark.slow
def test_the_documentation_shows_what_the_simulation_says() -> None:
    """The table in docs/statistics.md is what the command beside it prints."""
    page = Path(__file__).parents[2] / "docs" / "statistics.md"
    assert table() in page.read_text()
