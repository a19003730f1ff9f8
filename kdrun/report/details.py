"""Everything about one run, the rows of the gradient check, and the catalogue, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdrun.records import GradientCheck, Outcome, Run
from kdrun.report.text import plain, plain_lines
from kdrun.study.factor import text_of

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 60
# Names and parameters are up to 20 columns wide each, and not broken.
ROOM_FOR_COLUMNS = 110


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


def catalogue(groups: Mapping[str, Iterable[Mapping[str, Any]]], width: int) -> RenderableType:
    """Tasks and techniques: for each group its entries with `name`, `text`, `parameters`, `source`.

    Side by side where `width` columns hold all of it; on a narrower terminal below each other, each under its name.
    """
    found = [(title, list(entries)) for title, entries in groups.items()]
    if width >= ROOM_FOR_COLUMNS:
        return Group(*(_beside(title, entries) for title, entries in found))
    return Group(*(part for title, entries in found for part in _below(title, entries)))


def _beside(title: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", expand=False)
    for heading in ("Name", "What", "Parameters", "Source"):
        # Names keep their words whole; what is text may break.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("Name", "Parameters"))
    for entry in entries:
        parameters = "\n".join(_parameters(entry))
        what = Text("\n".join([entry["text"], *_measured(entry)]))
        table.add_row(Text(entry["name"]), what, Text(parameters), Text(entry["source"]))
    return table


def _below(title: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    yield Text(title, style="bold")
    for entry in entries:
        yield Text("")
        yield Padding(Text(entry["name"], style="bold"), (0, 0, 0, 2))
        yield Padding(Text(entry["text"]), (0, 0, 0, 6))
        if entry["parameters"]:
            yield Padding(Text(" · ".join(_parameters(entry))), (0, 0, 0, 6))
        for line in _measured(entry):
            yield Padding(Text(line), (0, 0, 0, 6))
        yield Padding(Text(entry["source"], style="dim"), (0, 0, 0, 6))
    yield Text("")


def _measured(entry: Mapping[str, Any]) -> list[str]:
    """The checked error of gradients, and measured effects, where there are some."""
    error = entry.get("gradient")
    checked = [f"gradient checked to {error:.1e}"] if error is not None else []
    return checked + list(entry.get("effects", ()))


def _parameters(entry: Mapping[str, Any]) -> list[str]:
    """Each with its default, as a study writes it."""
    return [f"{name}: {text_of(value)}" for name, value in entry["parameters"].items()]
