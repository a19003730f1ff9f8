"""Where the time of an epoch goes: passes of networks, every other kernel, and Python between them.

    python benchmarks/epoch.py

Each training of the sine study's first replicate is made with few epochs, by itself and together with those that train
in step with it: as it is, and with a clock around every kernel. Microseconds per epoch of one network, medians over
rounds; the clock's own time, measured too, is taken off.
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

from kdrun.engine.company import companies
from kdrun.engine.run import Finished, Job, execute, execute_all
from kdrun.records import Run
from kdrun.study.load import load_study
from kdrun.study.plan import plan

EPOCHS, ROUNDS = 1000, 7
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


def epoch(jobs: list[Job]) -> tuple[float, float, float]:
    """Microseconds of an epoch of each job as it is, in passes of networks, and in other kernels."""
    whole = min(seconds(jobs) for _ in range(2)) - min(seconds([short(job) for job in jobs]) for _ in range(3))
    spent: dict[str, list[float]] = {}
    with clocked(spent):
        seconds(jobs)
    cost = _clock_cost()
    totals = {name: sum(times) - cost * len(times) for name, times in spent.items()}
    passes = sum(totals.get(name, 0.0) for name in PASSES)
    scale = 1e6 / (EPOCHS * len(jobs))
    return scale * whole, scale * passes, scale * (sum(totals.values()) - passes)


def seconds(jobs: list[Job]) -> float:
    """What it takes to do some runs, in step where they may."""
    start = time.perf_counter()
    for _ in execute_all(jobs):
        pass
    return time.perf_counter() - start


def short(job: Job) -> Job:
    """The same run with one epoch: setting up and evaluating."""
    run = job.run
    role = "teacher" if run.kind == "teacher" else "student"
    spec = {**run.spec, role: {**run.spec[role], "epochs": 1}}
    return Job(Run(**{**{name: getattr(run, name) for name in run.__slots__}, "spec": spec}), job.needed)


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
    teachers = {run.run_id: Finished(run, execute(run, ())) for run in runs if run.kind == "teacher"}
    groups = {run.title: [run] for run in runs}
    groups |= {f"{group[0].title} to {group[-1].treatment}, in step": group for group in companies(runs) if group[1:]}
    jobs = {
        title: [Job(run, tuple(teachers[need] for need in run.needs)) for run in group]
        for title, group in groups.items()
    }
    found: dict[str, list[tuple[float, float, float]]] = {title: [] for title in jobs}
    for _ in range(ROUNDS):
        for title, group in jobs.items():
            found[title].append(epoch(group))
    table = Table("training", "epoch, µs", "passes", "other kernels", "Python between them", "share of Python")
    for title, rows in found.items():
        whole, passes, others = (statistics.median(column) for column in zip(*rows, strict=True))
        rest = whole - passes - others
        table.add_row(title, *(f"{value:.1f}" for value in (whole, passes, others, rest)), f"{rest / whole:.0%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
