"""How small an effect a study can show: minimum detectable effects of two-sided t tests over replicates."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special

POWER = 0.80


def minimum_detectable(replicates: int, alpha: float = 0.05, power: float = POWER) -> float:
    """δ/σ_d, the smallest effect that is shown with this power, in standard deviations of one replicate's estimate.

    **Equation**: 1 − F(t*; R−1, λ) + F(−t*; R−1, λ) = power, F the noncentral t, λ = √R·δ/σ_d, t* = t(1 − α/2, R−1).
    nan for one replicate, which has no test.
    """
    if replicates < 2:
        return math.nan
    df = replicates - 1
    critical = float(special.stdtrit(df, 1 - alpha / 2))

    def shortfall(noncentrality: float) -> float:
        above = 1 - special.nctdtr(df, noncentrality, critical)
        # Far out SciPy gives nan for what is below 1e-16 there.
        below = np.nan_to_num(special.nctdtr(df, noncentrality, -critical), nan=0.0)
        return float(power - above - below)

    highest = 2.0 * (critical + 3.0)
    while shortfall(highest) > 0:
        highest *= 2.0
    return float(optimize.brentq(shortfall, 0.0, highest, xtol=1e-10)) / math.sqrt(replicates)


def upper_deviation(deviation: float, replicates: float, level: float = 0.80) -> float:
    """The upper confidence limit of a standard deviation that was estimated from so many replicates; nan below two."""
    if replicates < 2:
        return math.nan
    df = replicates - 1
    return deviation * math.sqrt(df / float(special.chdtri(df, level)))
