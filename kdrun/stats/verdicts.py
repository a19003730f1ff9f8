"""What the results say about the claims of a study.

A claim is one mapping, `{name: argument}`. Each name is one function here, from its argument and what is known to a
`Finding`; a claim that joins is a function that joins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from kdrun.records import GradientCheck
from kdrun.stats.intervals import t_intervals
from kdrun.stats.scales import Floats, Layout, Response, analysis_values, filled, from_analysis, to_analysis

Verdict = Literal["supported", "refuted", "inconclusive"]
ONE_SIDED = 0.025
VERDICT_COLUMNS = ("say", "claim", "verdict", "exploratory", "estimate", "ci_low", "ci_high", "replicates")
CRITERIA_COLUMNS = ("name", "required", "holds", "evidence")


@dataclass(frozen=True)
class Known:
    """What claims are judged by.

    The table of runs and its layout, the effects, the gradient checks, and whether replicate 1 gave the same bits again
    (None: not tried).
    """

    table: pd.DataFrame
    layout: Layout
    effects: pd.DataFrame
    gradient_checks: Sequence[GradientCheck] = ()
    reproducible: bool | None = None


@dataclass(frozen=True)
class Finding:
    """A verdict on one claim, a sentence with the numbers behind it, and the estimate where there is one."""

    verdict: Verdict
    evidence: str
    estimate: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    replicates: int = 0


def criteria_table(criteria: Sequence[Mapping[str, Any]], known: Known) -> pd.DataFrame:
    """One row per criterion, in the order of the study. Columns: those of `criteria.csv`.

    `criteria` are mappings with `name`, `claim` and `required`. A criterion holds when its claim is supported.
    """
    rows = []
    for criterion in criteria:
        finding = judge(criterion["claim"], known)
        required = bool(criterion.get("required", False))
        rows.append((criterion["name"], required, finding.verdict == "supported", finding.evidence))
    return pd.DataFrame(rows, columns=list(CRITERIA_COLUMNS)).astype({"required": bool, "holds": bool})


def judge(claim: Mapping[str, Any], known: Known) -> Finding:
    """The verdict on a claim.

    Where a response has diverged runs and no registered stand-in, a verdict must be the same with these runs left out
    and at the worst value seen; else it is inconclusive.
    """
    ((name, argument),) = claim.items()
    finding = CLAIMS[name](argument, known)
    if name in OF_RUNS and _has_unplaced(known):
        worst = CLAIMS[name](argument, _with_worst(known))
        if worst.verdict != finding.verdict:
            text = (
                f"{finding.verdict} with the diverged runs left out, {worst.verdict} with them at the worst value seen:"
                f" inconclusive. Left out: {finding.evidence}"
            )
            return replace(finding, verdict="inconclusive", evidence=text)
    return finding


def _has_unplaced(known: Known) -> bool:
    unplaced = any(known.layout.response(name).stand_in is None for name in known.layout.judged)
    return unplaced and bool((known.table["status"] == "diverged").any())


def _with_worst(known: Known) -> Known:
    """The same with diverged runs at the worst value seen, for every response that has no stand-in."""
    responses = tuple(
        replace(response, stand_in=_worst(known.table, response)) if response.stand_in is None else response
        for response in known.layout.responses
    )
    return replace(known, layout=replace(known.layout, responses=responses))


def _worst(table: pd.DataFrame, response: Response) -> float | None:
    values = filled(table, response)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    return float(values.max() if response.better == "lower" else values.min())


def gradients(tolerance: float, known: Known) -> Finding:
    """`{gradients: x}`: every check passed its own tolerance and x."""
    checks = known.gradient_checks
    if not checks:
        return Finding("inconclusive", "gradients were not checked")
    # A worst error of nan must come out on top: it compares as not passed.
    worst = max(checks, key=lambda check: np.nan_to_num(check.max_relative_error, nan=np.inf))
    holds = all(check.passed and check.max_relative_error <= tolerance for check in checks)
    parameters = sum(check.parameters for check in checks)
    evidence = (
        f"{sum(check.passed for check in checks)} of {len(checks)} checks passed, over {parameters:,} parameters; worst"
        f" relative error {number(worst.max_relative_error)} ({worst.name}, {worst.dtype}) against {number(tolerance)}"
    )
    return Finding("supported" if holds else "refuted", evidence)


def teacher(threshold: float, known: Known) -> Finding:
    """`{teacher: x}`: the primary response of every teacher, in every replicate, is better than x."""
    response = known.layout.primary
    rows = known.table[known.table["kind"] == "teacher"].reset_index(drop=True)
    values = filled(rows, response)
    if not len(rows) or np.isnan(values).all():
        return Finding("inconclusive", "no teacher has been trained")
    lower = response.better == "lower"
    worst = int(np.nanargmax(values) if lower else np.nanargmin(values))
    met = int(np.sum(values < threshold if lower else values > threshold))
    evidence = (
        f"{met} of {len(rows)} teachers have {response.name} {'below' if lower else 'above'} {number(threshold)}; the"
        f" worst has {number(values[worst])} ({_where(rows.iloc[worst], known.layout)})"
    )
    return Finding("supported" if met == len(rows) else "refuted", evidence)


def _where(row: pd.Series[Any], layout: Layout) -> str:
    levels = [f"{factor} {row[factor]}" for factor in layout.factors if row[factor]]
    return ", ".join([f"replicate {row['replicate']}", *levels])


def reproducible(wanted: bool, known: Known) -> Finding:
    """`{reproducible: true}`: replicate 1, run again in a fresh process, gave the same bits."""
    if known.reproducible is None:
        return Finding("inconclusive", "replicate 1 was not run again")
    again = "the same bits" if known.reproducible else "other bits"
    return Finding("supported" if known.reproducible == wanted else "refuted", f"replicate 1 run again gave {again}")


def complete(scope: bool | str, known: Known) -> Finding:
    """`{complete: true}`, or of `treatments`, `comparators` or `effects` alone: all of it is reported.

    A diverged run is reported; a failed or missing one is not.
    """
    if scope == "effects":
        return _complete_effects(known)
    kinds = {"treatments": ["treatment"], "comparators": ["comparator"]}
    rows = known.table
    if isinstance(scope, str):
        rows = rows[rows["kind"].isin(kinds[scope])]
    counts = rows["status"].value_counts()
    reported = int(counts.get("done", 0) + counts.get("diverged", 0))
    lacking = [f"{counts[status]} {status}" for status in ("diverged", "failed", "missing") if counts.get(status, 0)]
    what = f"{scope[:-1]} runs" if isinstance(scope, str) else "runs"
    evidence = f"{reported} of {len(rows)} {what} reported" + (f" ({', '.join(lacking)})" if lacking else "")
    return Finding("supported" if reported == len(rows) > 0 else "refuted", evidence)


def _complete_effects(known: Known) -> Finding:
    """Every term of the design has an estimate for the primary response."""
    rows = known.effects[known.effects["response"] == known.layout.judged[0]]
    estimated = rows[rows["estimate"].notna()]["term"].nunique()
    terms = prod(2 if len(levels) > 1 else 1 for levels in known.layout.factors.values()) - 1
    df = rows["df"].min() if len(rows) else np.nan
    source = "one replicate, so without intervals" if np.isnan(df) else f"from {int(df) + 1} replicates"
    evidence = f"{estimated} of {terms} main effects and interactions estimated" + (f", {source}" if estimated else "")
    return Finding("supported" if estimated == terms > 0 else "refuted", evidence)


def some_treatment(argument: Mapping[str, Any], known: Known) -> Finding:
    """`{some_treatment: {below: x, where: {…}, response: …}}`: at least one of the m matching treatments lies below x.

    Supported when the smallest one-sided p of "its mean is x or more" is at most 0.025/m: choosing the best and reading
    its own interval would be wrong too often. Refuted when the 95% interval of every treatment lies above x.
    """
    response = known.layout.response(argument.get("response") or known.layout.judged[0])
    rows = _matching(known.table, argument.get("where") or {})
    treatments, y = _by_treatment(rows, response)
    if not len(treatments):
        return Finding("inconclusive", "no treatment matches")
    threshold = to_analysis(float(argument["below"]), response.scale)
    found, p_values = t_intervals(y), _p_below(y, threshold)
    bound = ONE_SIDED / len(treatments)
    tested = not np.isnan(p_values).all()
    best = int(np.nanargmin(p_values if tested else np.where(found.count > 0, found.mean, np.inf)))
    mean, low, high = (float(from_analysis(x[best], response.scale)) for x in (found.mean, found.low, found.high))
    replicates = int(found.count[best])
    evidence = (
        f"treatment {treatments[best]} has {response.name} {interval(mean, low, high)} over {replicates} replicates"
    )
    if not tested:
        evidence = f"{evidence}: no test without replicates that vary"
        return Finding("inconclusive", evidence, mean, low, high, replicates)
    verdict: Verdict = "refuted" if np.all(found.low > threshold) else "inconclusive"
    if p_values[best] <= bound:
        verdict = "supported"
    evidence += (
        f"; one-sided p {number(p_values[best])} of a mean of {number(float(argument['below']))} or more,"
        f" against 0.025/{len(treatments)} = {number(bound)}"
    )
    return Finding(verdict, evidence, mean, low, high, replicates)


def _matching(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of treatments at the given level of each factor."""
    rows = table[table["kind"] == "treatment"]
    for factor, level in where.items():
        rows = rows[[_is_level(text, level) for text in rows[factor]]]
    return rows


def _is_level(text: str, level: Any) -> bool:
    """Whether a level in a table is the one that a claim names; `0.001` names the level that was written `1e-3`."""
    if isinstance(level, bool | str):
        return text == (str(level).lower() if isinstance(level, bool) else level)
    try:
        return float(text) == float(level)
    except ValueError:
        return False


def _by_treatment(rows: pd.DataFrame, response: Response) -> tuple[Floats, Floats]:
    """Numbers of treatments [m] and y [m, R], nan for a hole."""
    y = pd.Series(analysis_values(rows, response), index=rows.index)
    wide = y.groupby([rows["treatment"], rows["replicate"]]).first().unstack("replicate")  # noqa: PD010 (one value each)
    return wide.index.to_numpy(), wide.to_numpy(np.float64)


def _p_below(y: Floats, threshold: float) -> Floats:
    """One-sided p of "the mean is `threshold` or more" for each row of y [m, R]; nan where values do not vary."""
    found = t_intervals(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.isnan(found.low), np.nan, (found.mean - threshold) / found.std_error)
    p_values: Floats = special.stdtr(found.df, t)
    return p_values


def number(value: float) -> str:
    """A number in a sentence: three significant digits, without trailing zeros."""
    return f"{value:.3g}"


def interval(mean: float, low: float, high: float) -> str:
    """A mean with its interval in a sentence, the interval only where there is one."""
    return number(mean) if np.isnan(low) else f"{number(mean)} [{number(low)}, {number(high)}]"


CLAIMS: dict[str, Callable[[Any, Known], Finding]] = {
    "gradients": gradients,
    "teacher": teacher,
    "reproducible": reproducible,
    "complete": complete,
    "some_treatment": some_treatment,
}
# Claims on the treatments' responses, which diverged runs without a stand-in make doubtful.
OF_RUNS = frozenset({"some_treatment"})
