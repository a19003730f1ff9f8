"""Does runs of a study and stores what comes of them, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from kdrun.engine.local import Engine
from kdrun.engine.run import Finished
from kdrun.engine.schedule import Coordinator, Pair, Schedule, finished_of
from kdrun.engine.sources import SourcesOfRuns
from kdrun.errors import Interrupted
from kdrun.listener import Listener, Work
from kdrun.records import GradientCheck, Outcome, Run
from kdrun.report.manifest import environment
from kdrun.results import Results, missed
from kdrun.store.digest import DigestRow, results_digest
from kdrun.store.runs import Store
from kdrun.study.plan import Plan
from kdrun.study.schema import Study
from kdrun.tasks.measured import judged


def carry_out(
    engine: Engine,
    found: Results,
    todo: Sequence[Run],
    checks: Sequence[GradientCheck],
    sources: SourcesOfRuns,
    listener: Listener,
) -> None:
    """Do runs and store each batch of them as it ends. Interrupted, it stores what had ended until then."""
    study, planned = found.study, found.plan
    with Store.open(found.folder) as store:
        _begin(store, checks, sources, todo)
        stored = store.outcomes([run.run_id for run in planned.runs])
        schedule = Schedule(todo, _held(store, planned, todo), _serves(study))
        coordinator = Coordinator(engine.executor, schedule, engine.slots, store.hand_out, engine.execute)
        listener.starting(Work(planned.runs, todo, stored, engine.slots(), study.responses[0].name, engine.memory))
        del stored
        with _ending(store, listener):
            told = set[str]()
            try:
                for pairs in coordinator.outcomes():
                    for response, text in _keep(store, study, pairs, sources, listener):
                        if response not in told:
                            told.add(response)
                            listener.noticed(text)
            except KeyboardInterrupt:
                _keep(store, study, coordinator.stop(), sources, Listener())
                raise Interrupted(_how_far(store, planned)) from None
        peak = engine.peak_memory()
        store.set_fact("peak_memory", peak)
        if peak:
            listener.used(peak)


def _begin(store: Store, checks: Sequence[GradientCheck], sources: SourcesOfRuns, todo: Sequence[Run]) -> None:
    store.forget_running()
    store.save_gradient_checks(checks)
    for made_by in {id(made_by): made_by for made_by in map(sources.of, todo)}.values():
        store.keep_sources(made_by.fingerprint, made_by.files)
    store.set_fact("environment", environment())
    store.set_fact("folder", str(sources.folder))
    if store.fact("start") is None:
        store.set_fact("start", _now())


@contextmanager
def _ending(store: Store, listener: Listener) -> Iterator[None]:
    """However it ends, the display does, and nothing counts as running any more."""
    try:
        yield
    finally:
        listener.ended()
    store.forget_running()
    store.set_fact("end", _now())


def _keep(
    store: Store, study: Study, pairs: Sequence[Pair], sources: SourcesOfRuns, listener: Listener
) -> list[tuple[str, str]]:
    """Store outcomes. Gives responses that cannot be analysed, each with what is wrong with it."""
    named = [(run, judged(outcome, study.task, study.measured)) for run, outcome in pairs]
    store.commit(named, sources=sources.fingerprint)
    for run, outcome in named:
        listener.finished(run, outcome)
    return [found for run, outcome in named if run.kind != "teacher" for found in _out_of_place(study, run, outcome)]


def _out_of_place(study: Study, run: Run, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """The responses of a run that have no place on the scale that they are to be analysed on."""
    # It takes a while to import, and the first run is not to wait for it.
    from kdrun.stats.scales import out_of_place

    for response in study.responses:
        value = outcome.responses.get(response.name)
        text = "" if value is None else out_of_place(response.name, float(value), response.scale)
        if text:
            yield response.name, f"{run.title}: {text}: no effects will be told; stop, and choose another scale for it"


def _how_far(store: Store, planned: Plan) -> str:
    statuses = store.statuses()
    done = sum(run.run_id in statuses for run in planned.runs)
    return f"Interrupted: {done} of {len(planned)} runs are stored"


def _serves(study: Study) -> Callable[[Run, Outcome], bool]:
    return lambda run, outcome: missed(study, run, outcome) is None


def _held(store: Store, planned: Plan, todo: Sequence[Run]) -> dict[str, Finished]:
    """Stored runs, with their networks, that runs to do need; a teacher that missed its acceptance serves nobody."""
    needed = {need for run in todo for need in run.needs} - {run.run_id for run in todo}
    runs = [run for run in planned.runs if run.run_id in needed]
    outcomes: Mapping[str, Outcome] = store.outcomes([run.run_id for run in runs], parameters=True)
    accepted = [run for run in runs if missed(planned.study, run, outcomes.get(run.run_id)) is None]
    return finished_of(accepted, outcomes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def repeat(engine: Engine, found: Results, listener: Listener) -> None:
    """Run replicate 1 again, in workers that have done other runs since, and store whether its bits are the same."""
    study, runs = found.study, list(found.plan.replicate(1))
    listener.repeating(len(runs))
    coordinator = Coordinator(engine.executor, Schedule(runs, {}, _serves(study)), engine.slots, execute=engine.execute)
    outcomes = (outcome for pairs in coordinator.outcomes() for _, outcome in pairs)
    again = [DigestRow.of(judged(outcome, study.task, study.measured)) for outcome in outcomes]
    with Store.open(found.folder) as store:
        first = store.results_digest([run.run_id for run in runs])
        same = first == results_digest(again)
        store.set_fact("reproducible", same)
        store.set_fact("repeated", first)
    listener.repeated(same)
