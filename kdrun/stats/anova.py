"""Analysis of variance of the block design, secondary to the effects: it pools what differs between replicates.

A term of factors whose levels select something that the treatments of a replicate share, such as a teacher, is tested
against its own replicate × term stratum; the other terms against the residuals of a model that contains those strata.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from kdrun.stats.blocks import BlockFit
from kdrun.stats.effects import Contrasts
from kdrun.stats.scales import Floats
from kdrun.stats.terms import Factors, Terms

COLUMNS = ("response", "term", "stratum", "df", "sum_sq", "mean_sq", "F", "p_value", "partial_eta_sq")
REPLICATE, RESIDUAL, HOTELLING = "replicate", "residual", "hotelling"
# Hotelling's T² of q contrasts is listed from q + 5 replicates on: below, it has next to no power.
SPARE_REPLICATES = 5

# A sum of squares and its degrees of freedom.
Error = tuple[float, int]
Row = tuple[str, str, float, float, float, float, float, float]


def anova_table(contrasts: Contrasts, shared: Factors = ()) -> pd.DataFrame:
    """Type III analysis of variance with sum-to-zero coding. Columns: those of `anova.csv`.

    `term` is a term, `replicate`, or `residual` of its `stratum`. `shared` are the factors that select what treatments
    share. Rows of the stratum `hotelling` are Hotelling's T² of a term with several contrasts, as F. Empty for one
    replicate, and for a design of too many treatments.
    """
    y = contrasts.y
    enough = len(y) > 1 and contrasts.terms.has_columns and contrasts.terms.terms and contrasts.fit.df > 0
    rows = [*_strata(contrasts.terms, y, contrasts.fit, shared), *_hotelling(contrasts)] if enough else []
    frame = pd.DataFrame(rows, columns=list(COLUMNS[1:]))
    frame.insert(0, "response", contrasts.response.name)
    return frame


def _strata(terms: Terms, y: Floats, blocks: BlockFit, shared: Factors) -> Iterator[Row]:
    yield _row(REPLICATE, REPLICATE, blocks.replicates - 1, _without_blocks(terms.columns, y) - blocks.residual_sum)
    whole = {index: chosen for index in range(len(terms.terms)) if (chosen := _whole_plot(terms, index, shared))}
    taken: dict[Factors, Error] = {}
    for index, chosen in whole.items():
        taken[chosen] = error = _stratum(terms, y, blocks, chosen, taken)
        sums = {terms.names[index]: (_width(terms.spans[index]), blocks.term_sum(terms.spans[index]))}
        yield from _tested(sums, f"{REPLICATE}:{':'.join(chosen)}", error)
    yield from _rest(terms, y, shared, [index for index in range(len(terms.terms)) if index not in whole])


def _rest(terms: Terms, y: Floats, shared: Factors, rest: list[int]) -> Iterator[Row]:
    """The terms that treatments of a replicate do not share, in a model with every stratum of the others."""
    ends = np.cumsum([0, *(_width(terms.spans[index]) for index in rest)])
    columns = np.concatenate(
        [np.empty((terms.treatments, 0)), *(terms.columns[:, terms.spans[i]] for i in rest)], axis=1
    )
    fit = BlockFit(columns, y, _cells(terms, [name for name in shared if name in terms.levels]))
    if fit.rank == columns.shape[1]:
        spans = [slice(int(start), int(end)) for start, end in pairwise(ends)]
        sums = {terms.names[i]: (_width(span), fit.term_sum(span)) for i, span in zip(rest, spans, strict=True)}
        yield from _tested(sums, RESIDUAL, (fit.residual_sum, fit.df))


def _width(span: slice) -> int:
    return int(span.stop - span.start)


def _whole_plot(terms: Terms, index: int, shared: Factors) -> Factors:
    """The shared factors that make up a term; empty for a term with another factor in it."""
    found = (member.factors for member in terms.terms[index].members if set(member.factors) <= set(shared))
    return next(found, ())


def _cells(terms: Terms, names: list[str]) -> NDArray[np.int64]:
    """A label [N] for each combination of levels of some factors."""
    columns = [list(terms.levels).index(name) for name in names]
    if not columns:
        return np.zeros(terms.treatments, np.int64)
    return np.unique(terms.codes[:, columns], axis=0, return_inverse=True)[1].reshape(-1)


def _stratum(terms: Terms, y: Floats, blocks: BlockFit, chosen: Factors, taken: dict[Factors, Error]) -> Error:
    """Sum of squares and df of replicate × term: what cells of it take from the residuals, less what its parts took."""
    inside = [i for i, term in enumerate(terms.terms) if any(set(m.factors) <= set(chosen) for m in term.members)]
    kept = np.ones(terms.columns.shape[1], bool)
    for index in inside:
        kept[terms.spans[index]] = False
    cells = BlockFit(terms.columns[:, kept], y, _cells(terms, list(chosen)))
    parts = [taken[part] for n in range(1, len(chosen)) for part in combinations(chosen, n) if part in taken]
    total = blocks.residual_sum - cells.residual_sum - sum(part[0] for part in parts)
    return max(total, 0.0), blocks.df - cells.df - sum(part[1] for part in parts)


def _tested(sums: dict[str, tuple[int, float]], stratum: str, error: Error) -> Iterator[Row]:
    """Terms, with df and sum of squares, against the error of their stratum; then that."""
    for name, (df, total) in sums.items():
        yield _row(name, stratum, df, total, error)
    yield _row(RESIDUAL, stratum, error[1], error[0])


def _row(term: str, stratum: str, df: int, total: float, error: Error = (np.nan, 0)) -> Row:
    """One row; with F, p and partial η² where there is an error to test against."""
    residual, df_error = error
    mean = total / df if df else np.nan
    tested = df_error > 0 and residual > 0
    ratio = mean / (residual / df_error) if tested else np.nan
    p_value = float(special.fdtrc(df, df_error, ratio)) if tested else np.nan
    return (term, stratum, float(df), total, mean, ratio, p_value, total / (total + residual) if tested else np.nan)


def _without_blocks(columns: Floats, y: Floats) -> float:
    """The residual sum of squares of the terms and one mean, without replicate effects."""
    design = np.column_stack([np.ones(len(columns)), columns])
    counts = np.sum(~np.isnan(y), axis=0)
    moment = design.T @ (counts[:, None] * design)
    fitted = design @ np.linalg.pinv(moment, hermitian=True) @ design.T @ np.nansum(y, axis=0)
    return float(np.nansum((y - fitted) ** 2))


def _hotelling(contrasts: Contrasts) -> Iterator[Row]:
    """T² = R·b̄ᵀ S⁻¹ b̄ of the q coefficients b of a term inside each complete replicate.

    (R − q)/(q(R − 1))·T² has an F distribution with q and R − q degrees of freedom.
    """
    terms, y = contrasts.terms, contrasts.complete.y
    replicates = len(y)
    with_mean = np.column_stack([np.ones(terms.treatments), terms.columns])
    inside = y @ np.linalg.pinv(with_mean)[1:].T
    for term, span in zip(terms.terms, terms.spans, strict=True):
        q = span.stop - span.start
        if q < 2 or replicates < q + SPARE_REPLICATES:
            continue
        b = inside[:, span]
        mean, spread = b.mean(axis=0), np.atleast_2d(np.cov(b, rowvar=False))
        if np.linalg.matrix_rank(spread) < q:
            continue
        ratio = replicates * float(mean @ np.linalg.solve(spread, mean)) * (replicates - q) / (q * (replicates - 1))
        p_value = float(special.fdtrc(q, replicates - q, ratio))
        yield (term.name, HOTELLING, float(q), np.nan, np.nan, ratio, p_value, np.nan)
