"""What `kdrun plan` tells of a study before it is run: the plan joined with what stored runs and a pilot know.

Nothing is trained and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd

from kdrun.engine.code import missing_files
from kdrun.engine.local import worker_count
from kdrun.errors import UsageError
from kdrun.folder import refuse_unfit
from kdrun.idle import idle_warnings
from kdrun.records import Run
from kdrun.report.plan import Outlook
from kdrun.results import Results, layout_of
from kdrun.stats.minimum import minimum_effects, pilot_effects, power_warnings
from kdrun.stats.scales import Layout
from kdrun.stats.terms import Terms, terms_of
from kdrun.store.runs import Store
from kdrun.study.claim_ties import claims_of
from kdrun.study.fraction import Word, defining_relation
from kdrun.study.plain import canonical
from kdrun.study.plan import Part, Plan, plan, study_digest
from kdrun.study.schema import Study
from kdrun.study.selection import signs_of

DEFAULT_RESULTS = "results"
FINISHED = ("done", "diverged")


def outlook_of(
    study: Study,
    results: Path | str = DEFAULT_RESULTS,
    *,
    pilot: Path | str | None = None,
    workers: int | None = None,
) -> Outlook:
    """Everything that is known of a study before it is run.

    Args:
        study: from `load_study`.
        results: the folder that would hold the study's folder; stored runs there count as done.
        pilot: a results folder whose deviations and times stand for those of the study.
        workers: worker processes; all cores where None.

    Raises:
        UsageError: the pilot is no results folder, or is analysed on another scale.
        StudyError: treatments that cannot be.
    """
    planned = plan(study)
    layout = layout_of(study)
    terms = terms_of(layout, [treatment.levels for treatment in planned.treatments])
    folder = Path(results) / study.name
    stored = _stored(folder)
    known = Results.open(pilot) if pilot is not None else None
    piloted = _piloted(known, layout, terms, study.replicates)
    statuses = _statuses(planned, stored)
    count = worker_count(workers)
    times = _times([(planned, stored), *([(known.plan, known.runs)] if known else [])])
    warnings = [
        *power_warnings(len(terms.terms), study.replicates),
        *_baseline_warning(planned),
        *_pilot_warnings(known, layout, piloted),
        *_shared_warning(layout, piloted),
        *idle_warnings(planned.treatments),
        *_claim_warnings(study, terms),
        *_folder_warning(folder),
        *_file_warning(planned),
    ]
    return Outlook(
        plan=planned,
        terms=terms,
        results=str(folder),
        study_digest=study_digest(study),
        stored=statuses,
        minimum=minimum_effects(terms, study.replicates) if piloted is None else piloted,
        workers=count,
        seconds=_expected(planned, stored, times, count),
        pilot=str(pilot) if piloted is not None else None,
        screening=layout.screening,
        words=_words(study),
        warnings=tuple(warnings),
    )


def _stored(folder: Path) -> pd.DataFrame:
    """The stored runs of a study: run_id, replicate, status, seconds."""
    columns = ["run_id", "replicate", "status", "seconds"]
    if not Store.exists(folder):
        return pd.DataFrame(columns=columns)
    with Store.open(folder, read_only=True) as store:
        return store.runs_frame()[columns]


def _statuses(planned: Plan, stored: pd.DataFrame) -> dict[str, str]:
    """Status of the planned runs that are stored, by run id."""
    known = dict(zip(stored["run_id"], stored["status"], strict=True))
    return {run.run_id: known[run.run_id] for _, run in _runs_in(planned, stored) if run.run_id in known}


def _runs_in(planned: Plan, runs: pd.DataFrame) -> Iterator[tuple[int, Run]]:
    """The planned runs, with the number of their part, of the replicates in a table of runs: all may be too many."""
    for replicate in sorted(set(runs["replicate"])):
        if replicate <= planned.study.replicates:
            yield from enumerate(planned.replicate(int(replicate)))


def _kind(part: Part) -> str:
    """What runs of equal length have in common: all that they do, but for the seed."""
    spec = {key: value for key, value in part.spec.items() if key != "seed"}
    return canonical([part.kind, part.comparator, spec])


def _times(sources: Sequence[tuple[Plan, pd.DataFrame]]) -> dict[str, float]:
    """Mean seconds by kind of run; the first of the sources (a plan and a table of its runs) that has some decides."""
    means: dict[str, float] = {}
    for source, runs in sources:
        finished = runs[runs["status"].isin(FINISHED)]
        seconds = dict(zip(finished["run_id"], finished["seconds"], strict=True))
        found: dict[int, list[float]] = {}
        for index, run in _runs_in(source, finished):
            if run.run_id in seconds:
                found.setdefault(index, []).append(float(seconds[run.run_id]))
        means = {_kind(source.parts[index]): fmean(times) for index, times in found.items()} | means
    return means


def _expected(planned: Plan, stored: pd.DataFrame, times: Mapping[str, float], workers: int) -> float | None:
    """Seconds of all missing runs over the workers; None where a kind of them was never timed."""
    finished = stored[stored["status"].isin(FINISHED)]
    done = set(finished["run_id"])
    missing = [planned.study.replicates] * len(planned.parts)
    for index, run in _runs_in(planned, finished):
        missing[index] -= run.run_id in done
    total = 0.0
    for part, number in zip(planned.parts, missing, strict=True):
        mean = times.get(_kind(part))
        if mean is None:
            return None
        total += number * mean
    return total / workers


def _piloted(known: Results | None, layout: Layout, terms: Terms, replicates: int) -> pd.DataFrame | None:
    """Minimum detectable effects by a pilot; None without one, or where it tells the deviation of no effect."""
    if known is None:
        return None
    analysed = {response.name: response.scale for response in known.study.responses}
    for name in layout.judged:
        if analysed.get(name, layout.response(name).scale) != layout.response(name).scale:
            raise UsageError(
                f"{known.folder}: the pilot analyses {name} on the scale {analysed[name]}, the study on "
                f"{layout.response(name).scale}; a deviation of one says nothing of the other"
            )
    responses = [layout.response(name) for name in layout.judged if name in analysed]
    if not responses:
        return None
    table = pilot_effects(terms, replicates, known.effects, responses)
    return table if table["deviation"].notna().any() else None


def _pilot_warnings(known: Results | None, layout: Layout, piloted: pd.DataFrame | None) -> list[str]:
    if known is None:
        return []
    if piloted is None:
        return [f"the pilot {known.folder} tells the deviation of no effect of this study; effects are in units of σ"]
    warnings = []
    unknown = int(piloted["deviation"].isna().sum())
    if unknown:
        warnings.append(f"the pilot {known.folder} does not tell {unknown} of {len(piloted)} effects, shown as –")
    others = {name: tuple(level.text for level in factor.levels) for name, factor in known.study.factors.items()}
    for name, levels in layout.factors.items():
        if others.get(name, levels) != levels:
            text = f"{', '.join(others[name])}, the study {', '.join(levels)}"
            warnings.append(f"the pilot has other levels of {name}: {text}")
    return warnings


def _baseline_warning(planned: Plan) -> list[str]:
    """Ratios to the baseline would be to another treatment than the file's first levels suggest."""
    first = {name: factor.levels[0].text for name, factor in planned.study.factors.items()}
    if planned.treatments[0].levels == first:
        return []
    levels = ", ".join(f"{factor}={level}" for factor, level in planned.treatments[0].levels.items())
    return [f"the treatment of all first levels is not run; the baseline, treatment 1, is {levels}"]


def _claim_warnings(study: Study, terms: Terms) -> list[str]:
    """Claims on effects that the design cannot tell: whatever comes, they are inconclusive."""
    bodies = (body for _, _, body in claims_of(study.resolved()) if isinstance(body, dict))
    names = dict.fromkeys(str(body["term"]) for body in bodies if "term" in body)
    return [
        f"a claim is about {name}, which cannot be estimated"
        f" ({terms.refused.get(name, 'the design tells no such effect')}): it can only be inconclusive"
        for name in names
        if terms.find(name) is None
    ]


def _shared_warning(layout: Layout, piloted: pd.DataFrame | None) -> list[str]:
    """A whole-plot factor varies by more than the runs inside a replicate tell."""
    if piloted is not None or not layout.shared:
        return []
    names = ", ".join(layout.shared)
    return [f"{names}: treatments of a level share a teacher or data, so effects in units of σ are too hopeful there"]


def _words(study: Study) -> tuple[Word, ...]:
    """The defining relation of a regular fraction."""
    if not study.design.is_fraction or study.design.is_screening:
        return ()
    return tuple(defining_relation(signs_of(study.design, study.factors)))


def _file_warning(planned: Plan) -> list[str]:
    study = planned.study
    lacking = missing_files(study.task, (part.spec["task"] for part in planned.parts), study.folder)
    return [] if lacking is None else [f"kdrun factorial would refuse this study: {lacking}"]


def _folder_warning(folder: Path) -> list[str]:
    try:
        refuse_unfit(folder, fresh=False)
    except UsageError as error:
        return [f"kdrun factorial would refuse this place: {error}"]
    return []
