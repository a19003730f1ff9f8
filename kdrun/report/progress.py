"""How a study that runs is shown: a live bar and table on a terminal, plain lines elsewhere. Both go to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdrun.listener import Listener, Work
from kdrun.records import GradientCheck, Outcome, Run
from kdrun.report.text import counted, plain, significant

SECONDS_BETWEEN_LINES = 1.0
REFRESHES_PER_SECOND = 4
MOST_ROWS = 40
# What the time left may be multiplied by: early on little is known.
LEAST_OVERHEAD, MOST_OVERHEAD = 0.3, 3.0


def _part(run: Run) -> tuple[str, str]:
    """What a run has in common with its counterparts in other replicates."""
    levels = ",".join(run.levels.values())
    return run.kind, str(run.treatment) if run.kind == "treatment" else f"{run.comparator or ''} {levels}"


@dataclass
class Pace:
    """How long what is left will take, from how long runs of the same part took."""

    work: Work
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    left: dict[str, Run] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.left = {run.run_id: run for run in self.work.todo}

    @property
    def done(self) -> int:
        """How many of the runs to do have ended."""
        return len(self.work.todo) - len(self.left)

    def add(self, run: Run, outcome: Outcome) -> None:
        """A run ended."""
        self.left.pop(run.run_id, None)
        self.seconds.setdefault(_part(run), []).append(outcome.seconds)

    def seconds_left(self) -> float | None:
        """Seconds until the last run ends; None before the first has."""
        if not self.seconds:
            return None
        means = {part: sum(times) / len(times) for part, times in self.seconds.items()}
        usual = sum(means.values()) / len(means)
        estimate = sum(means.get(_part(run), usual) for run in self.left.values()) / self.work.workers
        # Workers also start up, wait for teachers and write: what has passed so far says how much that is.
        spent = sum(sum(times) for times in self.seconds.values()) / self.work.workers
        overhead = (time.monotonic() - self.begun) / spent if spent else 1.0
        return estimate * min(max(overhead, LEAST_OVERHEAD), MOST_OVERHEAD)

    def left_text(self) -> str:
        """Such as `1:05 left`."""
        seconds = self.seconds_left()
        return "time left unknown" if seconds is None else f"{clock(seconds)} left"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _check_sentence(rows: Sequence[GradientCheck]) -> str:
    passed = sum(row.passed for row in rows)
    worst = max((row.max_relative_error for row in rows if row.dtype == "float64"), default=0.0)
    return f"gradients: {passed} of {len(rows)} checks passed, worst relative error {worst:.1e} in double precision"


class Lines(Listener):
    """One plain line for what happens, at most one each second while runs end quickly."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last_line = 0.0

    def checking(self, combinations: int) -> None:
        """Say what begins."""
        self._write(f"checking the gradients of {combinations} combinations")

    def checked(self, rows: Sequence[GradientCheck]) -> None:
        """Say how it went."""
        self._write(_check_sentence(rows))

    def noticed(self, text: str) -> None:
        """Say it."""
        self._write(plain(text))

    def starting(self, work: Work) -> None:
        """Say how much there is to do."""
        self._pace = Pace(work)
        self._write(_starting_sentence(work))

    def finished(self, run: Run, outcome: Outcome) -> None:
        """Say what came of a run; a failed run is always told."""
        self._pace.add(run, outcome)
        now = time.monotonic()
        due = now - self._last_line >= SECONDS_BETWEEN_LINES or not self._pace.left
        if due or outcome.status != "done":
            self._last_line = now
            total = len(self._pace.work.todo)
            result = _result_text(outcome, self._pace.work.response)
            self._write(f"[{self._pace.done}/{total}] {plain(run.title)}: {result}; {self._pace.left_text()}")

    def used(self, memory: int) -> None:
        """Say how much."""
        self._write(_memory_sentence(memory))

    def repeating(self, runs: int) -> None:
        """Say what begins."""
        self._write(f"running the {runs} runs of replicate 1 again")

    def repeated(self, same: bool) -> None:
        """Say how it went."""
        self._write("the same bits" if same else "DIFFERENT bits")


def _starting_sentence(work: Work) -> str:
    stored = len({run.run_id for run in work.planned} & work.stored.keys() - {run.run_id for run in work.todo})
    kept = f", {stored} stored already" if stored else ""
    memory = f", each with up to {work.memory / 1e9:.1f} GB of memory" if work.memory is not None else ""
    return f"{len(work.todo)} of {len(work.planned)} runs to do on {counted(work.workers, 'worker')}{memory}{kept}"


def _memory_sentence(memory: int) -> str:
    return f"the largest worker used {memory / 1e6:,.0f} MB of memory"


def _result_text(outcome: Outcome, response: str) -> str:
    if outcome.status != "done":
        return f"{outcome.status}: {plain(outcome.reason or 'no reason given')}"
    return f"{response} {outcome.responses.get(response, float('nan')):.3g} in {outcome.seconds:.2g} s"


class Screen(Listener):
    """A bar with the time left, and the table of treatments filling in."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def checking(self, combinations: int) -> None:
        """Show that something is going on."""
        self._console.print(f"checking the gradients of {combinations} combinations", style="dim")

    def checked(self, rows: Sequence[GradientCheck]) -> None:
        """Say how it went."""
        self._console.print(_check_sentence(rows))

    def noticed(self, text: str) -> None:
        """Say it."""
        self._console.print(Text(plain(text), style="yellow"))

    def starting(self, work: Work) -> None:
        """Show the empty table."""
        self._pace, self._values = Pace(work), _stored_values(work)
        self._live = Live(
            get_renderable=self._picture, console=self._console, refresh_per_second=REFRESHES_PER_SECOND, transient=True
        )
        self._live.start()

    def finished(self, run: Run, outcome: Outcome) -> None:
        """Fill in a value."""
        self._pace.add(run, outcome)
        value = outcome.responses.get(self._pace.work.response)
        if outcome.status == "done" and value is not None:
            self._values.setdefault(_part(run), []).append(value)
        if outcome.status == "failed":
            self._console.print(Text(f"{run.title}: {_result_text(outcome, self._pace.work.response)}", style="red"))

    def ended(self) -> None:
        """Take the live table away; the final one follows."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def used(self, memory: int) -> None:
        """Say how much."""
        self._console.print(_memory_sentence(memory), style="dim")

    def repeating(self, runs: int) -> None:
        """Say what begins."""
        self._console.print(f"running the {runs} runs of replicate 1 again", style="dim")

    def repeated(self, same: bool) -> None:
        """Say how it went."""
        self._console.print("the same bits" if same else Text("DIFFERENT bits", style="bold red"))

    def _picture(self) -> RenderableType:
        total = max(len(self._pace.work.todo), 1)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            f"{self._pace.done}/{total} runs",
            ProgressBar(total=total, completed=self._pace.done, width=40),
            self._pace.left_text(),
        )
        return Group(live_table(self._pace.work, self._values), bar)


def _stored_values(work: Work) -> dict[tuple[str, str], list[float]]:
    values: dict[tuple[str, str], list[float]] = {}
    for run in work.planned:
        outcome = work.stored.get(run.run_id)
        if outcome is not None and outcome.status == "done" and work.response in outcome.responses:
            values.setdefault(_part(run), []).append(outcome.responses[work.response])
    return values


def live_table(work: Work, values: Mapping[tuple[str, str], list[float]]) -> Table:
    """The median of the primary response so far, for each treatment and comparator."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Treatment", "Levels", "Done", f"Median {work.response}"):
        table.add_column(heading, justify="right" if heading in ("Done",) or heading.startswith("Median") else "left")
    parts = _parts(work.planned)
    for part, (run, replicates) in list(parts.items())[:MOST_ROWS]:
        found = values.get(part, [])
        name = str(run.treatment) if run.kind == "treatment" else run.comparator or run.kind
        median = significant(float(np.median(found))) if found else "…"
        levels = ", ".join(f"{factor}={level}" for factor, level in run.levels.items())
        table.add_row(Text(name), Text(plain(levels)), f"{len(found)}/{replicates}", median)
    if len(parts) > MOST_ROWS:
        table.add_row(Text("…"), Text(f"and {len(parts) - MOST_ROWS} more"), "", "")
    return table


def _parts(runs: Iterable[Run]) -> dict[tuple[str, str], tuple[Run, int]]:
    """Each part with one of its runs and their number, treatments first."""
    found: dict[tuple[str, str], tuple[Run, int]] = {}
    for run in runs:
        first, count = found.get(_part(run), (run, 0))
        found[_part(run)] = (first, count + 1)
    order = {"treatment": 0, "comparator": 1, "teacher": 2}
    return dict(sorted(found.items(), key=lambda item: order[item[1][0].kind]))
