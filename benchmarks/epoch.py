"""Where the time of an epoch goes: passes of networks, every other kernel, and Python between them.

    python benchmarks/epoch.py

Each training of the sine study's first replicate is made twice, with few epochs: as it is, and with a clock around
every kernel. Microseconds per epoch, medians over rounds; the clock's own time, measured too, is taken off.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.dispatcher import Dispatcher
from rich.console import Console
from rich.table import Table

from kdrun.engine.run import Finished, execute
from kdrun.records import Run
from kdrun.study.load import load_study
from kdrun.study.plan import plan

EPOCHS, ROUNDS = 300, 7
PASSES = ("network_forward", "network_backward")


def modules() -> list[Any]:
    """The modules of kdrun that are loaded."""
    return [module for name, module in sys.modules.items() if name.startswith("kdrun.")]


@contextmanager
def clocked(spent: dict[str, list[float]]) -> Iterator[None]:
    """Every kernel that a module calls is timed."""
    replaced = [
        (module, name, value)
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    ]
    for module, name, kernel in replaced:
        setattr(module, name, _timed(kernel, spent.setdefault(kernel.py_func.__name__, [])))
    try:
        yield
    finally:
        for module, name, kernel in replaced:
            setattr(module, name, kernel)


def _timed(kernel: Callable[..., Any], times: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = kernel(*arguments)
        times.append(time.perf_counter() - start)
        return result

    return call


def epoch(run: Run, needed: tuple[Finished, ...]) -> tuple[float, float, float]:
    """Microseconds of an epoch as it is, in passes of networks, and in other kernels."""
    whole = min(execute(run, needed).seconds for _ in range(2)) - startup(run, needed)
    spent: dict[str, list[float]] = {}
    with clocked(spent):
        execute(run, needed)
    cost = _clock_cost()
    totals = {name: sum(times) - cost * len(times) for name, times in spent.items()}
    passes = sum(totals.get(name, 0.0) for name in PASSES)
    scale = 1e6 / EPOCHS
    return scale * whole, scale * passes, scale * (sum(totals.values()) - passes)


def startup(run: Run, needed: tuple[Finished, ...]) -> float:
    """Seconds of the same run with one epoch: setting up and evaluating."""
    role = "teacher" if run.kind == "teacher" else "student"
    section = {**run.spec[role], "epochs": 1}
    short = Run(**{**{name: getattr(run, name) for name in run.__slots__}, "spec": {**run.spec, role: section}})
    return min(execute(short, needed).seconds for _ in range(3))


def _clock_cost() -> float:
    """What reading the clock twice adds to what is timed."""
    times: list[float] = []
    nothing = _timed(lambda: None, times)
    for _ in range(1000):
        nothing()
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = (f"student.epochs={EPOCHS}", f"teacher.epochs={EPOCHS}", "teacher.accept={}")
    runs = [
        run for run in plan(load_study("experiments/sine.yaml", settings, 1, None)).runs if run.kind != "comparator"
    ]
    done: dict[str, Finished] = {}
    found: dict[str, list[tuple[float, float, float]]] = {run.title: [] for run in runs}
    for _ in range(ROUNDS):
        for run in runs:
            needed = tuple(done[need] for need in run.needs)
            done.setdefault(run.run_id, Finished(run, execute(run, needed)))
            found[run.title].append(epoch(run, needed))
    table = Table("training", "epoch, µs", "passes", "other kernels", "Python between them", "share of Python")
    for title, rows in found.items():
        whole, passes, others = (statistics.median(column) for column in zip(*rows, strict=True))
        rest = whole - passes - others
        table.add_row(title, *(f"{value:.1f}" for value in (whole, passes, others, rest)), f"{rest / whole:.0%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
