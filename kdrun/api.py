"""kdrun from Python: declare a study, run it, open its results. The command line is a thin coat over this page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from kdrun.core.jit import holds_no_kernels
from kdrun.engine.gradcheck import Combination, all_combinations, check, checked_by, checked_techniques
from kdrun.engine.local import processes, worker_count
from kdrun.engine.probe import Probe
from kdrun.engine.run import Finished, techniques
from kdrun.engine.schedule import Schedule, carry_out, finished_of
from kdrun.engine.sources import computing_sources
from kdrun.errors import GradientCheckFailed, Interrupted, UsageError
from kdrun.factors.contract import Level
from kdrun.folder import prepare_folder, refuse_unfit
from kdrun.listener import Listener, Work
from kdrun.models.discover import cells
from kdrun.records import GradientCheck, Run
from kdrun.report.manifest import environment
from kdrun.results import Results, let_go_of_networks, missed
from kdrun.store.digest import DigestRow, results_digest
from kdrun.store.runs import Store
from kdrun.study.design import Treatment
from kdrun.study.load import load_study
from kdrun.study.plan import Plan, plan
from kdrun.study.schema import Sections, Study
from kdrun.tasks.contract import TrainingTask
from kdrun.tasks.discover import tasks

if TYPE_CHECKING:
    from kdrun.report.plots import Picture

__all__ = ["Listener", "Results", "check_all_gradients", "check_gradients", "load_study", "open_results", "run"]

DEFAULT_RESULTS = "results"
REPORTING = ("kdrun.stats.analysis", "kdrun.report.plots.registry", "kdrun.report.document", "kdrun.report.write")


def open_results(folder: Path | str) -> Results:
    """The results that a study left in a folder."""
    return Results.open(folder)


def check_all_gradients(tolerance: float = 1e-3) -> list[GradientCheck]:
    """Check every combination of every technique, task and network that there is."""
    trained: list[type[TrainingTask]] = [Probe, *(cls for cls in tasks().values() if issubclass(cls, TrainingTask))]
    combinations = [
        combination
        for task in trained
        for cell in cells().values()
        for combination in all_combinations(task.example(), cell.example())
    ]
    return list(check(combinations, tolerance))


def check_gradients(
    study: Study, listener: Listener | None = None, executor: Executor | None = None
) -> list[GradientCheck]:
    """Check the combinations that a study uses: its float teachers, and the techniques of each treatment.

    They are checked in this process, or by the workers of `executor`.
    """
    combinations = _used_combinations(study)
    listener = listener or Listener()
    if is_cold := holds_no_kernels():
        listener.noticed("compiling the numeric core for this machine, once; this takes some ten seconds")
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
    task = study.task
    if not isinstance(task, TrainingTask) or study.model is None:
        return []
    used: dict[str, Combination] = {}
    for treatment in plan(study).treatments:
        model = type(_sections(treatment).model or study.model)
        for chosen in ({}, checked_techniques(_techniques(treatment))):
            combination = Combination(task.example(), model.example(), chosen)
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
    listener: Listener | None = None,
) -> Results:
    """Do what is missing of a study, and write its tables and report into `<results>/<study>`.

    Worker processes import the calling script again: call this below `if __name__ == "__main__":`.

    Args:
        study: from `load_study`.
        results: the folder that holds a folder for each study.
        workers: worker processes; all cores where None.
        only: levels by factor; treatments with other levels are left out this time.
        fresh: forget what is stored and start over.
        listener: told what happens.

    Raises:
        UsageError: the folder cannot hold the runs; nothing was run.
        GradientCheckFailed: nothing was trained.
        Interrupted: by Ctrl-C; what was finished is stored.
    """
    if not isinstance(study, Study):
        raise UsageError(f"run needs a study from load_study, not {type(study).__name__}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; at least 1 is needed")
    listener = listener or Listener()
    folder = Path(results) / study.study
    refuse_unfit(folder, fresh)
    study_plan = plan(study)
    wanted = _wanted(study_plan, only or {})
    missing = wanted if fresh else _missing(folder, wanted)
    missing = _with_needs(study_plan, missing, set() if fresh else _ids_with_networks(folder))
    count = worker_count(workers)
    if not missing:
        stored = Results(folder, study)
        if stored.is_up_to_date():
            return stored
        prepare_folder(folder, study, fresh=False)
        if not _asks_to_repeat(stored):
            return _written(Results(folder, study), None)
    with processes(count) as executor:
        if missing:
            _prepare_reports()
            checks = _passed(check_gradients(study, listener, executor))
            prepare_folder(folder, study, fresh)
            _carry_out(executor, Results(folder, study), missing, checks, count, listener)
        found = Results(folder, study)
        if not _asks_to_repeat(found):
            return _written(found, None)
        # Pictures do not show whether runs repeat, so they are drawn while that is found out.
        with ThreadPoolExecutor(1) as drawing:
            drawn = drawing.submit(found.draw)
            try:
                _repeat(executor, Results(folder, study), count, listener)
                pictures = drawn.result()
            except KeyboardInterrupt:
                raise Interrupted("Interrupted: all runs are stored; tables and report are not written yet") from None
    return _written(Results(folder, study), pictures)


def _written(found: Results, drawn: Sequence[Picture] | None) -> Results:
    """Let go of networks that are kept no longer, and write tables and report."""
    runs = found.plan.runs
    if not _missing(found.folder, runs):
        let_go_of_networks(found.folder, found.study, runs)
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
            names = ", ".join(study_plan.study.factors)
            raise UsageError(f"--only {factor}=…: there is no factor {factor!r}; known: {names}")
        levels = [level.text for level in known.levels]
        for text in texts:
            if text not in levels:
                raise UsageError(f"--only {factor}={text}: unknown level {text!r}; known: {', '.join(levels)}")
    return [run for run in study_plan.runs if _selected(run, only)]


def _selected(run: Run, only: Mapping[str, Sequence[str]]) -> bool:
    return all(run.levels[factor] in texts for factor, texts in only.items() if factor in run.levels)


def _missing(folder: Path, wanted: Sequence[Run]) -> list[Run]:
    """The runs that are neither done nor diverged; failed ones are tried again."""
    if not Store.exists(folder):
        return list(wanted)
    with Store.open(folder, read_only=True) as store:
        statuses = store.statuses()
    return [run for run in wanted if statuses.get(run.run_id, "missing") in ("missing", "failed")]


def _with_needs(study_plan: Plan, missing: Sequence[Run], stored: set[str]) -> list[Run]:
    """The missing runs, and those that they need and whose trained networks are not `stored`."""
    by_id = {run.run_id: run for run in study_plan.runs}
    todo = {run.run_id for run in missing}
    queue = list(missing)
    while queue:
        for need in queue.pop().needs:
            if need not in todo and need not in stored:
                todo.add(need)
                queue.append(by_id[need])
    return [run for run in study_plan.runs if run.run_id in todo]


def _ids_with_networks(folder: Path) -> set[str]:
    if not Store.exists(folder):
        return set()
    with Store.open(folder, read_only=True) as store:
        return store.with_parameters()


def _carry_out(
    executor: Executor,
    found: Results,
    missing: Sequence[Run],
    checks: Sequence[GradientCheck],
    workers: int,
    listener: Listener,
) -> None:
    """Do runs and store each as it ends."""
    study, study_plan = found.study, found.plan
    with Store.open(found.folder) as store:
        store.save_gradient_checks(checks)
        sources = computing_sources()
        others = sum(count for made_by, count in store.sources().items() if made_by != sources)
        if others:
            listener.noticed(f"{others} stored runs were made by another version of kdrun; --fresh runs them again")
        store.set_fact("environment", environment())
        if store.fact("start") is None:
            store.set_fact("start", _now())
        stored = store.outcomes([run.run_id for run in study_plan.runs])
        held = _held(store, study_plan, missing)
        schedule = Schedule(missing, held, lambda run, outcome: missed(study, run, outcome) is None)
        listener.starting(Work(study_plan.runs, missing, stored, workers, study.responses[0].name))
        outcomes = carry_out(executor, schedule, in_flight=2 * workers)
        try:
            for run, outcome in outcomes:
                store.commit([(run, outcome)], sources=sources)
                listener.finished(run, outcome)
        except KeyboardInterrupt:
            done = len(study_plan.runs) - len(_missing(found.folder, study_plan.runs))
            raise Interrupted(f"Interrupted: {done} of {len(study_plan.runs)} runs are stored") from None
        finally:
            listener.ended()
            store.set_fact("end", _now())


def _held(store: Store, study_plan: Plan, missing: Sequence[Run]) -> dict[str, Finished]:
    """Stored runs, with their networks, that missing ones need; a teacher that missed its acceptance serves nobody."""
    needed = {need for run in missing for need in run.needs} - {run.run_id for run in missing}
    runs = [run for run in study_plan.runs if run.run_id in needed]
    outcomes = store.outcomes([run.run_id for run in runs], parameters=True)
    accepted = [run for run in runs if missed(study_plan.study, run, outcomes.get(run.run_id)) is None]
    return finished_of(accepted, outcomes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _first_replicate(found: Results) -> list[Run]:
    return list(found.plan.replicate(1))


def _asks_to_repeat(found: Results) -> bool:
    """Whether a criterion asks for replicate 1 again, which is complete and was not tried with these bits."""
    asked = any("reproducible" in criterion["claim"] for criterion in found.study.resolved()["criteria"])
    runs = _first_replicate(found)
    if not asked or _missing(found.folder, runs):
        return False
    with found.store() as store:
        return bool(store.fact("repeated") != store.results_digest([run.run_id for run in runs]))


def _repeat(executor: Executor, found: Results, workers: int, listener: Listener) -> None:
    """Run replicate 1 again, in workers that have done other runs since, and store whether its bits are the same."""
    runs = _first_replicate(found)
    listener.repeating(len(runs))
    schedule = Schedule(runs, {}, lambda run, outcome: missed(found.study, run, outcome) is None)
    again = [DigestRow.of(outcome) for _, outcome in carry_out(executor, schedule, in_flight=2 * workers)]
    with Store.open(found.folder) as store:
        first = store.results_digest([run.run_id for run in runs])
        same = first == results_digest(again)
        store.set_fact("reproducible", same)
        store.set_fact("repeated", first)
    listener.repeated(same)
