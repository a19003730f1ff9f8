"""The primary response of the treatments as a matrix, and means of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Floats, analysis_values


@dataclass(frozen=True)
class Wide:
    """y [R, N] by replicate and treatment on the analysis scale, nan for a hole, and each factor's level of the N.

    `levels` are positions in the study's order; factors with a single level are left out.
    """

    y: Floats
    levels: dict[str, NDArray[np.int64]]

    @cached_property
    def used(self) -> Floats:
        """The complete replicates; where there are none, the treatments' means over all as a single row."""
        complete = self.y[~np.isnan(self.y).any(axis=1)]
        if len(complete):
            return complete
        count = (~np.isnan(self.y)).sum(axis=0, keepdims=True)
        with np.errstate(invalid="ignore"):
            means: Floats = np.nansum(self.y, axis=0, keepdims=True) / count
        return means

    @property
    def replicates(self) -> int:
        """How many complete replicates there are."""
        return int((~np.isnan(self.y).any(axis=1)).sum())

    @property
    def is_empty(self) -> bool:
        """Whether no treatment has a value."""
        return not self.y.size or bool(np.isnan(self.y).all())

    def by_level(self, *factors: str) -> Floats:
        """Means [R, L, …] over the treatments at each level of `factors`, nan where there are none."""
        shape = tuple(int(self.levels[factor].max()) + 1 for factor in factors)
        place = np.ravel_multi_index(tuple(self.levels[factor] for factor in factors), shape)
        found = np.full((len(self.used), int(np.prod(shape))), np.nan)
        for cell in np.unique(place):
            values = self.used[:, place == cell]
            there = ~np.isnan(values)
            with np.errstate(invalid="ignore"):
                found[:, cell] = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
        return found.reshape(len(self.used), *shape)


def wide_of(analysis: Analysis) -> Wide:
    """The treatments' values of the primary response."""
    rows = analysis.runs[analysis.runs["kind"] == "treatment"]
    numbers, first, column = np.unique(rows["treatment"].to_numpy(np.int64), return_index=True, return_inverse=True)
    replicates, row = np.unique(rows["replicate"].to_numpy(np.int64), return_inverse=True)
    y = np.full((len(replicates), len(numbers)), np.nan)
    y[row, column] = analysis_values(rows, analysis.layout.primary)
    heads = rows.iloc[first]
    levels = {
        factor: np.array([names.index(level) for level in heads[factor]], np.int64)
        for factor, names in analysis.layout.factors.items()
        if heads[factor].nunique() > 1
    }
    return Wide(y, levels)


def half_widths(means: Floats) -> Floats:
    """Half of the 95% t interval of each level mean [L], from `means` [R, L] with what replicates share taken out.

    **Equation**: t(.975, R − 1)·s_l/√R·√(L/(L − 1)), s_l the standard deviation over replicates of ȳ_rl − ȳ_r·.
    **Source**: R. D. Morey, Confidence Intervals from Normalized Data: A correction to Cousineau (2005), 2008.
    nan for fewer than two replicates, and where replicates do not vary.
    """
    replicates, levels = means.shape
    if replicates < 2 or levels < 2:
        return np.full(levels, np.nan)
    own = means - means.mean(axis=1, keepdims=True)
    deviation = own.std(axis=0, ddof=1)
    factor = special.stdtrit(replicates - 1, 0.975) * np.sqrt(levels / (levels - 1) / replicates)
    varies = deviation > 1e-12 * np.abs(means).max()
    return np.where(varies, factor * deviation, np.nan)
