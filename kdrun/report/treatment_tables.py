"""The table of treatments and comparators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from kdrun.report.outcomes import replicates_of, stand_ins, weak_stand_ins
from kdrun.report.sheet import Sheet, left_out, markdown_table, natural_width, rich_table
from kdrun.report.text import column_style, counted, estimate, heading, joined
from kdrun.stats.analysis import Analysis
from kdrun.stats.frame import BASELINE, BASELINE_RATIO
from kdrun.stats.scales import Layout, Response

MOST_TREATMENTS = 200
MEANS = {"log10": "geometric means", "linear": "means", "logit": "means on the logit scale"}
# More rows than this scroll out of sight; the reports have them.
TERMINAL_ROWS = 64


def treatment_table(analysis: Analysis, title: str = "", width: int = 100) -> Table:
    """The table of treatments, then comparators, for a terminal of `width` columns.

    Intervals stand beside their means where all fit, below them otherwise.
    """
    wide = treatment_sheet(analysis, limit=TERMINAL_ROWS)
    fits = natural_width(wide) <= width
    return rich_table(wide if fits else treatment_sheet(analysis, narrow=True, limit=TERMINAL_ROWS), title)


def treatment_markdown(analysis: Analysis) -> str:
    """The same table in Markdown, its notes below it."""
    return markdown_table(treatment_sheet(analysis, limit=MOST_TREATMENTS))


def treatment_sheet(analysis: Analysis, narrow: bool = False, limit: int | None = None) -> Sheet:
    """One row per treatment, then the comparators. Columns: Treatment, factors, responses, ratios.

    Where some row has fewer values of the primary response than there are replicates, `n` before the responses says how
    many. Of more than `limit` treatments the first are shown, and the best.
    """
    layout = analysis.layout
    best = best_treatment(analysis)
    style = Style.of(analysis, narrow)
    shown = [row for row in _records(analysis.treatments) if limit is None or row["position"] < limit]
    if best is not None and best >= len(shown):
        shown.append(_records(analysis.treatments.iloc[[best]])[0] | {"position": best})
    others = _records(analysis.comparators)
    rows = [_treatment_row(row, style, best) for row in shown]
    names = ("treatment", *layout.factors, *(["n"] if style.counts else []))
    values = [tuple(row[f"{response.name}_mean"] for row in (*shown, *others)) for response in layout.columns]
    values = [*([tuple(float(row["replicates"]) for row in (*shown, *others))] if style.counts else []), *values]
    first = 1 + len(layout.factors)
    return Sheet(
        headings=(*(name if name == "n" else heading(name) for name in names), *map(heading, style.columns)),
        rows=(*rows, *(_comparator_row(row, style) for row in others)),
        numeric=frozenset(range(first, first + len(values))),
        stressed=frozenset(place for place, row in enumerate(shown) if row["position"] == best),
        ruled=frozenset({len(rows) - 1}) if others else frozenset(),
        notes=(*_notes(analysis, style, best), *left_out(len(shown), len(analysis.treatments), "treatment")),
        values=dict(enumerate(values, first)),
    )


def best_treatment(analysis: Analysis) -> int | None:
    """The row of the treatment with the best mean of the primary response; None where there is no mean."""
    primary = analysis.layout.primary
    means = analysis.treatments[f"{primary.name}_mean"].to_numpy(np.float64)
    if np.isnan(means).all():
        return None
    return int(np.nanargmin(means) if primary.better == "lower" else np.nanargmax(means))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{"position": position, **row} for position, row in enumerate(frame.to_dict("records"))]  # type: ignore[dict-item]


def _treatment_row(row: dict[str, Any], style: Style, best: int | None) -> tuple[str, ...]:
    layout = style.layout
    values = {response.name: style.value(row, response) for response in layout.columns}
    if row["position"] == best:
        mean, *rest = values[layout.primary.name].split(style.between, 1)
        values[layout.primary.name] = style.between.join([f"{mean}*", *rest])
    if row["treatment"] == BASELINE and row.get(f"{BASELINE_RATIO}_mean") == 1:
        values[BASELINE_RATIO] = f"1{style.between}(reference)"
    return (str(row["treatment"]), *style.head(row), *values.values())


def _comparator_row(row: dict[str, Any], style: Style) -> tuple[str, ...]:
    # The longest word sets the width of the column.
    name = row["comparator"].replace("_", "_\n") if style.between == "\n" else row["comparator"]
    values = (style.value(row, response) for response in style.layout.columns)
    return (name, *style.head(row), *values)


@dataclass(frozen=True)
class Style:
    """How a table is written.

    What stands before an interval, which columns have exponents (None: each cell decides), and whether rows say how
    many replicates they have.
    """

    layout: Layout
    between: str
    scientific: Mapping[str, bool | None]
    counts: bool

    @classmethod
    def of(cls, analysis: Analysis, narrow: bool) -> Style:
        """One style of numbers for each column."""
        frames = [frame for frame in (analysis.treatments, analysis.comparators) if len(frame)]
        means = {response.name: f"{response.name}_mean" for response in analysis.layout.columns}
        values = {name: [value for frame in frames for value in frame[mean]] for name, mean in means.items()}
        scientific = {name: column_style(found) for name, found in values.items()}
        counts = any((frame["replicates"] < replicates_of(analysis)).any() for frame in frames)
        return cls(analysis.layout, "\n" if narrow else " ", scientific, counts)

    @property
    def columns(self) -> list[str]:
        """The names of the responses and ratios."""
        return [response.name for response in self.layout.columns]

    def head(self, row: dict[str, Any]) -> list[str]:
        """The levels of a row, and how many replicates it has where rows say that."""
        return [*(row[factor] for factor in self.layout.factors), *([str(row["replicates"])] if self.counts else [])]

    def value(self, row: dict[str, Any], response: Response) -> str:
        """The cell of one response."""
        mean, low, high = (row[f"{response.name}_{key}"] for key in ("mean", "ci_low", "ci_high"))
        if mean == low == high == 1 and response.name in self.layout.ratios:
            return "identical"
        return estimate(mean, low, high, self.scientific[response.name], self.between)


def _notes(analysis: Analysis, style: Style, best: int | None) -> list[str]:
    several = replicates_of(analysis) > 1
    primary = heading(analysis.layout.primary.name)
    notes = [_numbers_are(analysis, style)]
    if several and analysis.layout.ratios:
        notes.append("Ratios are paired within replicates.")
    if several and style.counts:
        notes.append(f"n is the number of replicates with a value of {primary}.")
    if several and _has_bare_means(analysis):
        notes.append("No interval stands where replicates do not vary, or only one has a value.")
    if best is not None:
        notes.append(f"* best treatment by {primary}{of_fewer(analysis, best)}.")
    return [*notes, *_endings(analysis)]


def of_fewer(analysis: Analysis, treatment: int) -> str:
    """`, of 2 of 5 replicates` for the row of a treatment that lacks values; empty for a complete one."""
    count, planned = int(analysis.treatments["replicates"].iloc[treatment]), replicates_of(analysis)
    return f", of {count} of {planned} replicates" if count < planned else ""


def _numbers_are(analysis: Analysis, style: Style) -> str:
    """Which column holds which kind of mean, over how many replicates."""
    replicates = replicates_of(analysis)
    if replicates == 1:
        return "Values of 1 replicate: no intervals."
    kinds: dict[str, list[str]] = {}
    for response in analysis.layout.responses:
        kinds.setdefault(MEANS[response.scale], []).append(heading(response.name))
    ratios = [heading(name) for name in analysis.layout.ratios]
    if len(kinds) > 1 and ratios:
        kinds.setdefault(MEANS["log10"], []).extend(ratios)
    parts = [f"{kind} of {joined(of)}" for kind, of in kinds.items()]
    kind = next(iter(kinds)) if len(kinds) == 1 else f"{', '.join(parts)},"
    fewer = style.counts or _lacks_diverged(analysis)
    over = f"over {'up to ' if fewer else ''}{counted(replicates, 'replicate')} with 95% t intervals."
    return f"{kind[:1].upper()}{kind[1:]} {over}"


def _lacks_diverged(analysis: Analysis) -> bool:
    """Whether runs diverged that a response shown has no stand-in for."""
    lacks = any(response.stand_in is None for response in analysis.layout.responses)
    return lacks and bool(analysis.counts["diverged"].any())


def _has_bare_means(analysis: Analysis) -> bool:
    """Whether a mean stands without an interval, treatment 1 against itself apart."""
    for response in analysis.layout.columns:
        rows = analysis.treatments
        if response.name == BASELINE_RATIO:
            rows = rows[rows["treatment"] != BASELINE]
        if (rows[f"{response.name}_mean"].notna() & rows[f"{response.name}_ci_low"].isna()).any():
            return True
    return False


def _endings(analysis: Analysis) -> list[str]:
    """How many runs ended how, and which did not end well."""
    totals = analysis.counts[["done", "diverged", "failed", "missing"]].sum()
    runs = ", ".join(f"{totals[status]} {status}" for status in totals.index)
    lines = [f"{totals.sum()} runs: {runs}."]
    for row in analysis.counts.to_dict("records"):
        bad = [f"{row[status]} {status}" for status in ("diverged", "failed", "missing") if row[status]]
        if bad and row["kind"] == "treatment":
            lines.append(f"Treatment {row['treatment']}: {', '.join(bad)}.")
    if totals["diverged"]:
        lines.append(f"Diverged runs {stand_ins(analysis, analysis.layout.responses)}.")
    return [*lines, *(weak_stand_ins(analysis) if totals["diverged"] else [])]
