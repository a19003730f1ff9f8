"""t intervals against scipy, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kdrun.stats.intervals import difference_intervals, t_intervals


@pytest.mark.parametrize("replicates", [2, 3, 10])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_intervals_are_those_of_scipy(replicates: int, level: float) -> None:
    """Mean, interval, df and p agree with scipy's one-sample t test."""
    values = np.random.default_rng(1).normal(0.7, 2.0, (4, replicates))
    got = t_intervals(values, level)
    test = stats.ttest_1samp(values, 0.0, axis=1)
    expected = test.confidence_interval(level)
    np.testing.assert_allclose(got.mean, values.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(got.low, expected.low, rtol=1e-10)
    np.testing.assert_allclose(got.high, expected.high, rtol=1e-10)
    np.testing.assert_allclose(got.p_value, test.pvalue, rtol=1e-10)
    np.testing.assert_array_equal(got.df, test.df)


def test_holes_are_left_out() -> None:
    """A row with a hole has the interval of its other values."""
    got = t_intervals(np.array([[1.0, np.nan, 2.0, 4.0]]))
    expected = t_intervals(np.array([[1.0, 2.0, 4.0]]))
    assert (got.count[0], got.df[0]) == (3, 2)
    np.testing.assert_allclose([got.low[0], got.high[0]], [expected.low[0], expected.high[0]], rtol=1e-14)


@pytest.mark.parametrize("values", [[3.0], [np.nan, 3.0], [3.0, 3.0, 3.0], [0.1 + 0.2, 0.3, 0.3]])
def test_no_interval_is_made_up(values: list[float]) -> None:
    """One value, or values that differ by rounding alone, have a mean but neither interval nor p."""
    got = difference_intervals(np.array([values]))
    assert got.mean[0] == pytest.approx(np.nanmean(values))
    assert np.isnan([got.low[0], got.high[0], got.p_value[0]]).all()


def test_nothing_has_no_mean() -> None:
    """A row without any value has no mean."""
    got = t_intervals(np.full((1, 3), np.nan))
    assert got.count[0] == 0
    assert np.isnan(got.mean[0])


def test_differences_of_zero_are_identical() -> None:
    """Two things equal in every replicate differ by [0, 0], and no test is made."""
    got = difference_intervals(np.array([[0.0, 0.0, np.nan]]))
    assert (got.mean[0], got.low[0], got.high[0]) == (0, 0, 0)
    assert np.isnan(got.p_value[0])


def test_rounding_is_measured_by_the_numbers_subtracted() -> None:
    """Differences that vary by the rounding of much larger numbers do not vary."""
    differences = (np.array([1.0, 2.0, 3.0]) * 1e3 + 1e-4) - np.array([1.0, 2.0, 3.0]) * 1e3
    assert np.ptp(differences) > 0
    assert np.isnan(difference_intervals(differences[None], magnitude=3e3).p_value[0])
