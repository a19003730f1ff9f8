"""The verdicts on hypotheses, and the criteria."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from kdrun.report.sheet import LONGEST_WORD, Sheet, rich_table
from kdrun.report.text import estimate, markdown
from kdrun.stats.analysis import Analysis


def hypotheses_rich(analysis: Analysis) -> Table:
    """The verdict on each hypothesis for a terminal."""
    return rich_table(hypotheses_sheet(analysis), "Hypotheses")


def criteria_rich(analysis: Analysis, exploratory: Collection[str] = ()) -> Table:
    """The criteria as a checklist for a terminal, evidence beside each; those named in `exploratory` are marked."""
    return rich_table(criteria_sheet(analysis, exploratory), "Criteria")


def changes_rich(registration: Mapping[str, Any]) -> Table | None:
    """What changed since the registration, for a terminal; None where nothing did. `changes` as a report has them."""
    changes = registration.get("changes", ())
    if not changes:
        return None
    rows = tuple((str(change["time"]) or "now", str(change["text"])) for change in changes)
    return rich_table(Sheet(("Found", "Change"), rows, frozenset()), "Changes since registration")


def hypotheses_sheet(analysis: Analysis) -> Sheet:
    """One row per hypothesis: its verdict, the sentence, the estimate, how many replicates, the evidence."""
    frame = analysis.hypotheses
    rows = tuple(_hypothesis_row(row) for row in frame.to_dict("records"))
    return Sheet(
        headings=("Verdict", "Hypothesis", "Estimate", "Replicates", "Evidence"),
        rows=rows,
        numeric=frozenset({2, 3}),
        notes=(VERDICTS_ARE,) if rows else (),
        values={2: tuple(frame["estimate"].astype(float)), 3: tuple(frame["replicates"].astype(float))},
    )


VERDICTS_ARE = "Each verdict stands for itself: nothing is adjusted across hypotheses."


def _hypothesis_row(row: dict[Any, Any]) -> tuple[str, ...]:
    verdict = f"{row['verdict']}{' (exploratory)' if row['exploratory'] else ''}"
    return (verdict, row["say"], hypothesis_number(row), str(row["replicates"] or ""), row["evidence"])


def hypothesis_number(row: Mapping[Any, Any]) -> str:
    """The estimate of a hypothesis with its interval; empty where there is none."""
    mean, low, high = (float(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    if np.isnan(mean):
        return ""
    if '"effect_rank"' in row["claim"][:LONGEST_WORD]:
        return f"rank {mean:.0f} [{low:.0f}, {high:.0f}]"
    return estimate(mean, low, high)


def criteria_sheet(analysis: Analysis, exploratory: Collection[str] = ()) -> Sheet:
    """One row per criterion: whether it holds, its name, the evidence."""
    rows = [
        ("yes" if row["holds"] else "NO", f"{row['name']}{_marks(row, exploratory)}", row["evidence"])
        for row in analysis.criteria.to_dict("records")
    ]
    return Sheet(("Holds", "Criterion", "Evidence"), tuple(rows), frozenset())


def criteria_markdown(analysis: Analysis, exploratory: Collection[str] = ()) -> str:
    """The criteria as a checklist, evidence beside each; those named in `exploratory` are marked."""
    return "\n".join(
        f"- [{'x' if row['holds'] else ' '}] **{markdown(row['name'])}**{_marks(row, exploratory)}:"
        f" {markdown(row['evidence'])}"
        for row in analysis.criteria.to_dict("records")
    )


def _marks(row: Mapping[Any, Any], exploratory: Collection[str]) -> str:
    marks = [*(["required"] if row["required"] else []), *(["exploratory"] if row["name"] in exploratory else [])]
    return f" ({', '.join(marks)})" if marks else ""
