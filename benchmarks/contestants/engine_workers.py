"""Two workers against one, through the engine itself: the wall time of a study, from its first run to its last."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from contestants.protocol import Reply, serve

from kdrun.engine.local import Engine, processes
from kdrun.engine.schedule import Coordinator, Schedule
from kdrun.study.load import load_study
from kdrun.study.plan import plan

STUDY = Path(__file__).parents[2] / "experiments" / "sine.yaml"

engines: dict[int, Engine] = {}
open_engines = ExitStack()


def start(workers: list[int]) -> Reply:
    """Engines of so many workers, each warmed by a replicate of the study per worker."""
    for count in workers:
        engines[count] = open_engines.enter_context(processes(count))
        time_study(count, count)
    return {}


def time_study(workers: int, replicates: int) -> Reply:
    """Wall time of a study of so many replicates on warm workers."""
    runs = plan(load_study(STUDY, (), replicates, None)).runs
    schedule = Schedule(runs, {}, lambda run, outcome: True)
    begin = time.perf_counter()
    coordinator = Coordinator(engines[workers].executor, schedule, engines[workers].slots)
    failed = [run.title for pairs in coordinator.outcomes() for run, outcome in pairs if outcome.status != "done"]
    seconds = time.perf_counter() - begin
    if failed:
        raise RuntimeError(f"not done: {', '.join(failed)}")
    return {"seconds": seconds}


if __name__ == "__main__":
    with open_engines:
        serve({"start": start, "study": time_study})
