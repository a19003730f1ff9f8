"""Main effects and interactions, each estimated inside every replicate.

The replicates' estimates of one contrast are independent whatever the treatments of a replicate share, so a t interval
over them covers what it claims; a pooled analysis does not. Where runs are missing, least squares over all of them with
a variance robust to clusters takes its place, which is the same where nothing is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd

from kdrun.stats.blocks import BlockFit
from kdrun.stats.intervals import Intervals, difference_intervals
from kdrun.stats.scales import Floats, Layout, Response, analysis_values, ratio
from kdrun.stats.terms import Terms, terms_of

OMNIBUS = "omnibus"
# Fewer runs of a treatment than this tell nothing of their spread once others are missing.
LEAST_REPLICATES = 3
COLUMNS = (
    "response", "term", "contrast", "order", "estimate", "ci_low", "ci_high", "std_error", "df", "p_value", "p_holm",
    "ratio", "ratio_low", "ratio_high",
)  # fmt: skip


@dataclass(frozen=True)
class Contrasts:
    """The contrasts of one response: `y` [R, N] on the analysis scale by replicate and treatment, nan for a hole."""

    response: Response
    terms: Terms
    y: Floats

    @property
    def has_holes(self) -> bool:
        """Whether some replicate lacks a value."""
        return bool(np.isnan(self.y).any())

    @cached_property
    def complete(self) -> Contrasts:
        """The same from the replicates without holes alone."""
        return Contrasts(self.response, self.terms, self.y[~np.isnan(self.y).any(axis=1)])

    @cached_property
    def within(self) -> Floats:
        """The estimate [R, C] of every contrast inside each complete replicate."""
        return self.terms.estimates(self.complete.y)

    @cached_property
    def fit(self) -> BlockFit:
        """The model over all runs."""
        return BlockFit(self.terms.columns, self.y)

    @property
    def uses_all_runs(self) -> bool:
        """Whether intervals come from all runs, because some are missing and the design is small enough for that."""
        return self.has_holes and self.terms.has_columns and len(self.y) > 1

    def intervals(self, combinations: Floats | None = None, level: float = 0.95) -> Intervals:
        """Intervals of combinations [m, C] of the contrasts; of each contrast by itself where none are given."""
        if not self.uses_all_runs:
            values = self.within.T if combinations is None else combinations @ self.within.T
            return difference_intervals(values, level, magnitude=self._magnitude)
        of_contrasts = self.terms.combinations
        found = self.fit.intervals(of_contrasts if combinations is None else combinations @ of_contrasts, level)
        return found if self.enough else _without_intervals(found)

    @property
    def _magnitude(self) -> float:
        """The size of the numbers that contrasts are differences of."""
        return float(np.max(np.abs(self.y), initial=0.0, where=~np.isnan(self.y)))

    @property
    def enough(self) -> bool:
        """Whether every treatment has the replicates that intervals need where runs are missing."""
        return bool(np.min(np.sum(~np.isnan(self.y), axis=0), initial=LEAST_REPLICATES) >= LEAST_REPLICATES)

    def single(self, contrast: int) -> Floats:
        """The combination [C] that is one contrast alone."""
        combination: Floats = np.eye(1, len(self.terms.contrasts), contrast)[0]
        return combination


def _without_intervals(found: Intervals) -> Intervals:
    nothing = np.full_like(found.mean, np.nan)
    return Intervals(found.count, found.mean, nothing, nothing, nothing, nothing, nothing)


def design_terms(table: pd.DataFrame, layout: Layout) -> Terms:
    """The terms that the treatments of a table of runs can tell."""
    treatments = table[table["kind"] == "treatment"].drop_duplicates("treatment").sort_values("treatment")
    return terms_of(layout, treatments[list(layout.factors)].to_dict("records"))  # type: ignore[arg-type]


def contrasts_of(table: pd.DataFrame, layout: Layout, response: Response, terms: Terms | None = None) -> Contrasts:
    """The contrasts of one response in a table of runs; `terms` are those of its treatments, where known."""
    rows = table[table["kind"] == "treatment"]
    treatments, column = np.unique(rows["treatment"].to_numpy(np.int64), return_inverse=True)
    replicates, row = np.unique(rows["replicate"].to_numpy(np.int64), return_inverse=True)
    y = np.full((len(replicates), len(treatments)), np.nan)
    y[row, column] = analysis_values(rows, response)
    return Contrasts(response, terms or design_terms(table, layout), y)


def effects_table(contrasts: Contrasts) -> pd.DataFrame:
    """Effects on one response. Columns: those of `effects.csv`.

    Estimates and intervals are on the analysis scale, ratios where that is logarithmic. A term of factors with more
    than two levels has a row per contrast, Holm over those, and one row `omnibus` that enters Holm over the terms.
    """
    terms = contrasts.terms
    if not terms.terms:
        return empty_effects()
    rows = _contrast_rows(contrasts)
    by_term = _by_term(rows["p_value"], terms)
    tests = np.array([_omnibus_p(p_values) for p_values in by_term])
    rows["p_holm"] = np.concatenate([holm(p_values) for p_values in by_term])
    adjusted = holm(tests)
    several = np.array([not term.two_level for term in terms.terms])
    term_of_row = np.repeat(np.arange(len(terms.terms)), terms.sizes)
    alone = ~several[term_of_row]
    rows.loc[alone, "p_holm"] = adjusted[term_of_row[alone]]
    if not several.any():
        return rows
    first = np.flatnonzero(np.diff(term_of_row, prepend=-1))[several]
    omnibus = rows.iloc[first].assign(contrast=OMNIBUS)
    omnibus[list(COLUMNS[COLUMNS.index("estimate") :])] = np.nan
    omnibus["p_value"], omnibus["p_holm"] = tests[several], adjusted[several]
    # A stable sort by the old positions puts each omnibus row before the contrasts of its term.
    return cast(pd.DataFrame, pd.concat([omnibus, rows]).sort_index(kind="stable", ignore_index=True))


def empty_effects() -> pd.DataFrame:
    """A table of no effects."""
    return pd.DataFrame(columns=list(COLUMNS))


def _contrast_rows(contrasts: Contrasts) -> pd.DataFrame:
    """Rows of all contrasts, term by term; p_holm is to be filled in."""
    terms, response = contrasts.terms, contrasts.response
    found = contrasts.intervals()
    return pd.DataFrame(
        {
            "response": response.name,
            "term": pd.Series(np.repeat(np.array(terms.names, dtype=object), terms.sizes), dtype="str"),
            "contrast": pd.Series([label for _, label in terms.contrasts], dtype="str"),
            "order": np.repeat([term.order for term in terms.terms], terms.sizes),
            "estimate": found.mean,
            "ci_low": found.low,
            "ci_high": found.high,
            "std_error": found.std_error,
            "df": found.df,
            "p_value": found.p_value,
            "p_holm": np.nan,
            "ratio": ratio(found.mean, response.scale),
            "ratio_low": ratio(found.low, response.scale),
            "ratio_high": ratio(found.high, response.scale),
        },
        columns=list(COLUMNS),
    )


def _by_term(values: pd.Series[float], terms: Terms) -> list[Floats]:
    """Values of all contrasts as one array for each term."""
    return np.split(values.to_numpy(np.float64), np.cumsum(terms.sizes)[:-1])


def _omnibus_p(p_values: Floats) -> float:
    """p of "no contrast of the term differs from 0": the smallest times their number; nan where none was tested."""
    tested = p_values[~np.isnan(p_values)]
    return min(1.0, len(p_values) * float(tested.min())) if len(tested) else np.nan


def holm(p_values: Floats) -> Floats:
    """Holm's adjusted p values; nan, where no test was made, stays nan and counts as none.

    statsmodels' own collects garbage on each call, which takes longer than everything else here.
    """
    adjusted = np.full_like(p_values, np.nan)
    order = np.argsort(p_values)[: int(np.sum(~np.isnan(p_values)))]
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted
