"""Which runs are done, and why one that is stored is done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kdrun.engine.sources import Sources
from kdrun.records import Run
from kdrun.study.load import load_study
from kdrun.study.plan import Plan, plan
from kdrun.todo import Asked, Known, Todo, todo_of
from tests.tiny_results import RUNS, TINY

NOW = Sources({"kdrun": "new", "plugin": "same"})
BEFORE = Sources({"kdrun": "old", "plugin": "same"})


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """Two replicates of a teacher, four students of it, and a comparator that starts from treatment 1."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    return plan(load_study(tmp_path / "tiny.yaml"))


def known_of(planned: Plan, **changes: object) -> Known:
    """Everything is done, by the sources of now."""
    ids = [run.run_id for run in planned.runs]
    known = Known(
        statuses=dict.fromkeys(ids, "done"),
        made_by=dict.fromkeys(ids, NOW.fingerprint),
        with_networks=frozenset(ids),
        files={BEFORE.fingerprint: BEFORE.files},
    )
    return replace(known, **changes)


def asked_of(planned: Plan, known: Known, wanted: list[Run] | None = None, **asked: object) -> Todo:
    return todo_of(planned, wanted or list(planned.runs), known, lambda run: NOW, Asked(**asked))


def kinds(todo: Todo) -> list[str]:
    return [f"{run.kind} {run.replicate}" for run in todo.runs]


def of_kind(planned: Plan, kind: str) -> list[Run]:
    return [run for run in planned.runs if run.kind == kind]


def without(known: Known, *runs: Run) -> Known:
    """These runs are not stored."""
    ids = {run.run_id for run in runs}
    return replace(
        known,
        statuses={key: value for key, value in known.statuses.items() if key not in ids},
        with_networks=known.with_networks - ids,
    )


def test_an_empty_folder_asks_for_everything_without_reasons(planned: Plan) -> None:
    """In the order of the plan."""
    todo = asked_of(planned, Known())
    assert [run.run_id for run in todo.runs] == [run.run_id for run in planned.runs]
    assert list(todo.notices(Path("x"))) == []


def test_nothing_is_done_twice(planned: Plan) -> None:
    """Where everything is stored there is nothing to do and nothing to say."""
    todo = asked_of(planned, known_of(planned))
    assert (todo.runs, list(todo.notices(Path("x")))) == ([], [])


def test_a_missing_student_needs_no_teacher_that_is_stored(planned: Plan) -> None:
    """But one whose network was not kept is trained again, and it is said why; diverged runs are done."""
    first = of_kind(planned, "treatment")[0]
    known = without(known_of(planned), first)
    comparator = next(run for run in of_kind(planned, "comparator") if run.replicate == 1)
    known = replace(known, statuses={**known.statuses, comparator.run_id: "diverged"})
    assert kinds(asked_of(planned, known)) == ["treatment 1"]
    todo = asked_of(planned, replace(known, with_networks=frozenset()))
    assert kinds(todo) == ["teacher 1", "treatment 1"]
    assert list(todo.notices(Path("x"))) == ["1 stored run done again: their networks are needed and were not kept"]


def test_failed_runs_stay_until_they_are_asked_for_and_so_does_what_needs_them(planned: Plan) -> None:
    """A failed teacher: its students are neither there nor to be done."""
    teacher = of_kind(planned, "teacher")[0]
    users = [run for run in planned.runs if run.replicate == 1 and run is not teacher]
    known = without(known_of(planned), *users)
    known = replace(
        known,
        statuses={**known.statuses, teacher.run_id: "failed"},
        with_networks=known.with_networks - {teacher.run_id},
    )
    todo = asked_of(planned, known)
    assert todo.runs == []
    (notice,) = todo.notices(Path("place"))
    assert notice.startswith("1 run failed before: not tried again without --retry-failed; kdrun show place")
    again = asked_of(planned, known, retry_failed=True)
    assert len(again.runs) == RUNS // 2
    assert list(again.notices(Path("x"))) == ["1 stored run done again: they had failed (--retry-failed)"]


@pytest.mark.parametrize("why", ["diverged", "unfit"])
def test_teachers_that_teach_nobody_are_not_trained_again_and_again(planned: Plan, why: str) -> None:
    """A diverged one has no network, one that missed its acceptance serves nobody: a new try would end alike."""
    teacher = of_kind(planned, "teacher")[0]
    known = without(known_of(planned), *(run for run in planned.runs if run.replicate == 1 and run is not teacher))
    if why == "unfit":
        known = replace(known, unfit=frozenset([teacher.run_id]))
    else:
        known = replace(
            known,
            statuses={**known.statuses, teacher.run_id: "diverged"},
            with_networks=known.with_networks - {teacher.run_id},
        )
    assert asked_of(planned, known).runs == []


def test_runs_of_other_code_are_told_or_done_again_or_neither(planned: Plan) -> None:
    """What changed is named."""
    known = known_of(planned, made_by=dict.fromkeys([run.run_id for run in planned.runs], BEFORE.fingerprint))
    warned = asked_of(planned, known)
    assert warned.runs == []
    (notice,) = warned.notices(Path("x"))
    assert notice.startswith("12 stored runs made by other code (kdrun itself): kept.")
    assert list(asked_of(planned, known, on_code_change="keep").notices(Path("x"))) == []
    rerun = asked_of(planned, known, on_code_change="rerun")
    assert len(rerun.runs) == RUNS
    (notice,) = rerun.notices(Path("x"))
    assert notice == "12 stored runs done again: their code changed: kdrun itself (--on-code-change rerun)"


def test_what_needs_a_run_of_other_code_is_done_again_with_it(planned: Plan) -> None:
    """Students of a teacher that a changed package made, and what starts from them."""
    teacher = of_kind(planned, "teacher")[1]
    known = known_of(planned)
    known = replace(known, made_by={**known.made_by, teacher.run_id: BEFORE.fingerprint})
    todo = asked_of(planned, known, on_code_change="rerun")
    assert len(todo.runs) == RUNS // 2
    assert {run.replicate for run in todo.runs} == {2}
    assert "5 stored runs done again: a run that they need is done again" in list(todo.notices(Path("x")))


def test_unknown_sources_are_not_other_sources(planned: Plan) -> None:
    """Code that cannot be read, such as a program on PATH, warns of nothing."""
    known = known_of(planned, made_by={})
    assert list(asked_of(planned, known).notices(Path("x"))) == []


def test_runs_that_were_under_way_when_kdrun_was_killed_are_counted(planned: Plan) -> None:
    """Those that came to their end before it are not."""
    first, second, *_ = planned.runs
    known = without(known_of(planned, running=frozenset([first.run_id, second.run_id])), second)
    todo = asked_of(planned, known)
    assert todo.stopped == 1
    assert next(iter(todo.notices(Path("x")))).startswith("1 run under way when an earlier kdrun ended")


def test_only_some_treatments_ask_for_those_and_what_they_need(planned: Plan) -> None:
    """The others stay missing."""
    some = [run for run in of_kind(planned, "treatment") if run.treatment == 3]
    assert kinds(asked_of(planned, Known(), wanted=some)) == ["teacher 1", "treatment 1", "teacher 2", "treatment 2"]
