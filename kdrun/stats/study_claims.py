"""Claims on a study as a whole: its gradients, its teachers, its bits, and whether everything is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kdrun.stats.findings import Finding, Known, number
from kdrun.stats.scales import Layout, filled


def gradients(tolerance: float, known: Known, alpha: float) -> Finding:
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


def teacher(threshold: float, known: Known, alpha: float) -> Finding:
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


def reproducible(wanted: bool, known: Known, alpha: float) -> Finding:
    """`{reproducible: true}`: replicate 1, run again after all others, gave the same bits."""
    if known.reproducible is None:
        return Finding("inconclusive", "replicate 1 was not run again")
    again = "the same bits" if known.reproducible else "other bits"
    return Finding("supported" if known.reproducible == wanted else "refuted", f"replicate 1 run again gave {again}")


def complete(scope: bool | str, known: Known, alpha: float) -> Finding:
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
    contrasts = known.contrasts(known.layout.judged[0])
    found = contrasts.intervals()
    named = np.array([index for index, _ in contrasts.terms.contrasts], np.int64)
    estimated = len(np.unique(named[~np.isnan(found.mean)]))
    total = len(contrasts.terms.terms)
    what = "main effects and interactions" if contrasts.terms.full else "terms that the design can tell"
    evidence = f"{estimated} of {total} {what} estimated"
    if estimated:
        most = int(found.count.max())
        evidence += ", one replicate, so without intervals" if most == 1 else f", from {most} replicates"
    return Finding("supported" if estimated == total > 0 else "refuted", evidence)
