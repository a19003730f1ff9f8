"""The tables that a person reads, for a terminal (Rich) and in Markdown, from the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from kdrun.report.text import estimate, heading, is_scientific, markdown, plain, significant
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS
from kdrun.stats.frame import BASELINE, BASELINE_RATIO
from kdrun.stats.scales import Layout, Response

MEANS = {"log10": "geometric means", "linear": "means", "logit": "means on the logit scale"}


LONGEST_WORD = 14


@dataclass(frozen=True)
class Sheet:
    """A table as text: headings, rows of cells, rows to stress, columns of numbers, and what to say below it."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]
    stressed: frozenset[int] = frozenset()
    ruled: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def treatment_table(analysis: Analysis, title: str = "", width: int = 100) -> Table:
    """The table of treatments, then comparators, for a terminal of `width` columns.

    Intervals stand beside their means where all fit, below them otherwise.
    """
    wide = treatment_sheet(analysis)
    return rich_table(wide if _natural_width(wide) <= width else treatment_sheet(analysis, narrow=True), title)


def treatment_markdown(analysis: Analysis) -> str:
    """The same table in Markdown, its notes below it."""
    return markdown_table(treatment_sheet(analysis))


def effects_rich(analysis: Analysis) -> Table:
    """Main effects and interactions for a terminal."""
    return rich_table(effects_sheet(analysis), "Effects")


def criteria_rich(analysis: Analysis) -> Table:
    """The criteria as a checklist for a terminal, evidence beside each."""
    return rich_table(criteria_sheet(analysis), "Criteria")


def treatment_sheet(analysis: Analysis, narrow: bool = False) -> Sheet:
    """One row per treatment, then the comparators. Columns: Treatment, factors, responses, ratios."""
    layout = analysis.layout
    best = best_treatment(analysis)
    style = Style.of(analysis, narrow)
    treatments = [_treatment_row(row, style, best) for row in _records(analysis.treatments)]
    comparators = [_comparator_row(row, style) for row in _records(analysis.comparators)]
    names = ("treatment", *layout.factors, *(response.name for response in layout.columns))
    first = 1 + len(layout.factors)
    return Sheet(
        headings=tuple(heading(name) for name in names),
        rows=(*treatments, *comparators),
        numeric=frozenset(range(first, len(names))),
        stressed=frozenset() if best is None else frozenset({best}),
        ruled=frozenset({len(treatments) - 1}) if comparators else frozenset(),
        notes=tuple(_notes(analysis, best)),
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
    what = (
        f"{' and '.join(kinds)[:1].upper()}{' and '.join(kinds)[1:]} over {replicates} replicate{'s'[: replicates > 1]}"
    )
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


def effects_sheet(analysis: Analysis) -> Sheet:
    """One row per term and contrast: estimate on the analysis scale, ratio where that is logarithmic, p, Holm's p."""
    several = len(analysis.layout.judged) > 1
    rows = [_effect_row(row, analysis.layout, several) for row in analysis.effects.to_dict("records")]
    headings = (*(("Response",) if several else ()), "Effect", "Estimate", "Ratio", "p", "p (Holm)")
    first = 2 if several else 1
    return Sheet(headings, tuple(rows), frozenset(range(first, len(headings))), notes=_effect_notes(analysis))


def _effect_row(row: dict[Any, Any], layout: Layout, several: bool) -> tuple[str, ...]:
    name = f"{row['term']} ({row['contrast']})" if row["contrast"] else row["term"]
    cells = (
        name,
        "" if row["contrast"] == OMNIBUS else estimate(row["estimate"], row["ci_low"], row["ci_high"]),
        "" if row["ratio"] != row["ratio"] else estimate(row["ratio"], row["ratio_low"], row["ratio_high"]),
        significant(row["p_value"]),
        significant(row["p_holm"]),
    )
    return (heading(row["response"]), *cells) if several else cells


def _effect_notes(analysis: Analysis) -> tuple[str, ...]:
    if not len(analysis.effects):
        return ("Effects are estimated for full factorials.",)
    scales = ", ".join(
        f"{heading(name)} on the {analysis.layout.response(name).scale} scale" for name in analysis.layout.judged
    )
    df = analysis.effects["df"].min()
    if analysis.effects["estimate"].isna().all():
        return (f"{scales}; no replicate is complete, so there are no estimates.",)
    if np.isnan(df):
        return (f"{scales}; one replicate, so no intervals and no tests.",)
    return (
        f"{scales}; each effect estimated inside every replicate, 95% t intervals with {int(df)} degrees of freedom"
        f" over the {int(df) + 1} complete replicates.",
        "An effect is second level minus first; an interaction half the difference of the simple effects.",
    )


def criteria_sheet(analysis: Analysis) -> Sheet:
    """One row per criterion: whether it holds, its name, the evidence."""
    rows = [
        ("yes" if row["holds"] else "NO", f"{row['name']}{' (required)' if row['required'] else ''}", row["evidence"])
        for row in analysis.criteria.to_dict("records")
    ]
    return Sheet(("Holds", "Criterion", "Evidence"), tuple(rows), frozenset())


def criteria_markdown(analysis: Analysis) -> str:
    """The criteria as a checklist, evidence beside each."""
    lines = [
        f"- [{'x' if row['holds'] else ' '}] **{markdown(row['name'])}**{' (required)' if row['required'] else ''}:"
        f" {markdown(row['evidence'])}"
        for row in analysis.criteria.to_dict("records")
    ]
    return "\n".join(lines)


def rich_table(sheet: Sheet, title: str = "") -> Table:
    """A sheet for a terminal. No text of it is read as markup."""
    table = Table(
        title=Text(plain(title)) if title else None,
        caption=_text("\n".join(sheet.notes)) if sheet.notes else None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for index, name in enumerate(sheet.headings):
        numeric = index in sheet.numeric
        # Names keep their words whole; intervals may break between their bounds.
        longest = max((len(line) for row in sheet.rows for line in row[index].split("\n")), default=0)
        least = None if numeric else min(max(longest, len(name)), LONGEST_WORD)
        table.add_column(_text(name), justify="right" if numeric else "left", overflow="fold", min_width=least)
    for index, row in enumerate(sheet.rows):
        style = "bold green" if index in sheet.stressed else None
        table.add_row(*(_text(cell) for cell in row), style=style, end_section=index in sheet.ruled)
    return table


def _text(cell: str) -> Text:
    return Text("\n".join(plain(line) for line in cell.split("\n")))


def _natural_width(sheet: Sheet) -> int:
    """How wide the sheet is with every cell on one line."""
    cells = [sheet.headings, *sheet.rows]
    return sum(max(Text(row[column]).cell_len for row in cells) + 2 for column in range(len(sheet.headings)))


def markdown_table(sheet: Sheet) -> str:
    """A sheet in Markdown, its notes below it. No text of it is read as markup."""
    rule = ["---:" if index in sheet.numeric else "---" for index in range(len(sheet.headings))]
    body = [_markdown_row(row, index in sheet.stressed) for index, row in enumerate(sheet.rows)]
    lines = [_markdown_row(sheet.headings), f"| {' | '.join(rule)} |", *body]
    return "\n".join([*lines, *(f"\n{markdown(note)}" for note in sheet.notes)])


def _markdown_row(cells: Sequence[str], stressed: bool = False) -> str:
    escaped = [markdown(cell) for cell in cells]
    return f"| {' | '.join(f'**{cell}**' if stressed and cell else cell for cell in escaped)} |"
