"""Means with t intervals over replicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kdrun.stats.scales import Floats

# Numbers that differ by less than rounding do not vary: a t from their spread would be made of rounding errors.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Intervals:
    """For each of k rows: how many values, their mean, its interval, standard error, df, and p of "the mean is 0".

    An interval is nan where there is none: fewer than two values, or values that do not vary.
    """

    count: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    std_error: Floats
    df: Floats
    p_value: Floats


def t_intervals(values: Floats, level: float = 0.95, magnitude: float = 0.0) -> Intervals:
    """Means over the columns of `values` [k, R] with t intervals; nan entries are left out.

    `magnitude` is the size of the numbers that the values are differences of, where they are.
    """
    present = ~np.isnan(values)
    count = present.sum(axis=1)
    mean = _divide(np.where(present, values, 0.0).sum(axis=1), count)
    deviations = np.where(present, values - mean[:, None], 0.0)
    df = np.where(count > 1, count - 1.0, np.nan)
    variance = _divide((deviations**2).sum(axis=1), df)
    largest = np.max(np.abs(np.where(present, values, 0.0)), axis=1, initial=magnitude)
    varies = np.max(np.abs(deviations), axis=1, initial=0.0) > ROUNDING * largest
    std_error = np.where(varies, np.sqrt(_divide(variance, count)), np.where(count > 1, 0.0, np.nan))
    half = np.where(varies, special.stdtrit(df, (1 + level) / 2) * std_error, np.nan)
    p_value = np.where(varies, 2 * special.stdtr(df, -np.abs(_divide(mean, std_error))), np.nan)
    return Intervals(count, mean, mean - half, mean + half, std_error, df, p_value)


def difference_intervals(differences: Floats, level: float = 0.95, magnitude: float = 0.0) -> Intervals:
    """`t_intervals` of paired differences [k, R]: two things equal in every replicate have the interval [0, 0]."""
    result = t_intervals(differences, level, magnitude)
    identical = (result.count > 1) & np.all(np.isnan(differences) | (differences == 0), axis=1)
    low, high = (np.where(identical, 0.0, bound) for bound in (result.low, result.high))
    return Intervals(result.count, result.mean, low, high, result.std_error, result.df, result.p_value)


def _divide(numerator: Floats, denominator: Floats | NDArray[np.int64]) -> Floats:
    """Quotients, nan where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)
