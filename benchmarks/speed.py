"""Speed of kdrun beside what one would use instead, in one run, and how near it comes to what the machine can do.

    python benchmarks/speed.py [--rounds N] [--quick] [--markdown] [--core N] [--python PATH]

Contestants live in processes of their own and compute one at a time, on the same core and with one thread, in rounds in
which each has its turn. Before any timing they must show the same losses from the same weights and data; where they do
not, the command ends with code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

Reply = dict[str, Any]
HERE = Path(__file__).parent
WIDTHS = (16, 32)
STUDENT_EPOCHS, TEACHER_EPOCHS = 1500, 2000
REPLICATES = 16
KDRUN = f"kdrun ×{REPLICATES}"
FIRST_TOLERANCE, LATER_TOLERANCE = 1e-5, 1e-3
BUSY_LOAD, SHARED_CORE = 0.5, 0.95
# What the whole study is to take, on a machine where the student runs of both widths take JAX so long.
WANTED_SECONDS, WANTED_WHERE = 1.25, (0.35, 0.57)
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, epochs of a JAX student, share of the epochs of the study in JAX, and so on."""

    rounds: int
    jax_epochs: int
    jax_share: float
    torch_epochs: int
    workers_replicates: int


FULL = Effort(rounds=5, jax_epochs=1500, jax_share=0.05, torch_epochs=20, workers_replicates=20)
QUICK = Effort(rounds=2, jax_epochs=300, jax_share=0.05, torch_epochs=10, workers_replicates=2)


class Unequal(Exception):
    """A contestant does not compute what kdrun computes."""


class Failed(Exception):
    """A contestant could not do what it was asked to."""


class Contestant:
    """A process that answers requests while all others wait."""

    def __init__(self, module: str, python: str, scratch: str) -> None:
        self.module = module
        self._process = subprocess.Popen(
            [python, "-m", f"contestants.{module}"],
            cwd=HERE,
            env=os.environ | ONE_THREAD | {"TORCHINDUCTOR_CACHE_DIR": scratch},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> Reply:
        """The reply to one request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply: Reply = json.loads(line) if line else {"error": f"it ended with code {self._process.wait()}"}
        if "error" in reply:
            raise Failed(f"{self.module}, asked to {do}: {reply['error']}")
        return reply

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class Bench:
    """Where and how contestants run: `scratch` is a folder of this run, `python` has JAX and PyTorch."""

    stack: ExitStack
    scratch: Path
    core: int
    python: str
    effort: Effort

    @property
    def start_file(self) -> str:
        """Arrays that every contestant starts from."""
        return str(self.scratch / "start.npz")

    def start(self, module: str, library: str = "") -> Contestant | None:
        """A contestant on the core, which ends with the stack; None where its library is not installed."""
        python = self.python if library else sys.executable
        if library and not installed(library, python):
            return None
        with affinity({self.core}):
            return self.start_anywhere(module, python)

    def start_anywhere(self, module: str, python: str = sys.executable) -> Contestant:
        """A contestant on all cores."""
        contestant = Contestant(module, python, str(self.scratch))
        self.stack.callback(contestant.close)
        return contestant


@dataclass
class Entry:
    """A row of the tables, with `student_alone` of the first: whom to ask, and with what arguments."""

    name: str
    contestant: Contestant | None
    arguments: Reply = field(default_factory=dict)
    missing: str = ""
    whole_study: bool = False
    student_alone: bool = False
    compilation: dict[int, float] = field(default_factory=dict)
    study_compilation: float = 0.0


@dataclass
class Timings:
    """Seconds by (row, column), one for every round."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    least_share: float = 1.0

    def add(self, row: str, column: str, reply: Reply) -> None:
        """One more round's."""
        self.seconds.setdefault((row, column), []).append(reply["seconds"])
        self.least_share = min(self.least_share, reply.get("share", 1.0))

    def of(self, row: str, column: str) -> list[float]:
        """Seconds of all rounds; none where it was not measured."""
        return self.seconds.get((row, column), [])

    def ratio(self, row: str, column: str, to: str) -> list[float]:
        """Seconds of one row over those of another, round by round."""
        return [a / b for a, b in zip(self.of(row, column), self.of(to, column), strict=False)]


@dataclass(frozen=True)
class Table:
    """A table of text, and what must be said below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def main() -> int:
    """Measure and print."""
    options = arguments()
    effort = QUICK if options.quick else FULL
    warn_if_busy()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(stack, scratch, options.core, options.python, effort)
        try:
            entries = prepared(bench)
            timings, rooflines = measured(bench, entries, options.rounds or effort.rounds)
        except (Failed, Unequal) as error:
            say(f"error: {error}")
            return 1
    if timings.least_share < SHARED_CORE:
        say(f"warning: a contestant had only {timings.least_share:.0%} of its core; the spread shows what that did")
    show(tables(entries, timings, rooflines, effort), options.markdown)
    return 0


def arguments() -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, help=f"turns of each contestant (default {FULL.rounds})")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and fewer epochs of slow contestants")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)), help="the core to compute on")
    parser.add_argument("--python", default=sys.executable, help="Python that has JAX and PyTorch")
    return parser.parse_args()


def say(text: str) -> None:
    """A line about the progress of the command."""
    print(text, file=sys.stderr, flush=True)


def warn_if_busy() -> None:
    """Say so where the machine has something else to do."""
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        say(f"warning: the load average is {load:.2f}: something else runs or ran a moment ago, and times will spread")


# ------------------------------------------------------------------------------------------------ contestants


@contextmanager
def affinity(cores: set[int]) -> Iterator[None]:
    """Processes started in this block run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def installed(library: str, python: str) -> bool:
    """Whether that Python can import the library."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({library!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def prepared(bench: Bench) -> list[Entry]:
    """All rows, compiled, warm and checked against kdrun, which is the first."""
    say("kdrun: one replicate, untimed")
    kdrun = bench.start("kdrun_study")
    trainings = kdrun.ask("start", place=bench.start_file, replicates=REPLICATES)["trainings"]
    together = Entry(KDRUN, kdrun, {"replicates": REPLICATES, "in_step": True}, whole_study=True)
    alone = Entry("kdrun ×1", kdrun, {"replicates": REPLICATES, "in_step": False}, student_alone=True)
    return [together, alone, prepared_jax(bench, trainings), *prepared_torch(bench, trainings)]


def prepared_jax(bench: Bench, trainings: list[Reply]) -> Entry:
    """JAX, its trainings compiled and checked."""
    entry = Entry(f"JAX ×{REPLICATES}", bench.start("jax_study", "jax"), whole_study=True)
    if entry.contestant is None:
        entry.missing = "not installed"
        return entry
    say("JAX: compiling, and checking the losses of every training")
    effort = {"student_epochs": bench.effort.jax_epochs, "study_share": bench.effort.jax_share}
    reply = entry.contestant.ask("start", place=bench.start_file, trainings=trainings, **effort)
    for training in trainings:
        check_losses(entry.name, training, reply["losses"][training["title"]])
    entry.compilation = {int(hidden): seconds for hidden, seconds in reply["student_compilation"].items()}
    entry.study_compilation = reply["study_compilation"]
    return entry


def prepared_torch(bench: Bench, trainings: list[Reply]) -> Iterator[Entry]:
    """PyTorch in its forms, each checked."""
    torch = bench.start("torch_student", "torch")
    for name, replicates, compiled in (
        ("PyTorch eager ×1", 1, False),
        (f"PyTorch eager ×{REPLICATES}", REPLICATES, False),
        (f"PyTorch compiled ×{REPLICATES}", REPLICATES, True),
    ):
        entry = Entry(name, torch, {"replicates": replicates, "compiled": compiled})
        if torch is None or (compiled and not shutil.which("g++")):
            entry.contestant, entry.missing = None, "no C++ compiler" if torch else "not installed"
        else:
            say(f"{name}: {'compiling and ' if compiled else ''}checking the losses")
            check_torch(bench, entry, trainings)
            entry.arguments["epochs"] = bench.effort.torch_epochs
        yield entry


def check_torch(bench: Bench, entry: Entry, trainings: list[Reply]) -> None:
    """Make the students of one form of PyTorch, and check them."""
    for hidden in WIDTHS:
        reply = entry.contestant.ask("start", place=bench.start_file, hidden=hidden, **entry.arguments)
        check_losses(entry.name, student_of(trainings, hidden), reply["losses"])
        if entry.arguments["compiled"]:
            entry.compilation[hidden] = reply["compilation"]


def student_of(trainings: list[Reply], hidden: int) -> Reply:
    """The training that is compared: straight-through estimator, no distillation."""
    wanted = (hidden, "ste", "none")
    return next(one for one in trainings if (one["hidden"], one["gradient"], one["distillation"]) == wanted)


def check_losses(name: str, training: Reply, found: Sequence[float]) -> None:
    """The loss of the first epoch, and those of a few later ones that kdrun has kept."""
    for epoch in sorted(map(int, training["losses"])):
        if epoch >= len(found):
            return
        expected = training["losses"][str(epoch)]
        error = abs(found[epoch] - expected) / abs(expected)
        tolerance = LATER_TOLERANCE if epoch else FIRST_TOLERANCE
        if not error <= tolerance:
            raise Unequal(
                f"{name} does not compute the same as kdrun: {training['title']}, epoch {epoch}: its loss is "
                f"{found[epoch]:.8g}, kdrun's {expected:.8g}; the relative difference {error:.1e} exceeds {tolerance:g}"
            )


# ------------------------------------------------------------------------------------------------ rounds


def measured(bench: Bench, entries: list[Entry], rounds: int) -> tuple[Timings, list[Reply]]:
    """Timings, and the roofline of every round."""
    workers = prepared_workers(bench)
    timings, rooflines = Timings(), []
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        for entry in entries:
            time_entry(entry, timings)
        rooflines.append(entries[0].contestant.ask("roofline"))
        for count in (1, 2) if workers else ():
            reply = workers.ask("study", workers=count, replicates=bench.effort.workers_replicates)
            timings.add("workers", str(count), reply)
    return timings, rooflines


def prepared_workers(bench: Bench) -> Contestant | None:
    """Warm pools of one and of two workers, free to use all cores; None on one core."""
    if len(os.sched_getaffinity(0)) < 2:
        return None
    say("kdrun: warming its pools of one and two workers")
    workers = bench.start_anywhere("engine_workers")
    workers.ask("start", workers=[1, 2])
    return workers


def time_entry(entry: Entry, timings: Timings) -> None:
    """One turn of one contestant."""
    if entry.contestant is None:
        return
    for hidden in WIDTHS:
        reply = entry.contestant.ask("student", hidden=hidden, **entry.arguments)
        timings.add(entry.name, f"{hidden}", reply)
    if entry.whole_study:
        timings.add(entry.name, "study", entry.contestant.ask("study"))


# ------------------------------------------------------------------------------------------------ tables


def tables(entries: list[Entry], timings: Timings, rooflines: list[Reply], effort: Effort) -> list[Table]:
    """All tables."""
    return [
        student_table(entries, timings, effort),
        study_table(entries, timings, effort),
        workers_table(timings, effort),
        roofline_table(rooflines, timings),
    ]


def student_table(entries: list[Entry], timings: Timings, effort: Effort) -> Table:
    """One student run by width."""
    columns = ["", *(cell for hidden in WIDTHS for cell in (f"H = {hidden}: seconds", "over kdrun", "compiled"))]
    rows = [
        [entry.name, *(cell for hidden in WIDTHS for cell in student_cells(entry, hidden, timings))]
        for entry in entries
    ]
    jax = "in full" if effort.jax_epochs == STUDENT_EPOCHS else f"over {effort.jax_epochs} epochs, scaled"
    notes = (
        f"×{REPLICATES}: so many students at once, each of another replicate; the seconds of all over {REPLICATES}.",
        "kdrun has them in step as in a study whose replicates have one such run; ×1: one after another.",
        f"JAX (jit, scan over epochs and steps, vmap over students) is timed {jax};",
        f"PyTorch (fused Adam) over {effort.torch_epochs} epochs, scaled. torch.compile compiles the recurrence, five",
        "steps a graph. Compilation is not in the seconds.",
        f"Losses equal kdrun's to {FIRST_TOLERANCE:g} in the first epoch and to {LATER_TOLERANCE:g} up to the 25th.",
    )
    return Table(f"One student run of the sine study, {STUDENT_EPOCHS} epochs, one core", columns, rows, notes)


def student_cells(entry: Entry, hidden: int, timings: Timings) -> list[str]:
    """Seconds, ratio and compilation."""
    if entry.missing:
        return [entry.missing, "", ""]
    compilation = f"{entry.compilation[hidden]:.1f} s" if hidden in entry.compilation else ""
    ratio = timings.ratio(entry.name, str(hidden), KDRUN)
    return [spread(timings.of(entry.name, str(hidden))), f"{statistics.median(ratio):.1f}×", compilation]


def study_table(entries: list[Entry], timings: Timings, effort: Effort) -> Table:
    """One replicate of the study."""
    notes = (
        "kdrun: 2 teachers, 8 students, 3 comparators with their searches, evaluation. The others: the 10 trainings.",
        *(jax_note(entry, effort) for entry in entries if entry.study_compilation),
        "Estimated: the epochs of the 10 trainings at the pace of the student run of their width.",
        *wanted_note(timings),
    )
    named = [("kdrun" if entry.name == KDRUN else entry.name, entry) for entry in entries if not entry.student_alone]
    rows = [[name, *study_cells(entry, timings)] for name, entry in named]
    return Table("One replicate of the sine study, warm, one core", ["", "seconds", "over kdrun"], rows, notes)


def wanted_note(timings: Timings) -> tuple[str, ...]:
    """How near the study comes to what it is to take, where JAX was timed to scale that by."""
    jax = [
        sum(pair) for pair in zip(*(timings.of(f"JAX ×{REPLICATES}", str(hidden)) for hidden in WIDTHS), strict=True)
    ]
    if not jax:
        return ()
    wanted = [WANTED_SECONDS * seconds / sum(WANTED_WHERE) for seconds in jax]
    over = [study / bound for study, bound in zip(timings.of(KDRUN, "study"), wanted, strict=True)]
    where = " and ".join(f"{seconds:g} s" for seconds in WANTED_WHERE)
    return (
        f"Wanted of kdrun: {WANTED_SECONDS} s where JAX takes {where} for a student run of each width, which scaled",
        f"by JAX is {spread(wanted, ' s')} here; it takes {spread(over, '×')} of that.",
    )


def jax_note(entry: Entry, effort: Effort) -> str:
    """How the study was timed where it had to be compiled."""
    share = f"{entry.name} is timed over {effort.jax_share:.0%} of the epochs, scaled"
    return f"{share}; it compiled for {entry.study_compilation:.0f} s before."


def study_cells(entry: Entry, timings: Timings) -> list[str]:
    """Seconds and ratio."""
    if entry.missing:
        return [entry.missing, ""]
    if not entry.whole_study:
        return estimated_study(entry, timings)
    ratio = statistics.median(timings.ratio(entry.name, "study", KDRUN))
    return [spread(timings.of(entry.name, "study")), f"{ratio:.1f}×"]


def estimated_study(entry: Entry, timings: Timings) -> list[str]:
    """What the pace of the student runs gives for a teacher and four students of each width."""
    students = sum(statistics.median(timings.of(entry.name, str(hidden))) for hidden in WIDTHS)
    estimate = students * (4 + TEACHER_EPOCHS / STUDENT_EPOCHS)
    ratio = estimate / statistics.median(timings.of(KDRUN, "study"))
    return [f"estimated {estimate:.0f}", f"{ratio:.0f}×"]


def workers_table(timings: Timings, effort: Effort) -> Table:
    """Two workers against one."""
    one, two = timings.of("workers", "1"), timings.of("workers", "2")
    if not one:
        row = ["needs two cores", "", ""]
    else:
        row = [spread(one), spread(two), spread([a / b for a, b in zip(one, two, strict=True)], "×")]
    title = f"{effort.workers_replicates} replicates of the sine study through the engine's pool, workers warm"
    return Table(title, ["one worker, seconds", "two workers, seconds", "one over two"], [row])


def roofline_table(rooflines: list[Reply], timings: Timings) -> Table:
    """GFLOP/s of kernels, and their part of the peak of the same round."""
    columns = ["", *(cell for hidden in WIDTHS for cell in (f"H = {hidden}: GFLOP/s", "of peak"))]
    peaks = [roof["peak"] for roof in rooflines]
    rates: dict[str, dict[int, list[float]]] = {
        name: {hidden: [roof["kernels"][name][str(hidden)] for roof in rooflines] for hidden in WIDTHS}
        for name in rooflines[0]["kernels"]
    }
    flop = rooflines[0]["epoch_flop"]
    rates["whole student run"] = {
        hidden: [flop[str(hidden)] * STUDENT_EPOCHS / seconds / 1e9 for seconds in timings.of(KDRUN, str(hidden))]
        for hidden in WIDTHS
    }
    rows = [
        [name, *(cell for hidden in WIDTHS for cell in rate_cells(found[hidden], peaks))]
        for name, found in rates.items()
    ]
    notes = (
        f"Peak: {spread(peaks)} GFLOP/s, independent multiply-adds in registers.",
        "Only FLOP of the cell's matrix products are counted, 2 for a multiply-add.",
    )
    return Table("kdrun's kernels against the peak of one core, float32", columns, rows, notes)


def rate_cells(rates: Sequence[float], peaks: Sequence[float]) -> list[str]:
    """GFLOP/s, and percent of the peak of the same round."""
    shares = [rate / peak for rate, peak in zip(rates, peaks, strict=True)]
    return [spread(rates), f"{statistics.median(shares):.0%}"]


def spread(values: Sequence[float], unit: str = "") -> str:
    """Median [least–largest]."""
    shown = [
        f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        for value in (statistics.median(values), min(values), max(values))
    ]
    return f"{shown[0]}{unit} [{shown[1]}–{shown[2]}]"


def show(tables: Sequence[Table], as_markdown: bool) -> None:
    """Print all tables."""
    for table in tables:
        if as_markdown:
            print(markdown(table))
        else:
            show_rich(table)


def show_rich(table: Table) -> None:
    """Print a table for a terminal."""
    console = Console()
    console.width = max(console.width, 126)
    drawn = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        drawn.add_column(column, no_wrap=True)
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(note, style="dim", highlight=False)
    console.print()


def markdown(table: Table) -> str:
    """The table as Markdown."""
    lines = [
        f"### {table.title}",
        "",
        *(f"| {' | '.join(row)} |" for row in (table.columns, ["---"] * len(table.columns), *table.rows)),
    ]
    return "\n".join([*lines, "", *table.notes, ""])


if __name__ == "__main__":
    sys.exit(main())
