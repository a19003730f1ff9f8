"""Claims on the responses of treatments and comparators: below a threshold, better than another, equivalent to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import special

from kdrun.stats.findings import Estimate, Finding, Known, Verdict, counted, difference_words, interval, number
from kdrun.stats.intervals import Intervals, difference_intervals, t_intervals
from kdrun.stats.scales import Floats, Response, analysis_values, from_analysis, to_analysis

Selection = Mapping[str, Any]


def response(argument: Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{response: {where: {…}, below: x}}` or `above`: the mean over the matching treatments lies beyond a threshold.

    Per replicate the mean of y over all of them; its interval against the threshold.
    """
    chosen = known.response(argument)
    y = _replicate_means(known, argument.get("where") or {}, chosen)
    estimate = Estimate.of(t_intervals(y[None, :], 1 - alpha))
    sign, threshold = _threshold(argument, chosen)
    verdict = estimate.verdict(*((-np.inf, threshold) if sign < 0 else (threshold, np.inf)))
    shown = _back(estimate, chosen)
    evidence = (
        f"{chosen.name} of {_words(argument.get('where') or {})} is {interval(*shown)} over"
        f" {counted(estimate.replicates)}, against {_limit(argument)}{estimate.obstacle}"
    )
    return Finding(verdict, evidence, *shown, estimate.replicates)


def some_treatment(argument: Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{some_treatment: {below: x, where: {…}}}` or `above`: at least one of m matching treatments lies beyond x.

    Supported when the smallest one-sided p of "its mean is x or worse" is at most α/2m: choosing the best and reading
    its own interval would be wrong too often. Refuted when the interval of every treatment lies on the other side of x.
    """
    chosen = known.response(argument)
    treatments, y = _by_treatment(_matching(known.table, argument.get("where") or {}), chosen)
    if not len(treatments):
        return Finding("inconclusive", "no treatment matches")
    sign, threshold = _threshold(argument, chosen)
    found = t_intervals(y, 1 - alpha)
    p_values = _p_beyond(found, threshold, sign)
    bound = alpha / 2 / len(treatments)
    tested = not np.isnan(p_values).all()
    best = int(np.nanargmin(p_values if tested else np.where(found.count > 0, -sign * found.mean, np.inf)))
    estimate = Estimate.of(found, best)
    shown = _back(estimate, chosen)
    evidence = f"treatment {treatments[best]} has {chosen.name} {interval(*shown)} over {counted(estimate.replicates)}"
    if not tested:
        evidence += ": no test without replicates that vary"
        return Finding("inconclusive", evidence, *shown, estimate.replicates)
    outside = found.low > threshold if sign < 0 else found.high < threshold
    verdict: Verdict = "refuted" if np.all(outside) else "inconclusive"
    if p_values[best] <= bound:
        verdict = "supported"
    evidence += (
        f"; one-sided p {number(p_values[best])} of a mean of {number(_given(argument))} or"
        f" {'more' if sign < 0 else 'less'}, against {number(alpha / 2)}/{len(treatments)} = {number(bound)}"
    )
    return Finding(verdict, evidence, *shown, estimate.replicates)


def better(argument: Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{better: {a: …, b: …}}`: a is better than b; the interval of d = y_a − y_b lies on the better side of 0."""
    chosen, estimate = _difference(argument, known, alpha)
    verdict = estimate.verdict(*((-np.inf, 0.0) if chosen.better == "lower" else (0.0, np.inf)))
    return _compared(argument, chosen, estimate, verdict, f"{chosen.better} is better")


def equivalent(argument: Mapping[str, Any], known: Known, alpha: float) -> Finding:
    """`{equivalent: {a: …, b: …, within: r}}`: the interval of d lies inside ±bound, refuted when wholly outside.

    On a log scale r is a ratio.
    """
    chosen, estimate = _difference(argument, known, alpha)
    bound = difference_bound(float(argument["within"]), chosen)
    words = f"within {difference_words(chosen)} of {number(float(argument['within']))}"
    return _compared(argument, chosen, estimate, estimate.verdict(-bound, bound), words)


def difference_bound(value: float, chosen: Response) -> float:
    """A bound of differences as a study writes it, on the analysis scale: a ratio (of odds) on a log scale."""
    if chosen.scale == "linear":
        return value
    return float(np.log10(value) if chosen.scale == "log10" else np.log(value))


def _difference(argument: Mapping[str, Any], known: Known, alpha: float) -> tuple[Response, Estimate]:
    """d = y_a − y_b over the replicates that have both."""
    chosen = known.response(argument)
    a, b = (_replicate_means(known, argument[side], chosen) for side in ("a", "b"))
    magnitude = float(np.nanmax(np.abs(np.concatenate([a, b])), initial=0.0)) if len(a) else 0.0
    return chosen, Estimate.of(difference_intervals((a - b)[None, :], 1 - alpha, magnitude))


def _compared(
    argument: Mapping[str, Any], chosen: Response, estimate: Estimate, verdict: Verdict, wanted: str
) -> Finding:
    shown = estimate.as_ratio(chosen)
    identical = estimate.low == estimate.high == 0
    what = "identical" if identical else f"{difference_words(chosen)} of {interval(*shown)}"
    evidence = (
        f"{chosen.name} of {_words(argument['a'])} against {_words(argument['b'])}: {what} over"
        f" {counted(estimate.replicates)} ({wanted}){estimate.obstacle}"
    )
    return Finding(verdict, evidence, *shown, estimate.replicates)


def _replicate_means(known: Known, selection: Selection, chosen: Response) -> Floats:
    """The mean of y [R] over everything selected, in each replicate; nan where one of it is missing."""
    replicates = np.unique(known.table["replicate"])
    rows = _selected(known, selection)
    if not len(rows):
        return np.full(len(replicates), np.nan)
    y = pd.Series(analysis_values(rows, chosen), index=rows.index)
    key = rows["comparator"] if rows["comparator"].iloc[0] else rows["treatment"]
    wide = y.groupby([key, rows["replicate"]]).first().unstack("replicate")  # noqa: PD010 (one value each)
    means: Floats = wide.reindex(columns=replicates).to_numpy(np.float64).mean(axis=0)
    return means


def _selected(known: Known, selection: Selection) -> pd.DataFrame:
    """The rows of a comparator, or of the treatments at some levels."""
    if set(selection) == {"comparator"}:
        chosen = (known.table["kind"] == "comparator") & (known.table["comparator"] == selection["comparator"])
        return cast(pd.DataFrame, known.table[chosen])
    return _matching(known.table, selection)


def _matching(table: pd.DataFrame, where: Selection) -> pd.DataFrame:
    """The rows of treatments at the given level of each factor."""
    rows = table[table["kind"] == "treatment"]
    for factor, level in where.items():
        rows = rows[rows[factor].isin([text for text in rows[factor].unique() if is_level(text, level)])]
    return rows


def is_level(text: str, level: Any) -> bool:
    """Whether a level in a table is the one that a claim names; `0.001` names the level that was written `1e-3`."""
    if isinstance(level, bool | str):
        return text == (str(level).lower() if isinstance(level, bool) else level)
    try:
        return float(text) == float(level)
    except ValueError:
        return False


def _by_treatment(rows: pd.DataFrame, chosen: Response) -> tuple[Floats, Floats]:
    """Numbers of treatments [m] and y [m, R], nan for a hole."""
    y = pd.Series(analysis_values(rows, chosen), index=rows.index)
    wide = y.groupby([rows["treatment"], rows["replicate"]]).first().unstack("replicate")  # noqa: PD010 (one value each)
    return wide.index.to_numpy(), wide.to_numpy(np.float64)


def _threshold(argument: Mapping[str, Any], chosen: Response) -> tuple[int, float]:
    """−1 for `below` and +1 for `above`, and the threshold on the analysis scale."""
    sign = -1 if argument.get("below") is not None else 1
    return sign, float(to_analysis(_given(argument), chosen.scale))


def _given(argument: Mapping[str, Any]) -> float:
    return float(argument["below"] if argument.get("below") is not None else argument["above"])


def _limit(argument: Mapping[str, Any]) -> str:
    return f"{'below' if argument.get('below') is not None else 'above'} {number(_given(argument))}"


def _p_beyond(found: Intervals, threshold: float, sign: int) -> Floats:
    """One-sided p of "the mean is not beyond the threshold" for each row; nan where values do not vary."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.isnan(found.low), np.nan, -sign * (found.mean - threshold) / found.std_error)
    p_values: Floats = special.stdtr(found.df, t)
    return p_values


def _back(estimate: Estimate, chosen: Response) -> tuple[float, float, float]:
    """A mean with its bounds on the response's own scale."""
    mean, low, high = (float(from_analysis(y, chosen.scale)) for y in (estimate.mean, estimate.low, estimate.high))
    return mean, low, high


def _words(selection: Selection) -> str:
    """What a selection is called in a sentence."""
    if not selection:
        return "all treatments"
    return ", ".join(f"{name} {level}" for name, level in selection.items())
