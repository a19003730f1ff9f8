"""Two workers against one, through the engine's own pool: the wall time of a study, from its first run to its last."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

from contestants.protocol import Reply, serve

from kdrun.engine.local import processes
from kdrun.engine.schedule import Schedule, carry_out
from kdrun.study.load import load_study
from kdrun.study.plan import plan

STUDY = Path(__file__).parents[2] / "experiments" / "sine.yaml"

pools: dict[int, Executor] = {}
open_pools = ExitStack()


def start(workers: list[int]) -> Reply:
    """Pools of so many workers, each warmed by a replicate of the study per worker."""
    for count in workers:
        pools[count] = open_pools.enter_context(processes(count))
        time_study(count, count)
    return {}


def time_study(workers: int, replicates: int) -> Reply:
    """Wall time of a study of so many replicates on a warm pool."""
    runs = plan(load_study(STUDY, (), replicates, None)).runs
    schedule = Schedule(runs, {}, lambda run, outcome: True)
    begin = time.perf_counter()
    # Twice as many in flight as there are workers: none of them waits for its next run.
    failed = [
        run.title for run, outcome in carry_out(pools[workers], schedule, 2 * workers) if outcome.status != "done"
    ]
    seconds = time.perf_counter() - begin
    if failed:
        raise RuntimeError(f"not done: {', '.join(failed)}")
    return {"seconds": seconds}


if __name__ == "__main__":
    with open_pools:
        serve({"start": start, "study": time_study})
