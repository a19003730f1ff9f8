"""What is to do of a study: which runs, and why one that was done before is done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdrun.engine.sources import Sources
from kdrun.records import Run
from kdrun.report.text import counted
from kdrun.results import missed
from kdrun.store.runs import Store
from kdrun.study.plan import Plan
from kdrun.tasks.contract import ExternalTask

OnCodeChange = Literal["warn", "rerun", "keep"]
MOST_NAMED = 5


@dataclass(frozen=True)
class Asked:
    """What the user asks for beside what is missing."""

    retry_failed: bool = False
    on_code_change: OnCodeChange = "warn"


@dataclass(frozen=True)
class Known:
    """What a folder knows of runs, by id.

    Statuses, fingerprints of sources, which have networks, lack a response, were running when their kdrun ended, or are
    no teachers (`unfit`); and the files of each fingerprint.
    """

    statuses: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, str] = field(default_factory=dict)
    with_networks: frozenset[str] = frozenset()
    lacking: Mapping[str, str] = field(default_factory=dict)
    running: frozenset[str] = frozenset()
    unfit: frozenset[str] = frozenset()
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, plan: Plan) -> Known:
        """What is stored in a folder; nothing where it holds no runs."""
        if not Store.exists(folder):
            return cls()
        study, teachers = plan.study, [run for run in plan.runs if run.kind == "teacher"]
        with Store.open(folder, read_only=True) as store:
            outcomes = store.outcomes([run.run_id for run in teachers])
            names = study.measured if isinstance(study.task, ExternalTask) else ()
            return cls(
                statuses=store.statuses(),
                made_by=store.made_by(),
                with_networks=frozenset(store.with_parameters()),
                lacking={run_id: name for name in names for run_id in store.without_response(name)},
                running=frozenset(store.running()),
                unfit=frozenset(run.run_id for run in teachers if missed(study, run, outcomes.get(run.run_id))),
                files=store.sources(),
            )


@dataclass(frozen=True)
class Todo:
    """Runs to do, in the order of the plan.

    `again` says why stored ones are among them, by id; `failed` are those that failed before and are let be,
    `other_code` those that other code made and that stay, with what changed; `stopped` is how many were running and
    never ended.
    """

    runs: Sequence[Run]
    again: Mapping[str, str] = field(default_factory=dict)
    failed: Sequence[Run] = ()
    other_code: Mapping[str, str] = field(default_factory=dict)
    stopped: int = 0

    def notices(self, folder: Path) -> Iterator[str]:
        """What the user should know before it begins."""
        if self.stopped:
            yield f"{counted(self.stopped, 'run')} under way when an earlier kdrun ended: missing, and done again"
        for reason, number in Counter(self.again.values()).items():
            yield f"{counted(number, 'stored run')} done again: {reason}"
        for change, number in Counter(self.other_code.values()).items():
            yield (
                f"{counted(number, 'stored run')} made by other code ({change}): kept. --on-code-change rerun does them"
                " again, --on-code-change keep says nothing"
            )
        if self.failed:
            yield (
                f"{counted(len(self.failed), 'run')} failed before: not tried again without --retry-failed;"
                f" kdrun show {folder} {self.failed[0].run_id} says why"
            )


def todo_of(plan: Plan, wanted: Sequence[Run], known: Known, sources: Callable[[Run], Sources], asked: Asked) -> Todo:
    """Those of the `wanted` runs that are missing or asked for again, and what they need."""
    return _Choice(plan, known, sources, asked).of(wanted)


class _Choice:
    def __init__(self, plan: Plan, known: Known, sources: Callable[[Run], Sources], asked: Asked) -> None:
        self._plan, self._known, self._sources, self._asked = plan, known, sources, asked
        self._again: dict[str, str] = {}
        self._other_code: dict[str, str] = {}
        self._changes: dict[tuple[str, str], str] = {}

    def of(self, wanted: Sequence[Run]) -> Todo:
        known = self._known
        chosen = {run.run_id for run in wanted if self._is_to_do(run)}
        chosen |= self._after(wanted)
        failed = {run.run_id for run in self._plan.runs if self._is_left(run)}
        diverged = {run_id for run_id, status in known.statuses.items() if status == "diverged"}
        todo = self._with_needs(chosen, (failed | diverged | known.unfit) - chosen)
        return Todo(
            runs=[run for run in self._plan.runs if run.run_id in todo],
            again={run_id: reason for run_id, reason in self._again.items() if run_id in todo},
            failed=[run for run in wanted if run.run_id in failed],
            other_code={run_id: text for run_id, text in self._other_code.items() if run_id not in todo},
            stopped=len(known.running - known.statuses.keys()),
        )

    def _is_left(self, run: Run) -> bool:
        return self._known.statuses.get(run.run_id) == "failed" and not self._asked.retry_failed

    def _is_to_do(self, run: Run) -> bool:
        """Whether a run is missing, or is done again for a reason of its own."""
        status = self._known.statuses.get(run.run_id)
        if status is None:
            return True
        if status == "failed":
            self._again[run.run_id] = "they had failed (--retry-failed)"
            return self._asked.retry_failed
        if run.run_id in self._known.lacking:
            self._again[run.run_id] = f"they lack the response {self._known.lacking[run.run_id]}"
            return True
        return self._is_of_other_code(run)

    def _is_of_other_code(self, run: Run) -> bool:
        if self._asked.on_code_change == "keep":
            return False
        before, now = self._known.made_by.get(run.run_id, ""), self._sources(run)
        if before in ("", now.fingerprint):
            return False
        change = self._change(before, now)
        if self._asked.on_code_change == "rerun":
            self._again[run.run_id] = f"their code changed: {change} (--on-code-change rerun)"
            return True
        self._other_code[run.run_id] = change
        return False

    def _change(self, before: str, now: Sources) -> str:
        key = (before, now.fingerprint)
        if key not in self._changes:
            self._changes[key] = _changed_files(self._known.files.get(before), now.files)
        return self._changes[key]

    def _after(self, wanted: Sequence[Run]) -> set[str]:
        """Wanted runs that are done, but whose needs are done again by other code."""
        if self._asked.on_code_change != "rerun":
            return set()
        found: set[str] = set()
        for run in wanted:
            if any(need in self._again or need in found for need in run.needs):
                self._again.setdefault(run.run_id, "a run that they need is done again")
                found.add(run.run_id)
        return found

    def _with_needs(self, chosen: set[str], useless: set[str]) -> set[str]:
        """The chosen runs, and those that they need and whose networks are not stored; none that need useless ones."""
        by_id = {run.run_id: run for run in self._plan.runs} if any(run.needs for run in self._plan.runs) else {}
        todo = set(chosen)
        queue = [run_id for run_id in chosen if run_id in by_id]
        while queue:
            for need in by_id[queue.pop()].needs:
                if need not in todo and need not in self._known.with_networks and need not in useless:
                    if need in self._known.statuses:
                        self._again[need] = "their networks are needed and were not kept"
                    todo.add(need)
                    queue.append(need)
        for run in self._plan.runs:
            if run.run_id in todo and any(need in useless or self._hangs(need, todo) for need in run.needs):
                todo.discard(run.run_id)
        return todo

    def _hangs(self, need: str, todo: set[str]) -> bool:
        """Whether a need is neither there nor to be done."""
        return need not in todo and need not in self._known.with_networks


def _changed_files(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Which files changed, in words."""
    if before is None:
        return "of another version"
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    some = ", ".join("kdrun itself" if name == "kdrun" else name for name in names[:MOST_NAMED])
    return some + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
