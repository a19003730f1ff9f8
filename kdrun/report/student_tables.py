"""The table of what quantized students save and take."""

from __future__ import annotations

import math

from rich.table import Table

from kdrun.report.outcomes import replicates_of
from kdrun.report.sheet import Sheet, left_out, markdown_table, rich_table
from kdrun.report.text import heading, significant
from kdrun.report.treatment_tables import TERMINAL_ROWS
from kdrun.stats.analysis import Analysis
from kdrun.stats.frame import BASELINE

TITLE = "Size and cost"
COMPRESSION_IS = (
    "Compression: bits of the teacher in float32 over the stored bits of the student: its codes, 2 bits for a ternary"
    " one, and 32 bits for each scale that rebuilds weights and for everything that is not quantized."
)
COST_IS = (
    f"Training cost: the time of a run, where several train together its share, over that of treatment {BASELINE} in"
    " the same replicate, teachers' training not counted{over}."
    " Times differ from one machine and one day to the next, and are in no digest."
)


def student_sheet(analysis: Analysis, limit: int | None = None) -> Sheet | None:
    """One row per treatment, of more than `limit` the first; None where no student is quantized."""
    if not analysis.has_students:
        return None
    factors = tuple(analysis.layout.factors)
    shown = analysis.treatments.head(len(analysis.treatments) if limit is None else limit)
    values = {name: tuple(shown[name].astype(float)) for name in UNITS}
    cells = [[_cell(value, UNITS[name]) for value in values[name]] for name in UNITS]
    heads = shown[["treatment", *factors]].itertuples(index=False)
    first = 1 + len(factors)
    return Sheet(
        headings=tuple(map(heading, ("treatment", *factors, *UNITS))),
        rows=tuple((*map(str, head), *row) for head, *row in zip(heads, *cells, strict=True)),
        numeric=frozenset(range(first, first + len(UNITS))),
        notes=(COMPRESSION_IS, _retention_is(analysis), _cost_is(analysis), *_rest(analysis, len(shown))),
        values=dict(enumerate(values.values(), first)),
    )


# The columns, and the unit of each.
UNITS = {"compression": "×", "retention": "%", "training_cost": "×"}


def _cell(value: float, unit: str) -> str:
    return "–" if math.isnan(value) else f"{significant(value)}{unit}"


def _rest(analysis: Analysis, shown: int) -> list[str]:
    return left_out(shown, len(analysis.treatments), "treatment")


def _retention_is(analysis: Analysis) -> str:
    """Which ratio it is, and which mean."""
    primary = analysis.layout.primary
    name = heading(primary.name)
    ratio = (
        f"{name} of the student over that of its teacher"
        if primary.better == "higher"
        else f"{name} of the teacher over that of its student"
    )
    mean = "geometric mean" if primary.scale == "log10" else "mean"
    over = f", {mean} of the ratios over replicates" if replicates_of(analysis) > 1 else ""
    return f"Retention: {ratio} in the same replicate{over}; 100% is as good as the teacher."


def _cost_is(analysis: Analysis) -> str:
    return COST_IS.format(over=", median over replicates" if replicates_of(analysis) > 1 else "")


def student_rich(analysis: Analysis) -> Table | None:
    """The table for a terminal."""
    sheet = student_sheet(analysis, TERMINAL_ROWS)
    return None if sheet is None else rich_table(sheet, TITLE)


def student_markdown(analysis: Analysis, limit: int) -> str:
    """The table in Markdown, under a heading of its own; empty where there is none."""
    sheet = student_sheet(analysis, limit)
    return f"### {TITLE}\n\n{markdown_table(sheet)}" if sheet else ""
