"""Everything about one run, the rows of the gradient check, and the catalogue, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdrun.records import GradientCheck, Outcome, Run
from kdrun.report.text import plain, plain_lines

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 60


def gradient_table(rows: Sequence[GradientCheck]) -> Table:
    """Each row of the gradient check and whether it passed."""
    table = Table(box=box.SIMPLE_HEAD, title="Gradients against finite differences", title_justify="left")
    for heading, justify in (
        ("Combination", "left"), ("Precision", "left"), ("Parameters", "right"),
        ("Worst relative error", "right"), ("Tolerance", "right"), ("Passed", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        passed = Text("yes") if row.passed else Text("NO", style="bold red")
        table.add_row(
            Text(row.name),
            row.dtype,
            str(row.parameters),
            f"{row.max_relative_error:.2e}",
            f"{row.tolerance:g}",
            passed,
        )
    return table


def run_details(run: Run, outcome: Outcome, spec: Mapping[str, Any]) -> RenderableType:
    """Levels, responses, series and error of one run."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("run", Text(run.run_id))
    facts.add_row("is", Text(plain(run.title)))
    for factor, level in run.levels.items():
        facts.add_row(Text(plain(factor)), Text(plain(level)))
    facts.add_row("status", Text(outcome.status, style="bold" if outcome.status == "done" else "bold red"))
    facts.add_row("seconds", f"{outcome.seconds:.3g}")
    facts.add_row("needs", Text(", ".join(run.needs) or "nothing"))
    for name, value in outcome.responses.items():
        facts.add_row(Text(plain(name)), Text(repr(value)))
    for name, series in outcome.history.items():
        facts.add_row(Text(name), Text(sparkline(series.values.tolist())))
        first, last = series.values[0], series.values[-1]
        facts.add_row("", Text(f"{first:.6g} at epoch {series.epochs[0]}, {last:.6g} at epoch {series.epochs[-1]}"))
    for section, value in spec.items():
        facts.add_row(Text(section), Text(plain(str(value))))
    parts: list[RenderableType] = [facts]
    if outcome.error:
        parts += [Text(""), Text(plain_lines(outcome.error.rstrip()))]
    return Group(*parts)


def sparkline(values: Sequence[float]) -> str:
    """A line of blocks, low to high, of at most `SPARK_WIDTH` values."""
    chosen = (
        [values[i * len(values) // SPARK_WIDTH] for i in range(SPARK_WIDTH)] if len(values) > SPARK_WIDTH else values
    )
    low, high = min(chosen), max(chosen)
    span = (high - low) or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in chosen)


def catalogue(groups: Mapping[str, Iterable[Mapping[str, Any]]]) -> RenderableType:
    """Tasks and techniques: for each group its entries with `name`, `text`, `parameters`, `source`."""
    parts: list[RenderableType] = []
    for title, entries in groups.items():
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", expand=False)
        for heading in ("Name", "What", "Parameters", "Source"):
            table.add_column(heading, overflow="fold")
        for entry in entries:
            parameters = "\n".join(f"{name}: {value}" for name, value in entry["parameters"].items())
            table.add_row(Text(entry["name"]), Text(entry["text"]), Text(parameters), Text(entry["source"]))
        parts.append(table)
    return Group(*parts)
