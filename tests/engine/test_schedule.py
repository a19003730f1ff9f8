"""Runs are released when what they need is done, and by nothing else; what a lost worker was doing is not lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from kdrun.engine.run import Job, execute_all, execute_each
from kdrun.engine.schedule import LARGEST_BATCH, Coordinator, Schedule
from kdrun.engine.workers import WorkerLost
from kdrun.errors import KdrunError
from kdrun.records import Outcome, Run


def run(name: str, *needs: str) -> Run:
    return Run(run_id=name, kind="treatment", replicate=1, spec={}, needs=needs)


def outcome(name: str, **changes: Any) -> Outcome:
    return Outcome(name, **{"status": "done", "seconds": 10.0, **changes})


class Immediately(Executor):
    """Does each batch when it is submitted: `do` gives the outcome of a run, or raises what the batch ends with."""

    def __init__(self, do: Callable[[Job], Outcome] = lambda job: outcome(job.run.run_id)) -> None:
        self.do, self.batches, self.functions, self.stopped = do, [], [], False

    @property
    def order(self) -> list[str]:
        return [job.run.run_id for batch in self.batches for job in batch]

    def submit(self, function, /, *arguments, **keywords):
        (jobs,) = arguments
        self.batches.append(list(jobs))
        self.functions.append(function)
        future: Future = Future()
        items: list[Outcome] = []
        try:
            for job in jobs:
                items.append(self.do(job))  # noqa: PERF401 (what came before an error counts)
            future.set_result(items)
        except WorkerLost as lost:
            future.set_exception(WorkerLost(lost.reason, lost.text, lost.printed, items))
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.stopped = True


def serves(run: Run, outcome: Outcome) -> bool:
    return True


def outcomes_of(runs: Sequence[Run], executor: Executor, may_serve=serves, slots: int = 1) -> dict[str, Outcome]:
    coordinator = Coordinator(executor, Schedule(runs, {}, may_serve), lambda: slots)
    return {run.run_id: found for pairs in coordinator.outcomes() for run, found in pairs}


def order_of(runs: Sequence[Run], executor: Immediately, may_serve=serves) -> list[str]:
    outcomes_of(runs, executor, may_serve)
    return executor.order


def test_a_run_waits_for_what_it_needs():
    """A student given first still comes after its teacher."""
    assert order_of([run("student", "teacher"), run("teacher")], Immediately()) == ["teacher", "student"]


def test_runs_that_are_ready_keep_the_order_of_the_plan():
    """Among runs that could start, the earlier one does."""
    runs = [run("a"), run("b", "a"), run("c"), run("d", "a")]
    executor = Immediately(lambda job: outcome(job.run.run_id, seconds=0.0))
    assert order_of(runs, executor) == ["a", "c", "b", "d"]


def students(*names: str, replicate: int = 1, needs: tuple[str, ...] = ()) -> list[Run]:
    """Runs of one replicate that train in step, each with a treatment of its own."""
    spec = {"seed": 1, "task": {"name": "sine"}, "student": {}}
    return [
        Run(name, "treatment", replicate, spec=spec, needs=needs, treatment=number) for number, name in enumerate(names)
    ]


def replicates_of_four(number: int) -> list[Run]:
    """So many replicates: a teacher, and its four students."""
    found = []
    for r in range(number):
        found += [run(f"t{r}"), *students(*(f"{letter}{r}" for letter in "abcd"), replicate=r, needs=(f"t{r}",))]
    return found


def batches_of(runs: Sequence[Run], seconds: float, slots: int) -> list[str]:
    """The batches that runs which all take so long are handed out in."""
    executor = Immediately(lambda job: outcome(job.run.run_id, seconds=seconds))
    outcomes_of(runs, executor, slots=slots)
    return [" ".join(job.run.run_id for job in batch) for batch in executor.batches]


def test_runs_that_train_in_step_are_handed_out_together():
    """Wherever they stand in the plan."""
    (a, c), (b, d) = students("a", "c"), students("b", "d", replicate=2)
    assert order_of([a, b, c, d], Immediately(lambda job: outcome(job.run.run_id, seconds=0.0))) == ["a", "c", "b", "d"]


def test_a_batch_holds_whole_companies():
    """Two of 0.4 s and not half of a third one; one of 0.8 s or 1.6 s, though that be more than a second."""
    whole = [f"a{r} b{r} c{r} d{r}" for r in range(12)]
    for seconds in (0.2, 0.4):
        with_students = [names for names in batches_of(replicates_of_four(12), seconds, slots=1) if "a" in names]
        assert with_students == whole
    pairs = [" ".join(pair) for pair in zip(whole[::2], whole[1::2], strict=True)]
    assert pairs[2] in batches_of(replicates_of_four(12), seconds=0.1, slots=1)


@pytest.mark.parametrize(
    ("slots", "batches"), [(1, ["a0 b0 c0 d0"]), (2, ["a0 b0", "c0 d0"]), (3, ["a0 b0", "c0", "d0"])]
)
def test_runs_in_step_part_where_workers_would_be_idle_else(slots, batches):
    """One company is all that is left: each worker has its share of it."""
    assert batches_of(replicates_of_four(1), seconds=0.2, slots=slots) == ["t0", *batches]


def test_long_runs_in_step_part():
    """They end together, so that a kill would cost all of them: not more than ten seconds."""
    batches = batches_of(replicates_of_four(9), seconds=4.0, slots=1)
    assert {"a4 b4", "c4 d4"} <= set(batches)
    assert "a4" in batches_of(replicates_of_four(9), seconds=11.0, slots=1)


def test_of_runs_in_step_one_is_a_batch_as_long_as_nothing_is_known():
    """They might take hours."""
    assert batches_of(students("a", "b", "c", "d"), seconds=0.2, slots=1) == ["a", "b", "c d"]


def test_a_run_is_handed_its_needs_in_the_order_in_which_it_names_them():
    """Two teachers keep their places whichever finishes first."""
    executor = Immediately()
    order_of([run("x"), run("y"), run("student", "y", "x")], executor)
    (job,) = executor.batches[-1]
    assert [finished.run.run_id for finished in job.needed] == ["y", "x"]


def test_a_run_that_failed_releases_nobody():
    """Students of a failed teacher are not started, nor is what needs them."""
    runs = [run("teacher"), run("student", "teacher"), run("search", "student"), run("other")]
    executor = Immediately(
        lambda job: outcome(job.run.run_id, status={"teacher": "failed"}.get(job.run.run_id, "done"))
    )
    assert order_of(runs, executor) == ["teacher", "other"]


def test_a_teacher_that_may_not_serve_releases_nobody():
    """Missing its acceptance leaves its students undone."""
    runs = [run("teacher"), run("student", "teacher"), run("other")]
    assert order_of(runs, Immediately(), lambda run, outcome: run.run_id != "teacher") == ["teacher", "other"]


def test_outcomes_that_nobody_needs_any_more_are_let_go():
    """Memory does not grow with the number of finished replicates."""
    schedule = Schedule([run("teacher"), run("a", "teacher"), run("b", "teacher")], {}, serves)
    sizes = [len(schedule.held) for _ in Coordinator(Immediately(), schedule, lambda: 1).outcomes()]
    assert sizes == [1, 1, 0]


def test_long_runs_go_one_by_one_and_short_ones_in_company():
    """A batch is about a second of work by what runs took so far; towards the end it is less."""
    runs = [run(str(i)) for i in range(100)]
    executor = Immediately(lambda job: outcome(job.run.run_id, seconds=0.125))
    outcomes_of(runs, executor)
    sizes = [len(batch) for batch in executor.batches]
    assert sizes[:2] == [1, 1]
    assert sizes[2:6] == [8, 8, 8, 8]
    assert sizes[-1] == 1
    executor = Immediately()
    outcomes_of(runs, executor)
    assert {len(batch) for batch in executor.batches} == {1}


def test_a_batch_has_an_end_however_short_runs_are():
    """Workers of a cluster are not given a hundred thousand runs at once."""
    executor = Immediately(lambda job: outcome(job.run.run_id, seconds=0.0))
    outcomes_of([run(str(i)) for i in range(5 * LARGEST_BATCH)], executor)
    assert max(len(batch) for batch in executor.batches) == LARGEST_BATCH


class Never(Executor):
    """Begins what it is given and never ends it."""

    def __init__(self) -> None:
        self.futures: list[Future] = []

    def submit(self, function, /, *arguments, **keywords):
        self.futures.append(Future())
        return self.futures[-1]

    def shutdown(self, wait=True, *, cancel_futures=False):
        for future in self.futures:
            if not future.done():
                future.set_exception(WorkerLost("stopped", "it was stopped", items=[outcome("1")]))


@pytest.mark.parametrize("slots", [1, 3])
def test_no_more_batches_are_in_flight_than_asked_for(slots):
    """Two for each call that the executor does at a time: one being done, one waiting."""
    executor, handed = Never(), []
    coordinator = Coordinator(
        executor, Schedule([run(str(i)) for i in range(99)], {}, serves), lambda: slots, handed.append
    )
    coordinator._hand_out()
    assert len(executor.futures) == len(handed) == 2 * slots


def test_what_had_ended_when_it_was_stopped_is_kept():
    """The outcomes that a batch gave before its worker was ended are outcomes."""
    executor = Never()
    coordinator = Coordinator(executor, Schedule([run("1")], {}, serves), lambda: 1)
    coordinator._hand_out()
    executor.futures[0].set_running_or_notify_cancel()
    assert [found.run_id for _, found in coordinator.stop()] == ["1"]


def test_what_was_given_when_it_was_interrupted_is_given_again():
    """An interruption may come while it is stored; when the next batch is asked for, it has been."""
    runs = [run("1"), run("2")]
    coordinator = Coordinator(Immediately(), Schedule(runs, {}, serves), lambda: 1)
    outcomes = coordinator.outcomes()
    given = next(outcomes)
    assert coordinator.stop()[: len(given)] == given
    coordinator = Coordinator(Immediately(), Schedule(runs, {}, serves), lambda: 1)
    assert len(list(coordinator.outcomes())) == 2
    assert coordinator.stop() == []


class Deadly:
    """Workers die of some runs, each so many times."""

    def __init__(self, reason: str = "died", **times: int) -> None:
        self.reason, self.times, self.done = reason, times, []

    def __call__(self, job: Job) -> Outcome:
        name = job.run.run_id
        if self.times.get(name, 0):
            self.times[name] -= 1
            raise WorkerLost(self.reason, "its worker process was ended by SIGKILL", "said last")
        self.done.append(name)
        return outcome(name, seconds=0.0)


NAMES = [f"r{i}" for i in range(40)]


def test_a_worker_that_dies_costs_its_run_one_retry():
    """What had come before it is not done again, and what had not is done."""
    deadly = Deadly(r17=1)
    found = outcomes_of([run(name) for name in NAMES], Immediately(deadly))
    assert sorted(deadly.done) == sorted(NAMES)
    assert {item.status for item in found.values()} == {"done"}


def test_a_run_that_kills_two_workers_has_failed_and_no_other():
    """The second time it is alone; its outcome says how the worker ended and what was printed."""
    deadly = Deadly(r17=2)
    executor = Immediately(deadly)
    found = outcomes_of([run(name) for name in NAMES], executor)
    assert [name for name, item in found.items() if item.status == "failed"] == ["r17"]
    assert found["r17"].reason == "its worker process was ended by SIGKILL, twice"
    assert "said last" in found["r17"].error
    assert sorted([*deadly.done, "r17"]) == sorted(NAMES)
    batches = [[job.run.run_id for job in batch] for batch in executor.batches]
    assert ["r17"] in batches


def test_what_a_lost_worker_left_is_done_run_by_run():
    """Runs in step die together: done one after another, a second loss is that of the run which it was in."""
    executor = Immediately(Deadly(r17=1))
    outcomes_of([run(name) for name in NAMES], executor)
    alone = [
        [job.run.run_id for job in batch]
        for batch, function in zip(executor.batches, executor.functions, strict=True)
        if function is execute_each
    ]
    lost = next(batch for batch in executor.batches if "r17" in [job.run.run_id for job in batch])
    names = [job.run.run_id for job in lost]
    left = names[names.index("r17") + 1 :]
    assert left
    assert set(left) <= {name for batch in alone for name in batch}
    assert {function for function in executor.functions if function is not execute_each} == {execute_all}


class InStep(Immediately):
    """As `execute_all` does runs that train in step: their outcomes come together, or not at all."""

    def submit(self, function, /, *arguments, **keywords):
        future = super().submit(function, *arguments, **keywords)
        error = future.exception()
        if function is execute_each or not isinstance(error, WorkerLost):
            return future
        again: Future = Future()
        again.set_exception(WorkerLost(error.reason, error.text, error.printed))
        return again


@pytest.mark.parametrize("reason", ["died", "memory"])
def test_of_runs_in_step_none_is_suspected_until_they_ran_alone(reason):
    """One of five is why two workers are lost; the others are done, and each is told of as what it is."""
    deadly = Deadly(reason, c=3)
    executor = InStep(deadly)
    found = outcomes_of(students("a", "b", "c", "d", "e"), executor)
    assert {name for name, item in found.items() if item.status == "failed"} == {"c"}
    assert found["c"].reason.startswith("its worker process was ended by SIGKILL, twice")
    assert ["c"] in [[job.run.run_id for job in batch] for batch in executor.batches]
    # The first time together, then one after another, then alone.
    assert deadly.times == {"c": 0}


def test_an_unlucky_worker_costs_runs_in_step_one_repetition():
    """It was nobody's fault: all are done again, and are done."""
    executor = InStep(Deadly(c=1))
    found = outcomes_of(students("a", "b", "c", "d", "e"), executor)
    assert {item.status for item in found.values()} == {"done"}
    assert executor.functions[-1] is execute_each


def test_how_a_batch_is_done_is_the_engines_to_say():
    """Where time is limited, say."""
    executor = Immediately()
    coordinator = Coordinator(executor, Schedule([run("a")], {}, serves), lambda: 1, execute=execute_each)
    assert list(coordinator.outcomes())
    assert executor.functions == [execute_each]


def test_a_run_that_takes_too_long_is_not_tried_again():
    """It would take too long again."""
    deadly = Deadly("time", r17=1)
    found = outcomes_of([run(name) for name in NAMES], Immediately(deadly))
    assert found["r17"].status == "failed"
    assert len(deadly.done) == len(NAMES) - 1


def test_workers_that_cannot_start_end_the_study():
    """It is nobody's fault among the runs."""

    def fail(job: Job) -> Outcome:
        raise WorkerLost("start", "no memory")

    with pytest.raises(KdrunError, match="could not start: no memory"):
        outcomes_of([run("a")], Immediately(fail))
