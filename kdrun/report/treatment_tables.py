"""The table of treatments and comparators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from kdrun.report.sheet import Sheet, left_out, markdown_table, natural_width, rich_table
from kdrun.report.text import counted, estimate, heading, is_scientific
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

    Of more than `limit` treatments the first are shown, and the best.
    """
    layout = analysis.layout
    best = best_treatment(analysis)
    style = Style.of(analysis, narrow)
    shown = [row for row in _records(analysis.treatments) if limit is None or row["position"] < limit]
    if best is not None and best >= len(shown):
        shown.append(_records(analysis.treatments.iloc[[best]])[0] | {"position": best})
    rows = [_treatment_row(row, style, best) for row in shown]
    comparators = [_comparator_row(row, style) for row in _records(analysis.comparators)]
    names = ("treatment", *layout.factors, *(response.name for response in layout.columns))
    first = 1 + len(layout.factors)
    return Sheet(
        headings=tuple(heading(name) for name in names),
        rows=(*rows, *comparators),
        numeric=frozenset(range(first, len(names))),
        stressed=frozenset(place for place, row in enumerate(shown) if row["position"] == best),
        ruled=frozenset({len(rows) - 1}) if comparators else frozenset(),
        notes=(*_notes(analysis, best), *left_out(len(shown), len(analysis.treatments), "treatment")),
        values={
            first + place: tuple(row[f"{response.name}_mean"] for row in (*shown, *_records(analysis.comparators)))
            for place, response in enumerate(layout.columns)
        },
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
    return (str(row["treatment"]), *(row[factor] for factor in layout.factors), *values.values())


def _comparator_row(row: dict[str, Any], style: Style) -> tuple[str, ...]:
    # The longest word sets the width of the column.
    name = row["comparator"].replace("_", "_\n") if style.between == "\n" else row["comparator"]
    values = (style.value(row, response) for response in style.layout.columns)
    return (name, *(row[factor] for factor in style.layout.factors), *values)


@dataclass(frozen=True)
class Style:
    """How the numbers of a table are written: what stands before an interval, and which columns have exponents."""

    layout: Layout
    between: str
    scientific: frozenset[str]

    @classmethod
    def of(cls, analysis: Analysis, narrow: bool) -> Style:
        """One style of numbers for each column."""
        frames = [frame for frame in (analysis.treatments, analysis.comparators) if len(frame)]
        means = {response.name: f"{response.name}_mean" for response in analysis.layout.columns}
        values = {name: [value for frame in frames for value in frame[mean]] for name, mean in means.items()}
        scientific = frozenset(name for name, found in values.items() if is_scientific(found))
        return cls(analysis.layout, "\n" if narrow else " ", scientific)

    def value(self, row: dict[str, Any], response: Response) -> str:
        """The cell of one response."""
        mean, low, high = (row[f"{response.name}_{key}"] for key in ("mean", "ci_low", "ci_high"))
        if mean == low == high == 1 and response.name in self.layout.ratios:
            return "identical"
        return estimate(mean, low, high, response.name in self.scientific, self.between)


def _notes(analysis: Analysis, best: int | None) -> list[str]:
    layout = analysis.layout
    replicates = analysis.runs["replicate"].nunique()
    kinds = dict.fromkeys(MEANS[response.scale] for response in layout.responses)
    kind = " and ".join(kinds)
    what = f"{kind[:1].upper()}{kind[1:]} over {counted(replicates, 'replicate')}"
    notes = [f"{what} with 95% t intervals." if replicates > 1 else f"{what}: no intervals."]
    if layout.ratios:
        notes.append("Ratios are paired within replicates.")
    if replicates > 1 and _has_bare_means(analysis):
        notes.append("No interval stands where replicates do not vary, or only one has a value.")
    if best is not None:
        notes.append(f"* best treatment by {heading(layout.primary.name)}.")
    return [*notes, *_endings(analysis)]


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
    stand_in = analysis.layout.primary.stand_in
    if totals["diverged"]:
        counted = (
            "are left out" if stand_in is None else f"count as {heading(analysis.layout.primary.name)} {stand_in:g}"
        )
        lines.append(f"Diverged runs {counted}.")
    return lines
