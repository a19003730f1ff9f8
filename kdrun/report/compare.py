"""Two results folders beside each other, for a terminal and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from kdrun.report.document import records
from kdrun.report.sheet import Sheet, rich_table
from kdrun.report.text import estimate, heading, plain, significant
from kdrun.stats.compare import DIFFERENT, IDENTICAL, Comparison

ALONE = {"only_a": "only in A", "only_b": "only in B"}


def compare_rich(comparison: Comparison) -> RenderableType:
    """The table of differences, and one line that says whether there are any."""
    verdicts = comparison.table["verdict"].value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    line = f"not identical: {counts}{_alone(comparison)}"
    if comparison.same_responses:
        line = "identical: the same runs with the same bits"
    if comparison.same_responses and not comparison.identical:
        names = ", ".join(response.name for response in comparison.responses)
        line = f"not identical: {names} is the same in every run, but the results digests differ"
    title = f"B against A: A is {comparison.names[0]}, B is {comparison.names[1]}"
    return Group(rich_table(compare_sheet(comparison), title), Text(plain(line)))


def _alone(comparison: Comparison) -> str:
    """How many replicates one of the two has alone, where both have the rest."""
    counts = {words: int(comparison.table[key].max(skipna=True)) for key, words in ALONE.items()}
    extra = [f"replicates {words}" for words, most in counts.items() if most]
    return f"; {', '.join(extra)}" if extra else ""


def compare_sheet(comparison: Comparison) -> Sheet:
    """One row per teacher, treatment and comparator: means of both, and the difference with its interval."""
    several = len(comparison.responses) > 1
    scales = {response.name: response.scale for response in comparison.responses}
    rows = [_row(row, comparison.factors, scales, several) for row in comparison.table.to_dict("records")]
    logarithmic = all(scale != "linear" for scale in scales.values())
    head = (*(("Response",) if several else ()), "Run", *(heading(name) for name in comparison.factors))
    headings = (*head, "A", "B", "B / A" if logarithmic else "B - A", "p", "Replicates", "Verdict")
    return Sheet(headings, tuple(rows), frozenset(range(len(head), len(headings) - 1)), notes=_notes(comparison))


def _row(row: dict[Any, Any], factors: tuple[str, ...], scales: Mapping[str, str], several: bool) -> tuple[str, ...]:
    linear = scales[row["response"]] == "linear"
    names = ("estimate", "ci_low", "ci_high") if linear else ("ratio", "ratio_low", "ratio_high")
    difference = estimate(*(row[name] for name in names)) if row["verdict"] == DIFFERENT else ""
    alone = [f"{int(row[key])} {words}" for key, words in ALONE.items() if row[key] > 0]
    replicates = ", ".join(([str(row["replicates"])] if row["replicates"] else []) + alone)
    cells = (
        row["comparator"] or row["kind"],
        *(row[name] for name in factors),
        significant(row["mean_a"]),
        significant(row["mean_b"]),
        difference,
        significant(row["p_value"]) if row["verdict"] == DIFFERENT else "",
        replicates,
        row["verdict"],
    )
    return (heading(row["response"]), *cells) if several else cells


def _notes(comparison: Comparison) -> tuple[str, ...]:
    how = (
        "Differences are paired within replicates, which share their seed; 95% t intervals."
        if comparison.paired
        else "The seeds differ, so replicates do not match: 95% Welch intervals."
    )
    means = "Means are taken on each response's analysis scale."
    return (how, means) if (comparison.table["verdict"] != IDENTICAL).any() else (means,)


def compare_document(comparison: Comparison) -> dict[str, Any]:
    """What `kdrun compare --json` prints."""
    return {
        "a": comparison.names[0],
        "b": comparison.names[1],
        "results_digests": list(comparison.digests),
        "identical": comparison.identical,
        "paired": comparison.paired,
        "rows": records(comparison.table),
    }
