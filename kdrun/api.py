"""kdrun from Python: declare a study, run it, open its results. The command line is a thin coat over this page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from kdrun.core.jit import holds_no_kernels
from kdrun.engine.code import look_at_code
from kdrun.engine.combinations import Combination, checked_techniques, every_combination
from kdrun.engine.gradcheck import check, checked_by
from kdrun.engine.local import Engine, processes, worker_count
from kdrun.engine.probe import Probe
from kdrun.engine.run import techniques
from kdrun.engine.sources import SourcesOfRuns
from kdrun.engine.workers import Limits
from kdrun.errors import GradientCheckFailed, Interrupted, UsageError
from kdrun.execution import carry_out, repeat
from kdrun.factors.contract import Level
from kdrun.folder import prepare_folder, refuse_unfit
from kdrun.idle import idle_warnings
from kdrun.listener import Listener
from kdrun.lock import locked
from kdrun.models.discover import cells
from kdrun.records import GradientCheck, Run
from kdrun.results import Results, let_go_of_networks
from kdrun.study.design import Treatment
from kdrun.study.load import load_study
from kdrun.study.plan import Plan, plan
from kdrun.study.schema import Sections, Study
from kdrun.study.wording import did_you_mean
from kdrun.tasks.contract import TrainingTask
from kdrun.tasks.discover import tasks
from kdrun.todo import Asked, Known, OnCodeChange, Todo, todo_of

if TYPE_CHECKING:
    from kdrun.report.plots import Picture

__all__ = ["Listener", "Results", "check_all_gradients", "check_gradients", "load_study", "open_results", "run"]

DEFAULT_RESULTS = "results"
COMPILING = "compiling the numeric core for this machine, once; this takes some ten seconds"
REPORTING = ("kdrun.stats.analysis", "kdrun.report.plots.registry", "kdrun.report.document", "kdrun.report.write")


def open_results(folder: Path | str) -> Results:
    """The results that a study left in a folder."""
    return Results.open(folder)


def check_all_gradients(
    tolerance: float = 1e-3, listener: Listener | None = None, workers: int | None = None
) -> list[GradientCheck]:
    """Check every two techniques together, and every task on every network, in worker processes: all cores by default.

    Techniques meet on the task that gives most of them something to look at.
    """
    combinations = all_combinations()
    listener = listener or Listener()
    if is_cold := holds_no_kernels():
        listener.noticed(COMPILING)
    listener.checking(len(combinations))
    with processes(worker_count(workers)) as engine:
        rows = checked_by(engine.executor, combinations, tolerance, is_cold)
    listener.checked(rows)
    return rows


def all_combinations() -> list[Combination]:
    """What `check_all_gradients` checks; it makes four rows of each, in this order."""
    trained: list[type[TrainingTask]] = [Probe, *(cls for cls in tasks().values() if issubclass(cls, TrainingTask))]
    return every_combination([cls.example() for cls in trained], [cell.example() for cell in cells().values()])


def check_gradients(
    study: Study, listener: Listener | None = None, executor: Executor | None = None
) -> list[GradientCheck]:
    """Check the combinations that a study uses: its float teachers, and the techniques of each treatment.

    They are checked in this process, or by the workers of `executor`.
    """
    combinations = _used_combinations(study)
    if not combinations:
        return []
    listener = listener or Listener()
    if is_cold := holds_no_kernels():
        listener.noticed(COMPILING)
    listener.checking(len(combinations))
    tolerance = study.gradcheck.tolerance
    if executor is None:
        rows = list(check(combinations, tolerance))
    else:
        rows = checked_by(executor, combinations, tolerance, is_cold)
    listener.checked(rows)
    return rows


def _used_combinations(study: Study) -> list[Combination]:
    """Each distinct combination of the study, on small instances of its task and network."""
    if not isinstance(study.task, TrainingTask):
        return []
    used: dict[str, Combination] = {}
    for treatment in plan(study).treatments:
        task, model = _sections(treatment).task, _sections(treatment).model
        if not isinstance(task, TrainingTask) or model is None:
            continue
        for chosen in ({}, *checked_techniques(_techniques(treatment))):
            combination = Combination(task.small(), model.example(), chosen)
            used.setdefault(repr(combination), combination)
    return list(used.values())


def _sections(treatment: Treatment) -> Sections:
    return Sections.model_validate(dict(treatment.sections))


def _techniques(treatment: Treatment) -> dict[str, Level]:
    student = _sections(treatment).student
    return techniques(student) if student is not None else {}


def run(
    study: Study,
    results: Path | str = DEFAULT_RESULTS,
    *,
    workers: int | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    on_code_change: OnCodeChange = "warn",
    timeout: float | None = None,
    memory: int | None = None,
    scheduler: str | None = None,
    listener: Listener | None = None,
) -> Results:
    """Do what is missing of a study, and write its tables and report into `<results>/<study>`.

    Args:
        study: from `load_study`.
        results: the folder that holds a folder for each study.
        workers: worker processes; all cores where None.
        only: levels by factor; treatments with other levels are left out this time.
        fresh: forget what is stored and start over.
        retry_failed: try runs again that failed before.
        on_code_change: what becomes of stored runs that other code made: kept with a warning (`warn`), done again
            (`rerun`), or kept (`keep`).
        timeout: seconds that one run may take; a run that takes longer has failed.
        memory: bytes that one worker may use; its share of what there is where None.
        scheduler: the address of a Dask scheduler whose workers do the runs, instead of this machine.
        listener: told what happens.

    Raises:
        UsageError: the folder cannot hold the runs, or somebody else works on it; nothing was run.
        GradientCheckFailed: nothing was trained.
        Interrupted: by Ctrl-C; what was finished is stored.
    """
    if not isinstance(study, Study):
        raise UsageError(f"run needs a study from load_study, not {type(study).__name__}")
    for name, number in (("workers", workers), ("memory", memory), ("timeout", timeout)):
        if number is not None and number <= 0:
            raise UsageError(f"{name} is {number}; more than 0 is needed")
    listener = listener or Listener()
    folder = Path(results) / study.study
    refuse_unfit(folder, fresh)
    planned = plan(study)
    wanted = _wanted(planned, only or {})
    asked, sources = Asked(retry_failed, on_code_change), SourcesOfRuns(study.folder)

    def missing() -> Todo:
        return todo_of(planned, wanted, Known() if fresh else Known.of(folder, planned), sources.of, asked)

    todo, stored = missing(), Results(folder, study, planned)
    if not todo.runs and stored.is_up_to_date():
        _notice(todo, folder, listener)
        return stored
    for text in idle_warnings(planned.treatments):
        listener.noticed(text)
    with locked(folder):
        # Whoever worked on the folder until now may have done some of it.
        todo = missing()
        _notice(todo, folder, listener)
        limits = Limits(_shortest(timeout, study), memory)
        return _done(planned, folder, todo, fresh, sources, _engine(scheduler, workers, study, limits), listener)


def _notice(todo: Todo, folder: Path, listener: Listener) -> None:
    for text in todo.notices(folder):
        listener.noticed(text)


def _shortest(timeout: float | None, study: Study) -> float | None:
    """The time limit of a run: the command's, or the task's where that is shorter."""
    limits = [limit for limit in (timeout, getattr(study.task, "timeout", None)) if limit is not None]
    return min(limits, default=None)


def _engine(scheduler: str | None, workers: int | None, study: Study, limits: Limits) -> AbstractContextManager[Engine]:
    """What does the runs: workers of this machine, or those of a cluster."""
    if scheduler is None:
        return processes(worker_count(workers), study.folder, limits)
    from kdrun.engine.cluster import cluster

    return cluster(scheduler, study.folder, limits)


def _done(
    planned: Plan,
    folder: Path,
    todo: Todo,
    fresh: bool,
    sources: SourcesOfRuns,
    workers: AbstractContextManager[Engine],
    listener: Listener,
) -> Results:
    """Do what is to do, and write tables and report."""
    study = planned.study

    def found() -> Results:
        # What it has read it keeps, so there is a new one after each change.
        return Results(folder, study, planned)

    if not todo.runs:
        prepare_folder(folder, study, fresh=False)
        if not _asks_to_repeat(found()):
            return _written(found(), None)
    with workers as engine:
        if todo.runs:
            _prepare_reports()
            look_at_code(engine.executor, study.task, todo.runs, study.folder)
            checks = _passed(check_gradients(study, listener, engine.executor))
            prepare_folder(folder, study, fresh)
            carry_out(engine, found(), todo.runs, checks, sources, listener)
        if not _asks_to_repeat(found()):
            return _written(found(), None)
        # Pictures do not show whether runs repeat, so they are drawn while that is found out.
        drawing = ThreadPoolExecutor(1)
        drawn = drawing.submit(found().draw)
        try:
            repeat(engine, found(), listener)
            pictures = drawn.result()
        except KeyboardInterrupt:
            raise Interrupted("Interrupted: all runs are stored; tables and report are not written yet") from None
        finally:
            drawing.shutdown(wait=False, cancel_futures=True)
    return _written(found(), pictures)


def _written(found: Results, drawn: Sequence[Picture] | None) -> Results:
    """Let go of networks that are kept no longer, and write tables and report."""
    if found.is_complete:
        let_go_of_networks(found.folder, found.study, found.plan.runs)
    found.write(drawn)
    return found


def _prepare_reports() -> None:
    """Import what tables and reports need, which takes a second, while workers are busy and this process waits."""

    def load() -> None:
        # What cannot be imported is told where it is needed.
        with suppress(Exception):
            for name in REPORTING:
                import_module(name)

    Thread(target=load, daemon=True).start()


def _passed(checks: list[GradientCheck]) -> list[GradientCheck]:
    failed = [row for row in checks if not row.passed]
    if failed:
        lines = "\n".join(
            f"  {row.name}, {row.dtype}: relative error {row.max_relative_error:.2e}, allowed {row.tolerance:g}"
            for row in failed
        )
        summary = f"{len(failed)} of {len(checks)} gradient checks failed; nothing was trained."
        raise GradientCheckFailed(f"{summary}\n{lines}")
    return checks


def _wanted(study_plan: Plan, only: Mapping[str, Sequence[str]]) -> list[Run]:
    """The runs of the plan whose levels are among `only`."""
    for factor, texts in only.items():
        known = study_plan.study.factors.get(factor)
        if known is None:
            names = list(study_plan.study.factors)
            raise UsageError(
                f"--only {factor}=…: there is no factor {factor!r}; known: {', '.join(names)}"
                f"{did_you_mean(factor, names)}"
            )
        levels = [level.text for level in known.levels]
        for text in texts:
            if text not in levels:
                raise UsageError(
                    f"--only {factor}={text}: unknown level {text!r}; known: {', '.join(levels)}"
                    f"{did_you_mean(text, levels)}"
                )
    return [run for run in study_plan.runs if _selected(run, only)]


def _selected(run: Run, only: Mapping[str, Sequence[str]]) -> bool:
    return all(run.levels[factor] in texts for factor, texts in only.items() if factor in run.levels)


def _asks_to_repeat(found: Results) -> bool:
    """Whether a criterion asks for replicate 1 again, which is complete and was not tried with these bits."""
    if not any("reproducible" in criterion["claim"] for criterion in found.study.resolved()["criteria"]):
        return False
    ids = [run.run_id for run in found.plan.replicate(1)]
    with found.store() as store:
        statuses = store.statuses()
        complete = all(statuses.get(run_id) in ("done", "diverged") for run_id in ids)
        return complete and bool(store.fact("repeated") != store.results_digest(ids))
