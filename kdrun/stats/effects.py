"""Main effects and interactions, each estimated inside every replicate.

The replicates' estimates of one term are independent whatever the treatments of a replicate share, so a t interval over
them covers what it claims; a pooled analysis does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdrun.stats.intervals import difference_intervals
from kdrun.stats.scales import Floats, Layout, Response, analysis_values, ratio

OMNIBUS = "omnibus"
COLUMNS = (
    "response", "term", "contrast", "order", "estimate", "ci_low", "ci_high", "std_error", "df", "p_value", "p_holm",
    "ratio", "ratio_low", "ratio_high",
)  # fmt: skip


@dataclass(frozen=True)
class Term:
    """A main effect or interaction: `estimates` [R, C] of its C contrasts in each replicate, and their labels.

    The label of the only contrast of a two-level term is empty.
    """

    factors: tuple[str, ...]
    contrasts: tuple[str, ...]
    estimates: Floats

    @property
    def name(self) -> str:
        """Its factors, joined: `gradient`, `gradient:width`, and so on."""
        return ":".join(self.factors)

    @property
    def two_level(self) -> bool:
        """Whether the term is a single contrast between two levels of each factor."""
        return self.contrasts == ("",)


def effects_table(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Effects of every response that the study declares. Columns: those of `effects.csv`.

    Estimates and intervals are on the analysis scale, ratios where that is logarithmic. A term of factors with more
    than two levels has a row per contrast, Holm over those, and one row `omnibus` that enters Holm over the terms.
    """
    frames = [_response_effects(table, layout, layout.response(name)) for name in layout.judged]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def within_replicates(table: pd.DataFrame, layout: Layout, response: Response) -> list[Term]:
    """The terms of a full factorial, by order and then as the factors stand, from the replicates that are complete.

    Empty where the treatments are no full factorial.
    """
    cube = _cube(table, layout, response)
    if cube is None:
        return []
    complete = cube[~np.isnan(cube).any(axis=tuple(range(1, cube.ndim)))]
    names = list(layout.factors)
    terms = list(_terms(complete[:, None], tuple(layout.factors.items()), (), ("",)))
    rank = {subset: n for n, subset in enumerate(s for k in range(1, len(names) + 1) for s in combinations(names, k))}
    return sorted(terms, key=lambda term: rank[term.factors])


def _cube(table: pd.DataFrame, layout: Layout, response: Response) -> Floats | None:
    """y [R, L_1, …, L_k] by replicate and level of each factor, nan for a hole; None for no full factorial."""
    rows = table[table["kind"] == "treatment"]
    shape = tuple(len(levels) for levels in layout.factors.values())
    if rows["treatment"].nunique() != prod(shape):
        return None
    replicates, replicate = np.unique(rows["replicate"].to_numpy(), return_inverse=True)
    places = [_level_places(rows[name], levels) for name, levels in layout.factors.items()]
    cube = np.full((len(replicates), *shape), np.nan)
    cube[(replicate, *places)] = analysis_values(rows, response)
    return cube


def _level_places(column: pd.Series[str], levels: tuple[str, ...]) -> NDArray[np.int64]:
    place = {level: position for position, level in enumerate(levels)}
    return np.array([place[level] for level in column], np.int64)


def _terms(
    cube: Floats, factors: tuple[tuple[str, tuple[str, ...]], ...], chosen: tuple[str, ...], labels: tuple[str, ...]
) -> Iterator[Term]:
    """Every term that takes or averages each of `factors`, the axes 2, 3, … of `cube` [R, C, L, …].

    Halving the cube at each factor makes all terms together cost about as much as reading it once per factor.
    """
    if not factors:
        if chosen:
            yield Term(chosen, labels, cube)
        return
    (name, levels), rest = factors[0], factors[1:]
    yield from _terms(cube.mean(axis=2), rest, chosen, labels)
    pairs = list(combinations(range(len(levels)), 2))
    if pairs:
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        differences = (cube[:, :, second] - cube[:, :, first]) * (0.5 if chosen else 1.0)
        merged = differences.reshape(cube.shape[0], cube.shape[1] * len(pairs), *cube.shape[3:])
        names = [f"{levels[j]} - {levels[i]}" for i, j in pairs]
        yield from _terms(merged, rest, (*chosen, name), _joined(labels, names, two_level=len(levels) == 2))


def _joined(labels: tuple[str, ...], names: list[str], two_level: bool) -> tuple[str, ...]:
    """Labels of products of contrasts; a two-level factor has one contrast, which goes without saying."""
    if two_level:
        return labels
    return tuple(" : ".join(part for part in pair if part) for pair in product(labels, names))


def _response_effects(table: pd.DataFrame, layout: Layout, response: Response) -> pd.DataFrame:
    terms = within_replicates(table, layout, response)
    if not terms:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = _contrast_rows(terms, response)
    tests = [_omnibus_p(p_values) for p_values in _by_term(rows["p_value"], terms)]
    adjusted = dict(zip((term.name for term in terms), holm(np.array(tests)), strict=True))
    several = [term.name for term in terms if not term.two_level]
    alone = ~rows["term"].isin(several)
    rows.loc[alone, "p_holm"] = rows.loc[alone, "term"].map(adjusted)
    omnibus = rows[~alone].drop_duplicates("term").assign(contrast=OMNIBUS)
    omnibus[list(COLUMNS[COLUMNS.index("estimate") :])] = np.nan
    omnibus["p_value"] = [p for p, term in zip(tests, terms, strict=True) if not term.two_level]
    omnibus["p_holm"] = omnibus["term"].map(adjusted)
    # A stable sort by the old positions puts each omnibus row before the contrasts of its term.
    return pd.concat([omnibus, rows]).sort_index(kind="stable", ignore_index=True) if several else rows


def _contrast_rows(terms: list[Term], response: Response) -> pd.DataFrame:
    """Rows of all contrasts, term by term; p_holm is Holm's within the term."""
    estimates = np.concatenate([term.estimates for term in terms], axis=1).T
    found = difference_intervals(estimates, magnitude=float(np.max(np.abs(estimates), initial=0.0)))
    sizes = [len(term.contrasts) for term in terms]
    rows = pd.DataFrame(
        {
            "response": response.name,
            "term": pd.Series([term.name for term in terms], dtype="str").repeat(sizes).to_numpy(),
            "contrast": pd.Series([label for term in terms for label in term.contrasts], dtype="str"),
            "order": np.repeat([len(term.factors) for term in terms], sizes),
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
    rows["p_holm"] = np.concatenate([holm(p_values) for p_values in _by_term(rows["p_value"], terms)])
    return rows


def _by_term(values: pd.Series[float], terms: list[Term]) -> list[Floats]:
    """Values of all contrasts as one array for each term."""
    return np.split(values.to_numpy(np.float64), np.cumsum([len(term.contrasts) for term in terms])[:-1])


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
