"""The results of one study: what is stored, what is computed from that, and the files that people read.

Tables, pictures and reports are imported where they are made: runs start a second earlier without them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdrun.engine.size import compressions
from kdrun.engine.trained import demonstrate
from kdrun.errors import KdrunError, UsageError
from kdrun.folder import REGISTRATION_FILE, SEALS, STUDY_FILE, read_registration, refuse_strange
from kdrun.lock import is_locked
from kdrun.records import GradientCheck, Outcome, Run
from kdrun.report.manifest import manifest
from kdrun.store.database import FILE_NAME
from kdrun.store.runs import Store
from kdrun.study.load import load_study, study_text
from kdrun.study.plan import Plan, plan, study_digest
from kdrun.study.register import CRITERIA, HYPOTHESES, Registration
from kdrun.study.schema import Study
from kdrun.study.selection import PLACKETT_BURMAN
from kdrun.tasks.contract import ExternalTask

if TYPE_CHECKING:
    import pandas as pd

    from kdrun.report.plots import Picture, Shown
    from kdrun.stats.analysis import Analysis
    from kdrun.stats.scales import Layout, ScaleName

MANIFEST_FILE = "manifest.json"
TABLES = ("runs", "treatments", "effects", "anova", "hypotheses", "criteria")
HISTORY_PART = 1000
PICTURED_REPLICATES = 20
# Factors of these sections select what treatments of a replicate share: data, initial weights, a teacher.
SHARED_SECTIONS = ("task", "model", "teacher")


@dataclass(frozen=True)
class Stored:
    """What is stored of a study: outcomes of its planned runs, without networks and series, and what belongs to all."""

    outcomes: Mapping[str, Outcome]
    gradient_checks: Sequence[GradientCheck]
    facts: Mapping[str, Any]
    results_digest: str


class Results:
    """The results of one study. Tables are computed when they are asked for, from what is stored then."""

    def __init__(self, folder: Path, study: Study, planned: Plan | None = None) -> None:
        self.folder, self.study = folder, study
        self._planned = planned
        self._stored: Stored | None = None

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r}, study {self.study.study!r})"

    @classmethod
    def open(cls, folder: Path | str) -> Results:
        """The results in a folder that `kdrun factorial` wrote."""
        folder = Path(folder)
        if not (folder / STUDY_FILE).is_file():
            raise UsageError(f"{folder}: there is no {STUDY_FILE}, so this is not the results folder of a study")
        return cls(folder, load_study(folder / STUDY_FILE))

    @cached_property
    def plan(self) -> Plan:
        """Treatments and runs of the study."""
        return self._planned or plan(self.study)

    @property
    def has_runs(self) -> bool:
        """Whether the folder holds runs, and not only tables."""
        return Store.exists(self.folder)

    def store(self) -> Store:
        """The stored runs, to be read."""
        return Store.open(self.folder, read_only=True)

    @property
    def stored(self) -> Stored:
        """What the tables are made of, read once."""
        if self._stored is None:
            with self.store() as store:
                self._stored = self._read(store)
        return self._stored

    def _read(self, store: Store) -> Stored:
        ids = [run.run_id for run in self.plan.runs]
        return Stored(store.outcomes(ids), store.gradient_checks(), store.facts(), store.results_digest(ids))

    @cached_property
    def registration(self) -> Registration | None:
        """What was registered before the first run, and what the study changed since; None where nothing was."""
        found = read_registration(self.folder)
        return found and found.followed_to(self.study, "")

    @cached_property
    def analysis(self) -> Analysis:
        """Every table of the study."""
        from kdrun.stats.analysis import analyse

        return analyse(
            self.plan.runs,
            self.stored.outcomes,
            layout_of(self.study),
            criteria=self.study.resolved()["criteria"],
            hypotheses=self._hypotheses(),
            gradient_checks=self.gradient_checks,
            reproducible=self.stored.facts.get("reproducible"),
            compression=compressions(self.plan),
        )

    def _hypotheses(self) -> list[Mapping[str, Any]]:
        """The hypotheses of the study, each marked where it was not registered before the first run."""
        claimed = self.study.resolved()["hypotheses"]
        exploratory = [True] * len(claimed)
        if self.registration is not None and not self._registration_was_replaced():
            exploratory = self.registration.exploratory(self.study, HYPOTHESES)
        return [{**item, "exploratory": late} for item, late in zip(claimed, exploratory, strict=True)]

    def _registration_was_replaced(self) -> bool:
        """Whether registration.json is not as kdrun wrote it."""
        seals, found = self.stored.facts.get(SEALS), read_registration(self.folder)
        return found is not None and seals is not None and found.seal not in seals

    def registered(self) -> dict[str, Any]:
        """What a report says of the registration: when, its hash, changes, and names of exploratory criteria."""
        found = self.registration
        names = [criterion["name"] for criterion in self.study.resolved()["criteria"]]
        if found is None:
            text = f"{REGISTRATION_FILE} is not there, so nothing counts as registered before the first run"
            return {"changes": [{"time": "", "text": text}], "exploratory_criteria": names}
        changes = list(found.changes)
        exploratory = found.exploratory(self.study, CRITERIA)
        if found.late:
            changes.insert(0, {"time": found.registered, "text": "nothing was registered before the first run"})
        if self._registration_was_replaced():
            changes.append({"time": "", "text": f"{REGISTRATION_FILE} was changed by hand"})
            exploratory = [True] * len(names)
        late = [name for name, flag in zip(names, exploratory, strict=True) if flag]
        return {"registered": found.registered, "hash": found.hash, "changes": changes, "exploratory_criteria": late}

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run; columns as in runs.csv."""
        return self.analysis.runs if self.has_runs else self._table("runs")

    @property
    def treatments(self) -> pd.DataFrame:
        """One row per treatment; columns as in treatments.csv."""
        return self.analysis.treatments if self.has_runs else self._table("treatments")

    @property
    def effects(self) -> pd.DataFrame:
        """Main effects and interactions; columns as in effects.csv."""
        return self.analysis.effects if self.has_runs else self._table("effects")

    @property
    def criteria(self) -> pd.DataFrame:
        """The study's criteria; columns as in criteria.csv."""
        return self.analysis.criteria if self.has_runs else self._table("criteria")

    def _table(self, name: str) -> pd.DataFrame:
        """A table of a folder whose runs are not there."""
        path = self.folder / "tables" / f"{name}.parquet"
        if not path.is_file():
            raise UsageError(f"{self.folder}: there is neither {FILE_NAME} nor tables/{path.name}")
        import pandas as pd

        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: this table cannot be read: {error}") from None

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per hypothesis with its verdict; columns as in hypotheses.csv."""
        if self.has_runs:
            return self.analysis.tables["hypotheses"]
        return self._table("hypotheses")

    @property
    def gradient_checks(self) -> list[GradientCheck]:
        """The rows of the gradient check that preceded the runs, judged by the study's tolerance as it is now."""
        tolerance = self.study.gradcheck.tolerance
        rows = self.stored.gradient_checks
        return [replace(row, tolerance=tolerance) if row.dtype == "float32" else row for row in rows]

    @property
    def results_digest(self) -> str:
        """SHA-256 over every bit of every run that is not missing; the manifest's where the runs are not there."""
        if not self.has_runs:
            return self._manifest_digest()
        return self.stored.results_digest

    def _manifest_digest(self) -> str:
        """The digest that the manifest of a folder without its runs names."""
        digest = self.written_manifest().get("results_digest")
        if not isinstance(digest, str):
            raise UsageError(
                f"{self.folder / MANIFEST_FILE}: no results_digest can be read there; put back a copy of this file"
            )
        return digest

    def written_manifest(self) -> dict[str, Any]:
        """The content of manifest.json; nothing where that is not there or was damaged."""
        try:
            found = json.loads((self.folder / MANIFEST_FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def study_digest(self) -> str:
        """SHA-256 over what determines the runs and how they are judged."""
        return study_digest(self.study)

    def find_run(self, prefix: str) -> Run:
        """The run whose id begins with `prefix`: a planned one, or one that is stored and not planned any more."""
        found = [run for run in self.plan.runs if run.run_id.startswith(prefix.lower())] or self._left(prefix.lower())
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(
                f"{self.folder}: no run of this study has an id that begins with {prefix!r}; see tables/runs.csv"
            )
        some = ", ".join(run.run_id for run in found[:5])
        raise UsageError(f"{self.folder}: {len(found)} runs have an id that begins with {prefix!r}: {some}, …")

    def _left(self, prefix: str) -> list[Run]:
        """The stored runs whose ids begin with `prefix`, whatever the plan now is."""
        if not self.has_runs:
            return []
        with self.store() as store:
            return [store.run(run_id) for run_id in store.statuses() if run_id.startswith(prefix)]

    def is_planned(self, run: Run) -> bool:
        """Whether the study asks for a run."""
        return any(run.run_id == planned.run_id for planned in self.plan.runs)

    def failed(self) -> list[tuple[Run, Outcome]]:
        """The planned runs that failed, in order."""
        if not self.has_runs:
            return []
        pairs = [(run, self.stored.outcomes.get(run.run_id)) for run in self.plan.runs]
        return [(run, outcome) for run, outcome in pairs if outcome is not None and outcome.status == "failed"]

    @property
    def is_complete(self) -> bool:
        """Whether every run of the plan is done or diverged."""
        outcomes = self.stored.outcomes
        return all(run.run_id in outcomes and outcomes[run.run_id].status != "failed" for run in self.plan.runs)

    def outcome_of(self, run: Run) -> Outcome:
        """Everything that came of a planned run; one that is not stored is running, or missing."""
        with self.store() as store:
            if run.run_id in store.statuses():
                return store.outcome(run.run_id)
            since = store.running().get(run.run_id)
        if since is not None and is_locked(self.folder):
            return Outcome(run.run_id, "running", error=f"handed to a worker at {since}")
        return Outcome(run.run_id, "missing")

    def missed_teachers(self) -> list[str]:
        """One sentence for each teacher that missed its acceptance."""
        if not self.has_runs:
            return []
        found = (missed(self.study, run, self.stored.outcomes.get(run.run_id)) for run in self.plan.runs)
        return [sentence for sentence in found if sentence]

    @property
    def exit_code(self) -> int:
        """0; 4 where a teacher missed its acceptance; 1 where a run failed or a required criterion does not hold."""
        if self.missed_teachers():
            return 4
        failed = (self.runs["status"] == "failed").any()
        unmet = (self.criteria["required"] & ~self.criteria["holds"]).any()
        return 1 if failed or unmet else 0

    def document(self) -> dict[str, Any]:
        """Everything as one JSON document."""
        from kdrun.report.document import factorial_document

        return factorial_document(
            self.analysis, self.study.study, str(self.folder), self.study_digest, self.results_digest
        )

    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json."""
        facts = self.stored.facts
        made_with, start, end = facts.get("environment", {}), facts.get("start"), facts.get("end")
        return manifest(self.study.resolved(), self.study_digest, self.results_digest, made_with, start, end)

    def is_up_to_date(self) -> bool:
        """Whether study, tables and report on disk are those of what is stored."""
        study = self.folder / STUDY_FILE
        made = [
            *(self.folder / name for name in ("report.md", "report.html", REGISTRATION_FILE)),
            *(self.folder / "tables" / f"{name}.csv" for name in TABLES),
        ]
        if not self.has_runs or not study.is_file() or not all(path.is_file() for path in made):
            return False
        digests = self.written_manifest()
        same = (digests.get("study_digest"), digests.get("results_digest")) == (self.study_digest, self.results_digest)
        return same and study.read_bytes() == study_text(self.study).encode()

    def draw(self) -> list[Picture]:
        """The pictures of the study, from what is stored."""
        with self.store() as store:
            self._stored = self._stored or self._read(store)
            return self._pictures(store)

    def _pictures(self, store: Store) -> list[Picture]:
        """Learning curves show the first replicates."""
        from kdrun.report.plots import pictures

        shown = [run.run_id for run in self.plan.runs if run.replicate <= PICTURED_REPLICATES]
        return pictures(self.analysis, store.histories(shown), list(self._demonstrations(store)))

    def write(self, drawn: Sequence[Picture] | None = None) -> None:
        """Write tables, pictures, report and manifest from what is stored; `drawn` pictures are not drawn again."""
        from kdrun.report.write import write_report
        from kdrun.stats.scales import OutOfPlace

        refuse_strange(self.folder)
        with self.store() as store:
            # Opening a store checks the whole file, so it is opened once for everything.
            self._stored = self._stored or self._read(store)
            try:
                analysis = self.analysis
            except OutOfPlace as error:
                raise self._measured_alone(error, store) from None
            write_report(
                self.folder,
                analysis,
                self.study.resolved(),
                study_text(self.study),
                self.manifest(),
                self._histories(store),
                self.registered(),
                self._pictures(store) if drawn is None else drawn,
                self._mixed_sources(store),
            )

    def _mixed_sources(self, store: Store) -> list[str]:
        """A caution where runs of the study were made by different versions of the same code or file."""
        from kdrun.report.wording import mixed_sources

        made_by, files = store.made_by(), store.sources()
        used = dict.fromkeys(made_by[run.run_id] for run in self.plan.runs if run.run_id in made_by)
        versions: dict[str, set[str]] = {}
        for name, digest in (item for fingerprint in used for item in files.get(fingerprint, {}).items()):
            versions.setdefault(name, set()).add(digest)
        return mixed_sources(sorted(name for name, known in versions.items() if len(known) > 1))

    def _measured_alone(self, error: KdrunError, store: Store) -> KdrunError:
        """Write what was measured, where it cannot be analysed; the error that tells of it."""
        from kdrun.report.write import write_history, write_table
        from kdrun.stats.frame import runs_table

        tables = self.folder / "tables"
        tables.mkdir(exist_ok=True)
        write_table(tables, "runs", runs_table(self.plan.runs, self.stored.outcomes, layout_of(self.study)))
        write_history(tables / "history.parquet", self._histories(store))
        return KdrunError(f"{error}; {tables / 'runs.csv'} has what was measured")

    def _demonstrations(self, store: Store) -> Iterator[Shown]:
        """What the teacher and the best and worst student do on the example of their task, where it has one."""
        from kdrun.report.plots import Shown, prediction_runs

        runs = {run.run_id: run for run in self.plan.runs}
        for label, run_id in prediction_runs(self.analysis):
            found = demonstrate(runs[run_id], store.outcome(run_id).parameters)
            if found is not None:
                yield Shown(label, found)

    def _histories(self, store: Store) -> Iterator[pd.DataFrame]:
        """Series of the runs, part by part, so that only one part is in memory."""
        ids = [run.run_id for run in self.plan.runs]
        for start in range(0, len(ids), HISTORY_PART):
            yield store.histories(ids[start : start + HISTORY_PART])


def let_go_of_networks(folder: Path, study: Study, runs: Sequence[Run]) -> None:
    """Drop the trained networks that `keep` does not ask for, once no run that is to come needs them."""
    if study.keep == "all":
        return
    with Store.open(folder) as store:
        store.drop_parameters({run.run_id for run in runs} - _best(store, study, runs))


def _best(store: Store, study: Study, runs: Sequence[Run]) -> set[str]:
    """The run of each treatment with the best primary response, where `keep` is `best`."""
    if study.keep == "none":
        return set()
    primary = study.responses[0]
    sign = 1.0 if primary.better == "lower" else -1.0
    outcomes = store.outcomes([run.run_id for run in runs])
    best: dict[int | None, tuple[float, str]] = {}
    for run in runs:
        outcome = outcomes.get(run.run_id)
        if run.kind == "treatment" and outcome is not None and outcome.status == "done":
            candidate = (sign * outcome.responses[primary.name], run.run_id)
            best[run.treatment] = min(best.get(run.treatment, candidate), candidate)
    return {run_id for _, run_id in best.values()}


def layout_of(study: Study) -> Layout:
    """What the columns of the study's tables are."""
    from kdrun.stats.scales import Layout, Response

    declared = {response.name: response for response in study.responses}
    first, responses = study.responses[0], []
    for name in study.measured:
        if name in declared:
            entry = declared[name]
            stand_in = entry.diverged.value if entry.diverged else None
            responses.append(Response(name, entry.scale, entry.better, stand_in))
        else:
            scale: ScaleName = "log10" if first.scale == "log10" and name in study.task.errors else "linear"
            responses.append(Response(name, scale, first.better, declared=False))
    return Layout(
        factors={name: tuple(level.text for level in factor.levels) for name, factor in study.factors.items()},
        responses=tuple(responses),
        judged=tuple(declared),
        ratios=study.task.ratios if study.teacher is not None else (),
        shared=_shared(study),
        screening=study.design.fraction == PLACKETT_BURMAN,
    )


def _shared(study: Study) -> tuple[str, ...]:
    """The factors whose levels treatments of a replicate share; code of the user's own shares nothing but its seed."""
    if isinstance(study.task, ExternalTask):
        return ()
    return tuple(name for name, factor in study.factors.items() if factor.key[0] in SHARED_SECTIONS)


def missed(study: Study, run: Run, outcome: Outcome | None) -> str | None:
    """How far a teacher is from its acceptance, or None for a teacher that reached it and for every other run."""
    if run.kind != "teacher" or outcome is None or study.teacher is None or not study.teacher.accept:
        return None
    if outcome.status == "diverged":
        return f"{run.title}: it diverged ({outcome.error}), so it reached nothing"
    if outcome.status != "done":
        return None
    better = {response.name: response.better for response in study.responses}
    for name, bound in study.teacher.accept.items():
        value = outcome.responses[name]
        if value > bound if better.get(name, "lower") == "lower" else value < bound:
            return f"{run.title}: {name} is {value:.6g}, which misses {bound:g} by a factor of {_factor(value, bound)}"
    return None


def _factor(value: float, bound: float) -> str:
    ratio = value / bound if bound else float("inf")
    return f"{max(ratio, 1 / ratio) if ratio > 0 else ratio:.3g}"
