"""Which run may start when, and in whose company.

A run is released as soon as the runs that it needs are done; nothing else orders runs. Released runs go to the workers
in batches of about a second, those that train in step together. A worker that dies in a batch costs the run that it was
in one retry, alone; a run that a second worker dies of has failed. Where it was in several runs at a time, they are
done again one after another.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kdrun.engine.company import by_company, companies
from kdrun.engine.run import Finished, Job, execute_all, execute_each
from kdrun.engine.workers import WorkerLost
from kdrun.errors import KdrunError
from kdrun.records import PRINTED, Outcome, Run

Pair = tuple[Run, Outcome]
Execute = Callable[[Sequence[Job]], Iterator[Outcome]]
SECONDS_PER_BATCH = 1.0
# Less is not worth the handing over, however near the end is.
SHORTEST_BATCH = 0.05
# Runs in step end together: so much is lost where kdrun is killed just before.
SECONDS_IN_STEP = 10.0
# Batches that wait behind those being done: a worker never waits for the coordinator.
BATCHES_AHEAD = 2
LARGEST_BATCH = 1000


@dataclass
class Schedule:
    """The runs that are still to do, and the finished ones that some of them need.

    `may_serve` decides whether a finished run releases those that need it: a teacher that missed its acceptance does
    not, and what it would have released is left undone.
    """

    runs: Sequence[Run]
    held: dict[str, Finished]
    may_serve: Callable[[Run, Outcome], bool]
    _companies: list[int] = field(default_factory=list)
    _ready: list[int] = field(default_factory=list)
    _waiting: dict[str, list[int]] = field(default_factory=dict)
    _lacking: dict[int, int] = field(default_factory=dict)
    _users: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        companies = by_company(self.runs)
        self.runs = [run for members in companies for run in members]
        self._companies = [number for number, members in enumerate(companies) for _ in members]
        for index, run in enumerate(self.runs):
            lacking = [need for need in run.needs if need not in self.held]
            self._lacking[index] = len(lacking)
            for need in run.needs:
                self._users[need] = self._users.get(need, 0) + 1
            for need in lacking:
                self._waiting.setdefault(need, []).append(index)
            if not lacking:
                heapq.heappush(self._ready, index)

    def next_ready(self, fitting: Callable[[Sequence[Run]], int]) -> list[Run]:
        """The first run that can start now, in the order of the plan, and those that train in step with it.

        `fitting` says how many of them there may be; the others wait.
        """
        found = [heapq.heappop(self._ready)] if self._ready else []
        while self._ready and self._companies[self._ready[0]] == self._companies[found[0]]:
            found.append(heapq.heappop(self._ready))
        members = [self.runs[index] for index in found]
        taken = fitting(members)
        for index in found[taken:]:
            heapq.heappush(self._ready, index)
        return members[:taken]

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


class _Times:
    """How long runs take, by what they do: one treatment's runs in all replicates take about as long."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._totals: dict[object, tuple[int, float]] = {}
        self._left = Counter(map(_part, runs))

    def add(self, run: Run, outcome: Outcome) -> None:
        """Learn how long a run took that has ended."""
        self._left[_part(run)] -= 1
        for part in (_part(run), None):
            number, seconds = self._totals.get(part, (0, 0.0))
            self._totals[part] = (number + 1, seconds + outcome.seconds)

    def expected(self, runs: Sequence[Run]) -> float:
        """Seconds of runs; before any has ended, so many that each is a batch by itself."""
        return sum(self._expected(_part(run)) for run in runs)

    def left(self) -> float:
        """Seconds of all runs that have not ended."""
        return sum(number * self._expected(part) for part, number in self._left.items())

    def _expected(self, part: object) -> float:
        number, seconds = self._totals.get(part, self._totals.get(None, (1, SECONDS_IN_STEP)))
        return seconds / number


def _part(run: Run) -> object:
    return run.kind, run.treatment, run.comparator


class Coordinator:
    """Has an executor do every run of a schedule that can be done.

    `slots` says how many calls the executor does at a time, and is asked again and again: a cluster grows and shrinks.
    `handed` is told of the runs that are handed to it. `execute` does a batch; what a lost worker left of one is done
    run by run, so that a second loss is that of the run which it was in.
    """

    def __init__(
        self,
        executor: Executor,
        schedule: Schedule,
        slots: Callable[[], int],
        handed: Callable[[Sequence[Run]], None] = lambda runs: None,
        execute: Execute = execute_all,
    ) -> None:
        self._executor, self._schedule, self._slots, self._handed = executor, schedule, slots, handed
        self._execute = execute
        # What an executor makes of the iterator of outcomes is their list.
        self._running: dict[Future[Any], _Batch] = {}
        self._times, self._suspects = _Times(schedule.runs), set[str]()
        self._alone: deque[Job] = deque()
        self._again: deque[Job] = deque()
        self._given: list[Pair] = []

    def outcomes(self) -> Iterator[list[Pair]]:
        """Outcomes as they come, those of a batch together."""
        while True:
            self._hand_out()
            if not self._running:
                return
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda item: self._running[item].jobs[0].run.run_id):
                self._given = self._ended(future)
                del self._running[future]
                for run, outcome in self._given:
                    self._times.add(run, outcome)
                    self._schedule.finish(run, outcome)
                if self._given:
                    yield self._given
                self._given = []

    def stop(self) -> list[Pair]:
        """End everything that is being done. Returns what had come to its end meanwhile.

        With it comes what was given last: an interruption may have come before it was stored.
        """
        for future in self._running:
            future.cancel()
        self._executor.shutdown(cancel_futures=True)
        running, self._running = self._running, {}
        return self._given + [pair for future, batch in running.items() for pair in _came(future, batch.jobs)]

    def _hand_out(self) -> None:
        slots = self._slots()
        while len(self._running) < BATCHES_AHEAD * slots:
            execute = execute_each if self._again else self._execute
            jobs = self._next_jobs(slots)
            if not jobs:
                return
            self._handed([job.run for job in jobs])
            self._running[self._executor.submit(execute, jobs)] = _Batch(jobs, execute)

    def _next_jobs(self, slots: int) -> list[Job]:
        """Runs for about a second; towards the end less, so that all workers end together."""
        if self._alone:
            return [self._alone.popleft()]
        share = self._times.left() / slots
        batch: list[Job] = []
        room = max(SHORTEST_BATCH, min(SECONDS_PER_BATCH, share / BATCHES_AHEAD))
        more = self._next(partial(self._part, share))
        while more:
            batch += more
            room -= self._times.expected([job.run for job in more])
            more = self._next(partial(self._all_or_none, room)) if len(batch) < LARGEST_BATCH else []
        return batch

    def _part(self, share: float, members: Sequence[Run]) -> int:
        """How many members of a company are done at a time, in equal parts of which none takes too long."""
        longest = min(SECONDS_IN_STEP, max(SHORTEST_BATCH, share))
        parts = max(1, math.ceil(self._times.expected(members) / longest))
        return math.ceil(len(members) / parts)

    def _all_or_none(self, room: float, members: Sequence[Run]) -> int:
        """All members of a company, where there is room for so many seconds in a batch."""
        return len(members) if self._times.expected(members) <= room else 0

    def _next(self, fitting: Callable[[Sequence[Run]], int]) -> list[Job]:
        """What is to be done again, or as many as fit of the next run and those that train in step with it."""
        if self._again:
            return [self._again.popleft()] if fitting([self._again[0].run]) else []
        return [Job(run, self._schedule.needed_by(run)) for run in self._schedule.next_ready(fitting)]

    def _ended(self, future: Future[Any]) -> list[Pair]:
        """What a batch came to. Where its worker was lost, what is left of it is tried again."""
        batch = self._running[future]
        try:
            return [(job.run, outcome) for job, outcome in zip(batch.jobs, future.result(), strict=True)]
        except WorkerLost as lost:
            return self._after_loss(batch, lost)

    def _after_loss(self, batch: _Batch, lost: WorkerLost) -> list[Pair]:
        if lost.reason == "start":
            raise KdrunError(_cannot_start(lost)) from None
        came = len(lost.items)
        pairs = [(job.run, outcome) for job, outcome in zip(batch.jobs, lost.items, strict=False)]
        if came == len(batch.jobs):
            return pairs
        if len(batch.begun(came)) > 1:
            # Any of them may be why. One after another they will tell.
            self._again.extendleft(reversed(batch.jobs[came:]))
            return pairs
        culprit, rest = batch.jobs[came], batch.jobs[came + 1 :]
        self._again.extendleft(reversed(rest))
        if lost.reason == "time" or culprit.run.run_id in self._suspects:
            return [*pairs, (culprit.run, _failure(culprit.run, lost))]
        self._suspects.add(culprit.run.run_id)
        self._alone.append(culprit)
        return pairs


@dataclass(frozen=True)
class _Batch:
    """Jobs that a worker was handed, and the function that it does them with."""

    jobs: list[Job]
    execute: Execute

    def begun(self, came: int) -> Sequence[Run]:
        """The runs that a worker is doing when so many outcomes have come: one, or those that train in step."""
        runs = [job.run for job in self.jobs[came:]]
        return runs[:1] if self.execute is execute_each else next(companies(runs))


def _came(future: Future[Any], jobs: Sequence[Job]) -> list[Pair]:
    """What had come of a batch when it was stopped."""
    if future.cancelled() or not future.done():
        return []
    error = future.exception()
    found = error.items if isinstance(error, WorkerLost) else () if error is not None else future.result()
    return [(job.run, outcome) for job, outcome in zip(jobs, found, strict=False)]


def _failure(run: Run, lost: WorkerLost) -> Outcome:
    """The outcome of a run that workers do not survive."""
    twice = "" if lost.reason == "time" else ", twice in fresh processes" if lost.reason == "memory" else ", twice"
    printed = f"{PRINTED}{lost.printed}" if lost.printed else ""
    return Outcome(run.run_id, "failed", error=f"{lost.text}{twice}{printed}")


def _cannot_start(lost: WorkerLost) -> str:
    return f"a worker process could not start: {lost.printed or lost.text}. What is finished is stored"


def finished_of(runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> dict[str, Finished]:
    """Stored runs that are done, as what other runs need."""
    return {
        run.run_id: Finished(run, outcomes[run.run_id])
        for run in runs
        if run.run_id in outcomes and outcomes[run.run_id].status == "done"
    }
