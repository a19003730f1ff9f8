"""Runs are released when what they need is done, and by nothing else."""

from __future__ import annotations

from concurrent.futures import Executor, Future

from kdrun.engine.schedule import Schedule, carry_out
from kdrun.records import Outcome, Run


def run(name: str, *needs: str) -> Run:
    return Run(run_id=name, kind="treatment", replicate=1, spec={}, needs=needs)


class Immediately(Executor):
    """Does each run when it is submitted, with the outcome that `statuses` has for it."""

    def __init__(self, statuses: dict[str, str] | None = None) -> None:
        self.statuses, self.order, self.handed = statuses or {}, [], {}

    def submit(self, function, *arguments, **keywords):
        done, needed = arguments
        self.order.append(done.run_id)
        self.handed[done.run_id] = [finished.run.run_id for finished in needed]
        future: Future = Future()
        future.set_result(Outcome(done.run_id, self.statuses.get(done.run_id, "done")))
        return future


def order_of(runs: list[Run], executor: Immediately, serves=lambda run, outcome: True, in_flight: int = 1) -> list[str]:
    list(carry_out(executor, Schedule(runs, {}, serves), in_flight))
    return executor.order


def test_a_run_waits_for_what_it_needs():
    """A student given first still comes after its teacher."""
    assert order_of([run("student", "teacher"), run("teacher")], Immediately()) == ["teacher", "student"]


def test_runs_that_are_ready_keep_the_order_of_the_plan():
    """Among runs that could start, the earlier one does."""
    runs = [run("a"), run("b", "a"), run("c"), run("d", "a")]
    assert order_of(runs, Immediately()) == ["a", "b", "c", "d"]


def test_a_run_is_handed_its_needs_in_the_order_in_which_it_names_them():
    """Two teachers keep their places whichever finishes first."""
    executor = Immediately()
    order_of([run("x"), run("y"), run("student", "y", "x")], executor)
    assert executor.handed["student"] == ["y", "x"]


def test_a_run_that_failed_releases_nobody():
    """Students of a failed teacher are not started, nor is what needs them."""
    runs = [run("teacher"), run("student", "teacher"), run("search", "student"), run("other")]
    assert order_of(runs, Immediately({"teacher": "failed"})) == ["teacher", "other"]


def test_a_teacher_that_may_not_serve_releases_nobody():
    """Missing its acceptance leaves its students undone."""
    runs = [run("teacher"), run("student", "teacher"), run("other")]
    assert order_of(runs, Immediately(), serves=lambda run, outcome: run.run_id != "teacher") == ["teacher", "other"]


def test_outcomes_that_nobody_needs_any_more_are_let_go():
    """Memory does not grow with the number of finished replicates."""
    schedule = Schedule([run("teacher"), run("a", "teacher"), run("b", "teacher")], {}, lambda run, outcome: True)
    sizes = [len(schedule.held) for _ in carry_out(Immediately(), schedule, 1)]
    assert sizes == [1, 1, 0]


def test_no_more_runs_are_in_flight_than_asked_for():
    """An executor that never finishes is given that many runs and no more."""

    class Never(Executor):
        submitted = 0

        def submit(self, function, *arguments, **keywords):
            Never.submitted += 1
            future: Future = Future()
            if Never.submitted == 3:
                future.set_result(Outcome(arguments[0].run_id, "done"))
            return future

    iterator = carry_out(Never(), Schedule([run(str(i)) for i in range(9)], {}, lambda run, outcome: True), 3)
    next(iterator)
    assert Never.submitted == 3
    iterator.close()
