"""Means of the primary response at levels of factors, such that their differences are the effects of the table.

In a full factorial they are plain means. In any other design plain means of a level mix its effect with those of the
levels that happen to stand beside it, so there they are what the model of the table predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import Contrasts, contrasts_of
from kdrun.stats.scales import Floats
from kdrun.stats.terms import Term, Terms, sum_codes


@dataclass(frozen=True)
class Wide:
    """The contrasts of the primary response, whose y [R, N] is by replicate and treatment, nan for a hole.

    Means are over the r complete replicates; where there are none, r is 1 and they come from all runs.
    """

    contrasts: Contrasts

    @property
    def terms(self) -> Terms:
        """The terms that the treatments can tell."""
        return self.contrasts.terms

    @property
    def levels(self) -> Mapping[str, tuple[str, ...]]:
        """The levels that occur of each factor that has more than one."""
        return self.terms.levels

    @property
    def total(self) -> int:
        """R: how many replicates there are, complete or not."""
        return len(self.contrasts.y)

    @property
    def replicates(self) -> int:
        """How many complete replicates there are."""
        return len(self.contrasts.complete.y)

    @property
    def is_empty(self) -> bool:
        """Whether no treatment has a value."""
        return not self.contrasts.y.size or bool(np.isnan(self.contrasts.y).all())

    @property
    def modelled(self) -> bool:
        """Whether means are what the model predicts rather than means of runs."""
        return not self.terms.full or (not self.replicates and self.terms.has_columns)

    @property
    def grand(self) -> float:
        """The mean of all treatments; that of all combinations where means are modelled."""
        return float(np.nanmean(self._coefficients[:, 0] if self.modelled else self._plain))

    @cached_property
    def _plain(self) -> Floats:
        """The complete replicates; where there are none, the treatments' means over all as a single row."""
        if self.replicates:
            return self.contrasts.complete.y
        with np.errstate(invalid="ignore"):
            there = ~np.isnan(self.contrasts.y)
            means: Floats = np.nansum(self.contrasts.y, axis=0, keepdims=True) / there.sum(axis=0, keepdims=True)
        return means

    @cached_property
    def _coefficients(self) -> Floats:
        """The mean of all combinations, then the model's coefficients, [r, 1 + p]; nan for what is not determined."""
        columns = self.terms.columns
        if self.replicates:
            with_mean = np.column_stack([np.ones(len(columns)), columns])
            found: Floats = self.contrasts.complete.y @ np.linalg.pinv(with_mean).T
            return found
        fit = self.contrasts.fit
        mean = np.nanmean(self.contrasts.y - columns @ fit.coefficients)
        known = fit.estimable(np.eye(columns.shape[1]))
        return np.concatenate([[mean], np.where(known, fit.coefficients, np.nan)])[None]

    @cached_property
    def _places(self) -> dict[frozenset[str], tuple[int, int]]:
        """By the factors of an effect the position of the term that holds it, and its sign there."""
        return {
            frozenset(member.factors): (index, member.sign)
            for index, term in enumerate(self.terms.terms)
            for member in term.members
        }

    def term_of(self, *factors: str) -> Term | None:
        """The term that holds the effect of these factors."""
        place = self._places.get(frozenset(factors))
        return None if place is None else self.terms.terms[place[0]]

    def is_alone(self, *factors: str) -> bool:
        """Whether a term holds their effect, and beside it no main effect and no interaction of two factors."""
        term = self.term_of(*factors)
        return term is not None and not any(
            len(member.factors) <= 2 and set(member.factors) != set(factors) for member in term.members
        )

    def tells_pair(self, first: str, second: str) -> bool:
        """Whether the interaction of two factors is a term of its own, and their main effects can be told."""
        return self.is_alone(first, second) and all(self.term_of(factor) for factor in (first, second))

    def level_means(self, factor: str) -> Floats:
        """Means [r, L] at the levels of a factor, over all combinations of the others; nan where they are unknown."""
        if not self.modelled:
            return self._plain_means(factor)
        return self._coefficients[:, :1] + self._main(factor)

    def pair_means(self, first: str, second: str) -> Floats:
        """Means [r, L1, L2] at every pair of levels of two factors, which stand in the order of the study."""
        if not self.modelled:
            return self._plain_means(first, second)
        one, other = (sum_codes(len(self.levels[factor])) for factor in (first, second))
        codes: Floats = np.asarray(np.kron(one, other), np.float64)
        mains = self._main(first)[:, :, None] + self._main(second)[:, None, :]
        own = self._added(codes, first, second).reshape(mains.shape)
        means: Floats = self._coefficients[:, :1, None] + mains + own
        return means

    def _main(self, factor: str) -> Floats:
        """What each level of a factor adds to the mean [r, L]."""
        return self._added(sum_codes(len(self.levels[factor])), factor)

    def _added(self, codes: Floats, *factors: str) -> Floats:
        """What an effect adds to the mean where its columns are `codes` [n, q]: [r, n], nan if it cannot be told."""
        place = self._places.get(frozenset(factors))
        if place is None:
            return np.full((len(self._coefficients), len(codes)), np.nan)
        index, sign = place
        added: Floats = sign * (self._coefficients[:, 1:][:, self.terms.spans[index]] @ codes.T)
        return added

    def _plain_means(self, *factors: str) -> Floats:
        shape = tuple(len(self.levels[factor]) for factor in factors)
        places = [self.terms.codes[:, list(self.levels).index(factor)] for factor in factors]
        cell = np.ravel_multi_index(places, shape)
        order = np.argsort(cell, kind="stable")
        values = self._plain[:, order].reshape(len(self._plain), *shape, -1)
        there = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            means: Floats = np.where(there, values, 0.0).sum(axis=-1) / there.sum(axis=-1)
        return means


def wide_of(analysis: Analysis) -> Wide:
    """The treatments' values of the primary response."""
    return Wide(contrasts_of(analysis.runs, analysis.layout, analysis.layout.primary))


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
