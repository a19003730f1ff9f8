"""What `kdrun verify` tells: stored runs, run again in fresh processes and compared bit for bit with what is stored.

Nothing is written into the folder. A run is a pure function of its spec, its streams and the runs that it needs, so a
needed network that is stored is handed in as it stands: a difference then shows in the run that it begins in.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from kdrun.engine.code import look_at_code
from kdrun.engine.local import processes, worker_count
from kdrun.engine.run import Finished
from kdrun.engine.schedule import Coordinator, Schedule, finished_of
from kdrun.engine.sources import SourcesOfRuns
from kdrun.errors import Interrupted, UsageError
from kdrun.listener import Listener, Work
from kdrun.records import Outcome, Run
from kdrun.report.manifest import environment
from kdrun.report.text import counted
from kdrun.report.verify import RunAgain, Verification, difference_sentence
from kdrun.results import MANIFEST_FILE, Results, missed
from kdrun.store.database import FILE_NAME
from kdrun.store.digest import DigestRow, parameters_digest, responses_text, results_digest
from kdrun.store.runs import Store
from kdrun.tasks.contract import Task
from kdrun.tasks.measured import judged

DEFAULT_SAMPLE = 10
FINISHED = ("done", "diverged")
TABLE = "tables/runs.csv"
# Stands where a folder without its runs does not tell something; nothing is compared with it.
UNKNOWN = ""


def verify(
    folder: Path | str,
    sample: int | None = None,
    *,
    everything: bool = False,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Verification:
    """Run stored runs again in fresh worker processes, and compare them bit for bit with what is stored.

    A folder with its runs is compared run by run: status, responses, trained network. A folder without them, such as
    one kept in git, is run completely and compared by the results digest of its manifest and by its table of runs; a
    sample of it is compared by the table alone, which has no networks.

    Args:
        folder: the results folder of one study.
        sample: how many runs to choose; 10 where None, and all of them in a folder without its runs.
        everything: every run that is done or diverged.
        workers: worker processes; all cores where None.
        listener: told what happens.

    Raises:
        UsageError: there is nothing in the folder to compare with; nothing was run.
        Interrupted: by Ctrl-C; nothing was written.
    """
    for name, number in (("sample", sample), ("workers", workers)):
        if number is not None and number < 1:
            raise UsageError(f"{name} is {number}; at least 1 is needed")
    if everything and sample is not None:
        raise UsageError("a sample and everything were asked for; leave one of them out (--sample, --all)")
    found = Results.open(folder)
    if found.has_runs:
        with found.store() as store:
            todo = _stored(found, store, None if everything else sample or DEFAULT_SAMPLE)
    elif (found.folder / MANIFEST_FILE).is_file():
        todo = _committed(found, sample)
    else:
        raise UsageError(
            f"{folder}: there is neither {FILE_NAME} nor {MANIFEST_FILE}, so nothing tells what its runs came to; put"
            " back a copy of one of them, or run the study with kdrun factorial"
        )
    return _verified(found, todo, worker_count(workers), listener or Listener())


def run_again(
    task: Task,
    runs: Sequence[Run],
    held: Mapping[str, Finished],
    workers: int,
    may_serve: Callable[[Run, Outcome], bool] = lambda run, outcome: True,
    folder: Path | None = None,
) -> Generator[tuple[Run, Outcome], None, None]:
    """Do runs of a task in fresh worker processes; outcomes come as they finish. What runs need is `held`, or done too.

    `folder` is where code of the user's own stands; UsageError says where it is not there.
    """
    with processes(min(workers, len(runs)), folder) as engine:
        look_at_code(engine.executor, task, runs, folder or Path.cwd())
        coordinator = Coordinator(
            engine.executor, Schedule(runs, dict(held), may_serve), engine.slots, execute=engine.execute
        )
        for pairs in coordinator.outcomes():
            yield from pairs


@dataclass(frozen=True)
class _Todo:
    """What a folder holds of its runs, and what of it is to be run again.

    `rows` are the runs that are not missing, `runs` those to be run: the `chosen`, which are all that are finished
    where `complete`, and those whose networks they need. `digest` is the one that a manifest names, `kept` are digests
    of the stored networks themselves. A folder without its runs tells no networks, and without a table no runs.
    """

    against: str
    rows: Mapping[str, DigestRow]
    chosen: Sequence[Run]
    runs: Sequence[Run]
    complete: bool
    made_with: Mapping[str, Any]
    digest: str | None = None
    held: Mapping[str, Finished] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    same_sources: bool | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    tells_runs: bool = True
    tells_networks: bool = True
    told: Sequence[str] | None = None


def _stored(found: Results, store: Store, sample: int | None) -> _Todo:
    """What a folder with its runs asks for."""
    rows = {row.run_id: row for row in store.digest_rows(run.run_id for run in found.plan.runs)}
    finished = _finished(found, rows)
    chosen = finished if sample is None else spread(finished, sample)
    held, runs = _with_needs(found, chosen, rows, store)
    with_networks = store.with_parameters()
    return _Todo(
        against=FILE_NAME,
        rows=rows,
        chosen=chosen,
        runs=runs,
        complete=len(chosen) == len(finished),
        made_with=store.fact("environment", {}),
        held=held,
        kept={run.run_id: _network(store, run.run_id) for run in runs if run.run_id in with_networks},
        same_sources=_same_sources(store, chosen, Path(store.fact("folder", "."))),
        folder=Path(store.fact("folder", ".")),
    )


def _same_sources(store: Store, chosen: Sequence[Run], folder: Path) -> bool:
    """Whether the sources that made the chosen runs are those that are here now."""
    made_by, sources = store.made_by(), SourcesOfRuns(folder)
    return all(made_by.get(run.run_id) == sources.fingerprint(run) for run in chosen)


def _committed(found: Results, sample: int | None) -> _Todo:
    """What a folder without its runs asks for: all of them, or a sample by its table."""
    digest, manifest, table = found.results_digest, found.written_manifest(), _table_rows(found)
    if table is None and sample is not None:
        raise UsageError(
            f"{found.folder / TABLE}: a sample is compared with this table, which is not there; leave --sample out, and"
            f" all runs are compared with the digest in {MANIFEST_FILE}"
        )
    # Without a table, all that is known of a run is that the digest may have a line of it.
    rows = (
        table
        if table is not None
        else {run.run_id: DigestRow(run.run_id, "done", UNKNOWN, UNKNOWN) for run in found.plan.runs}
    )
    finished = _finished(found, rows)
    chosen = finished if sample is None else spread(finished, sample)
    complete = len(chosen) == len(finished)
    return _Todo(
        against=MANIFEST_FILE if complete else TABLE,
        rows=rows,
        chosen=chosen,
        runs=_with_needs(found, chosen, rows, None)[1],
        complete=complete,
        made_with=manifest,
        digest=digest if complete else None,
        notes=tuple(_notes(found, manifest, rows)),
        tells_runs=table is not None,
        tells_networks=False,
        told=found.study.measured,
    )


def _notes(found: Results, manifest: Mapping[str, Any], rows: Mapping[str, DigestRow]) -> Iterator[str]:
    """What does not belong together in a folder without its runs."""
    if manifest.get("study_digest") != found.study_digest:
        yield (
            f"study.yaml is not the study that {MANIFEST_FILE} was written for, or this kdrun reads it differently:"
            " their study digests differ"
        )
    planned = {run.run_id for run in found.plan.runs}
    if rows.keys() != planned:
        more, fewer = len(rows.keys() - planned), len(planned - rows.keys())
        yield (
            f"{TABLE} and study.yaml do not match: {counted(more, 'run')} only in the table, {counted(fewer, 'run')}"
            " only in the study; these were not run"
        )


def _finished(found: Results, rows: Mapping[str, DigestRow]) -> list[Run]:
    """The planned runs that are done or diverged: what failed may have failed for want of memory, say."""
    runs = [run for run in found.plan.runs if _is_finished(run, rows)]
    if not runs:
        raise UsageError(
            f"{found.folder}: none of the runs that study.yaml asks for is done here, so there is nothing to verify;"
            " run them with kdrun factorial"
        )
    return runs


def spread(runs: Sequence[Run], number: int) -> list[Run]:
    """So many of the runs, in their order, spread over kinds, treatments, levels and replicates.

    The choice depends on the runs alone. The same command asks the same question each time: what a change broke stays
    red until it is mended, and `git bisect` finds it; what a chance choice finds today may hide tomorrow.
    """
    if number >= len(runs):
        return list(runs)
    parts: dict[object, list[Run]] = {}
    for run in runs:
        parts.setdefault(_part(run), []).append(run)
    sizes = Counter[str](members[0].kind for members in parts.values())
    seen, chosen = _Seen(), set[str]()
    for _ in range(number):
        part = min((members for members in parts.values() if members), key=lambda members: seen.rank(members[0], sizes))
        run = min(part, key=lambda member: seen.count("replicate", member.replicate))
        part.remove(run)
        seen.add(run)
        chosen.add(run.run_id)
    return [run for run in runs if run.run_id in chosen]


class _Seen:
    """How often the runs chosen so far have each property."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, object]]()

    def count(self, name: str, value: object) -> int:
        return self._counts[name, value]

    def add(self, run: Run) -> None:
        self._counts.update((("kind", run.kind), ("part", _part(run)), ("replicate", run.replicate), *_levels(run)))

    def rank(self, run: Run, sizes: Mapping[str, int]) -> tuple[float, ...]:
        """Lowest for what was chosen least: this part, its kind for how many parts it has, its levels."""
        levels = sum(self.count(*level) for level in _levels(run))
        return self.count("part", _part(run)), self.count("kind", run.kind) / sizes[run.kind], levels


def _part(run: Run) -> object:
    return run.kind, run.treatment, run.comparator, tuple(run.levels.values())


def _levels(run: Run) -> Iterable[tuple[str, object]]:
    return ((f"level {factor}", level) for factor, level in run.levels.items())


def _with_needs(
    found: Results, chosen: Sequence[Run], rows: Mapping[str, DigestRow], store: Store | None
) -> tuple[dict[str, Finished], list[Run]]:
    """Stored networks that chosen runs need, and the runs to do: those chosen, and what they need and is not stored.

    A stored network that is not the one that its run's digest names is not handed on: its run is run again as well.
    """
    by_id = {run.run_id: run for run in found.plan.runs}
    todo, held = {run.run_id for run in chosen}, dict[str, Finished]()
    queue = list(chosen)
    while queue:
        needed = [need for need in dict.fromkeys(need for run in queue for need in run.needs) if need not in held]
        if store is not None:
            read = {need: _sound(store, need, rows) for need in needed}
            sound = {need: outcome for need, outcome in read.items() if outcome is not None}
            held |= finished_of([by_id[need] for need in sound], sound)
        queue = [by_id[need] for need in needed if need not in held and need not in todo]
        todo |= {run.run_id for run in queue}
    return held, [run for run in found.plan.runs if run.run_id in todo]


def _sound(store: Store, run_id: str, rows: Mapping[str, DigestRow]) -> Outcome | None:
    """A stored run with its network, where that is the one that its digest names."""
    outcome = _read(store, run_id)
    if outcome is None or not outcome.parameters or run_id not in rows:
        return None
    return outcome if parameters_digest(outcome.parameters) == rows[run_id].parameters_sha256 else None


def _network(store: Store, run_id: str) -> str:
    """The digest of a network that is stored."""
    outcome = _read(store, run_id)
    return "unreadable" if outcome is None else parameters_digest(outcome.parameters)


def _read(store: Store, run_id: str) -> Outcome | None:
    """A stored run with its network; None where it is not there or cannot be read."""
    try:
        return store.outcomes([run_id], parameters=True).get(run_id)
    except Exception:
        # Bytes that were changed are met in any of zipfile, numpy and json, and each has errors of its own.
        return None


def _table_rows(found: Results) -> dict[str, DigestRow] | None:
    """What the table of runs tells, with the missing ones; None where there is no table."""
    path = found.folder / TABLE
    names = found.study.measured
    try:
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [_table_row(row, names) for row in csv.DictReader(file)]
        elif path.with_suffix(".parquet").is_file():
            rows = [_table_row(row, names) for row in found.runs.to_dict("records")]
        else:
            return None
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{path}: this is no table of runs ({error}); put back a copy of it, or delete it with its .parquet, and"
            " only results digests are compared"
        ) from None
    return {row.run_id: row for row in rows}


def _table_row(row: Mapping[Any, Any], names: Iterable[str]) -> DigestRow:
    """A row of the table; numbers in it read back to the same bits."""
    values = {name: float(row[name]) for name in names if row[name] != ""}
    responses = responses_text({name: value for name, value in values.items() if not isnan(value)})
    # What is neither done nor diverged has no network, and is not run again.
    network = UNKNOWN if row["status"] in FINISHED else parameters_digest({})
    return DigestRow(row["run_id"], row["status"], responses, network)


def _verified(found: Results, todo: _Todo, workers: int, listener: Listener) -> Verification:
    """Do the runs, and set what came of them beside what is stored."""
    again = _run_all(found, todo, workers, listener)
    statuses = [todo.rows[run.run_id].status if run.run_id in todo.rows else "missing" for run in found.plan.runs]
    return Verification(
        folder=str(found.folder),
        study=found.study.study,
        against=todo.against,
        complete=todo.complete,
        finished=sum(status in FINISHED for status in statuses),
        left_out={status: statuses.count(status) for status in ("failed", "missing") if status in statuses},
        chosen=tuple(todo.chosen),
        runs=tuple(again[run.run_id] for run in todo.runs if run.run_id in again),
        undone=tuple(run for run in todo.chosen if todo.tells_runs and run.run_id not in again),
        digests=_digests(todo, again),
        made_with=todo.made_with,
        made_now=environment(),
        same_sources=todo.same_sources,
        notes=todo.notes,
    )


def _digests(todo: _Todo, again: Mapping[str, RunAgain]) -> tuple[str, str] | None:
    """The digest of the runs compared, as stored and as they come now; failed ones have the line that they had.

    A table does not know the networks that a digest is made of: only the manifest's, over all runs, is compared.
    """
    if todo.against == TABLE:
        return None
    failed = [row for row in todo.rows.values() if row.status == "failed"] if todo.complete else []
    stored = [todo.rows[run.run_id] for run in todo.runs if _is_finished(run, todo.rows)]
    now = [item.now for item in again.values()]
    return todo.digest or results_digest([*stored, *failed]), results_digest([*now, *failed])


def _is_finished(run: Run, rows: Mapping[str, DigestRow]) -> bool:
    return run.run_id in rows and rows[run.run_id].status in FINISHED


def _run_all(found: Results, todo: _Todo, workers: int, listener: Listener) -> dict[str, RunAgain]:
    """What came of every run that could be done, by run id; a difference is told as soon as it is found."""
    again: dict[str, RunAgain] = {}
    work = Work(todo.runs, todo.runs, {}, min(workers, len(todo.runs)), found.study.responses[0].name)
    listener.starting(work)
    try:
        with closing(
            run_again(found.study.task, todo.runs, todo.held, workers, _may_serve(found, todo), todo.folder)
        ) as outcomes:
            for run, outcome in outcomes:
                listener.finished(run, outcome)
                if not _is_finished(run, todo.rows):
                    continue
                item = _beside(run, judged(outcome, found.study.task, found.study.measured), todo)
                again[run.run_id] = item
                if item.differences:
                    listener.noticed(difference_sentence(item))
    except UsageError as error:
        if todo.folder is not None:
            raise
        raise UsageError(
            f"{error}; a results folder without {FILE_NAME} does not know where its study stood: call kdrun verify from"
            " the folder of the study, from which paths in it lead to its files"
        ) from None
    except KeyboardInterrupt:
        different = sum(bool(item.differences) for item in again.values())
        raise Interrupted(
            f"Interrupted: {len(again)} of {len(todo.runs)} runs were run again, {different} of them differ; nothing"
            " was written"
        ) from None
    finally:
        listener.ended()
    return again


def _beside(run: Run, outcome: Outcome, todo: _Todo) -> RunAgain:
    return RunAgain(
        run=run,
        stored=todo.rows[run.run_id],
        now=DigestRow.of(outcome),
        network=todo.kept.get(run.run_id),
        error=outcome.error,
        tells_run=todo.tells_runs,
        tells_network=todo.tells_networks,
        told=None if todo.told is None else frozenset(todo.told),
    )


def _may_serve(found: Results, todo: _Todo) -> Callable[[Run, Outcome], bool]:
    """What is known to be done was served, whatever its teacher must reach now; else its acceptance decides."""
    if todo.tells_runs:
        return lambda run, outcome: True
    return lambda run, outcome: missed(found.study, run, outcome) is None
