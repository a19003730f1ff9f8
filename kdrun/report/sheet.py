"""A table as text, for a terminal (Rich) and in Markdown, from the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.table import Table
from rich.text import Text

from kdrun.report.text import counted, markdown, plain

# Longer tables are cut in reports; tables/*.csv hold all of it.
LONGEST_WORD = 14


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Headings, rows of cells, which columns are numbers, rows to stress, rows that a rule follows, and what to say below.
    `values` holds, for columns whose cells begin with a number, that number in full, to sort by.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]
    stressed: frozenset[int] = frozenset()
    ruled: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    values: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


def left_out(shown: int, all_of_them: int, noun: str) -> list[str]:
    """Where the rest of a long table is."""
    if shown == all_of_them:
        return []
    return [f"Shown: {shown:,} of {counted(all_of_them, noun)}; all of them are in tables/{noun}s.csv."]


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


def natural_width(sheet: Sheet) -> int:
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
