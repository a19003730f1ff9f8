"""Minimum detectable effects, and Lenth's limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kdrun.stats.lenth import lenth
from kdrun.stats.power import minimum_detectable, upper_deviation


@pytest.mark.parametrize(
    ("replicates", "expected"), [(2, 11.55), (3, 3.26), (5, 1.68), (6, 1.43), (10, 1.00), (20, 0.66)]
)
def test_minimum_detectable_effects(replicates: int, expected: float) -> None:
    """δ/σ_d at α = .05, as integration over the chi distribution gives it too."""
    assert round(minimum_detectable(replicates), 2) == expected


@pytest.mark.parametrize(("replicates", "alpha"), [(3, 0.05), (10, 0.05 / 7), (50, 0.001)])
def test_the_effect_found_has_the_power_asked_for(replicates: int, alpha: float) -> None:
    """At the effect found, SciPy's noncentral t gives 80% power."""
    delta = minimum_detectable(replicates, alpha)
    df, shift = replicates - 1, delta * math.sqrt(replicates)
    critical = stats.t.ppf(1 - alpha / 2, df)
    power = stats.nct.sf(critical, df, shift) + np.nan_to_num(stats.nct.cdf(-critical, df, shift))
    assert power == pytest.approx(0.80, abs=1e-6)


def test_one_replicate_detects_nothing() -> None:
    """There is no test, so no effect that it could show."""
    assert math.isnan(minimum_detectable(1))
    assert math.isnan(upper_deviation(1.0, 1))


def test_upper_limit_of_a_deviation() -> None:
    """A standard deviation from five replicates is below its limit in 80% of samples."""
    draws = np.random.default_rng(4).normal(size=(40_000, 5)).std(axis=1, ddof=1)
    below = np.mean([upper_deviation(float(s), 5) > 1.0 for s in draws])
    assert below == pytest.approx(0.80, abs=0.01)


def test_lenth_of_the_worked_example() -> None:
    """s0, PSE, ME and SME of replicate 1 are those of the page."""
    got = lenth(np.array([5.5, -0.5, -2, 1, 0.5, -0.5, 0]))
    assert got is not None
    assert (got.s0, got.pse, got.contrasts) == (0.75, 0.75, 7)
    assert (got.me, got.sme) == (pytest.approx(2.8231, abs=5e-5), pytest.approx(6.7562, abs=5e-5))


def test_lenth_refuses_what_it_cannot_judge() -> None:
    """Fewer than seven contrasts, and a pseudo standard error of 0, have no limits."""
    assert lenth(np.arange(1.0, 7.0)) is None
    assert lenth(np.array([0, 0, 0, 0, 0, 1.0, 2.0])) is None
