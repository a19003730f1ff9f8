"""Which run may start when: a run is released as soon as the runs that it needs are done. Nothing else orders runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field

from kdrun.engine.run import Finished, execute
from kdrun.errors import KdrunError
from kdrun.records import Outcome, Run


@dataclass
class Schedule:
    """The runs that are still to do, and the finished ones that some of them need.

    `may_serve` decides whether a finished run releases those that need it: a teacher that missed its acceptance does
    not, and what it would have released is left undone.
    """

    runs: Sequence[Run]
    held: dict[str, Finished]
    may_serve: Callable[[Run, Outcome], bool]
    _ready: list[int] = field(default_factory=list)
    _waiting: dict[str, list[int]] = field(default_factory=dict)
    _lacking: dict[int, int] = field(default_factory=dict)
    _users: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, run in enumerate(self.runs):
            lacking = [need for need in run.needs if need not in self.held]
            self._lacking[index] = len(lacking)
            for need in run.needs:
                self._users[need] = self._users.get(need, 0) + 1
            for need in lacking:
                self._waiting.setdefault(need, []).append(index)
            if not lacking:
                heapq.heappush(self._ready, index)

    def next_ready(self) -> Run | None:
        """The first run of the plan that can start now."""
        return self.runs[heapq.heappop(self._ready)] if self._ready else None

    def needed_by(self, run: Run) -> tuple[Finished, ...]:
        """What a run needs, in the order in which it names it."""
        return tuple(self.held[need] for need in run.needs)

    def finish(self, run: Run, outcome: Outcome) -> None:
        """Release what waits for `run`, and let go of outcomes that nothing needs any more."""
        waiting = self._waiting.pop(run.run_id, [])
        if waiting and outcome.status == "done" and self.may_serve(run, outcome):
            self.held[run.run_id] = Finished(run, outcome)
            for index in waiting:
                self._lacking[index] -= 1
                if not self._lacking[index]:
                    heapq.heappush(self._ready, index)
        for need in run.needs:
            self._users[need] -= 1
            if not self._users[need]:
                self.held.pop(need, None)


def carry_out(executor: Executor, schedule: Schedule, in_flight: int) -> Iterator[tuple[Run, Outcome]]:
    """Do every run that can be done, at most `in_flight` at a time; outcomes come as they finish.

    Closing the iterator cancels what has not started.
    """
    running: dict[Future[Outcome], Run] = {}
    try:
        while True:
            while len(running) < in_flight and (run := schedule.next_ready()) is not None:
                running[_submitted(executor, run, schedule, running.values())] = run
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda item: running[item].run_id):
                run, outcome = running.pop(future), _result(future, running.values())
                schedule.finish(run, outcome)
                yield run, outcome
    finally:
        for future in running:
            future.cancel()


def _submitted(executor: Executor, run: Run, schedule: Schedule, others: Iterable[Run]) -> Future[Outcome]:
    """A run handed to the workers, or an error where one of them is gone."""
    try:
        return executor.submit(execute, run, schedule.needed_by(run))
    except BrokenExecutor:
        raise _worker_gone(others) from None


def _result(future: Future[Outcome], others: Iterable[Run]) -> Outcome:
    """The outcome of a run, or an error where its worker is gone."""
    try:
        return future.result()
    except BrokenExecutor:
        raise _worker_gone(others) from None


def _worker_gone(running: Iterable[Run]) -> KdrunError:
    titles = "; ".join(run.title for run in running) or "the last run"
    return KdrunError(
        f"a worker process ended before its time, perhaps for want of memory, while these were running: {titles}. "
        "What is finished is stored; run the same command again to go on, with fewer --workers if memory is short. "
        'In a script, kdrun.run stands below `if __name__ == "__main__":`, for workers import the script'
    )


def finished_of(runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> dict[str, Finished]:
    """Stored runs that are done, as what other runs need."""
    return {
        run.run_id: Finished(run, outcomes[run.run_id])
        for run in runs
        if run.run_id in outcomes and outcomes[run.run_id].status == "done"
    }
