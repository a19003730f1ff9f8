"""What a study would run, for a terminal and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from kdrun.core.random import outside_seed
from kdrun.report.aliases import MOST_ALIASES, alias_words, class_words, is_aliased, listed, screened
from kdrun.report.document import records
from kdrun.report.sheet import Sheet, rich_table
from kdrun.report.text import counted, heading, plain, plain_lines, significant
from kdrun.stats.terms import Terms
from kdrun.study.fraction import NUMERALS, Word
from kdrun.study.plan import Plan
from kdrun.study.schema import Study
from kdrun.tasks.contract import ExternalTask

MOST_ROWS = 50
STREAMS = "a random stream is keyed by (seed, replicate, purpose), so the runs of a replicate share their streams"


@dataclass(frozen=True)
class Outlook:
    """A plan, and what is known of it before anything is run.

    `stored` maps the planned runs that are stored to their status; `minimum` is a table of minimum detectable effects,
    by a pilot where `pilot` names its folder; `seconds` is the expected time on `workers`, None where it is unknown.
    `words` are the defining relation of a two-level fraction.
    """

    plan: Plan
    terms: Terms
    results: str
    study_digest: str
    stored: Mapping[str, str]
    minimum: pd.DataFrame
    workers: int
    seconds: float | None = None
    pilot: str | None = None
    screening: bool = False
    words: tuple[Word, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """How many runs are still to be done; failed ones are tried again."""
        return len(self.plan) - sum(status != "failed" for status in self.stored.values())

    def partial_aliases(self) -> list[tuple[str, str, float]]:
        """Of a screening design each main effect, a two-factor interaction in its estimate, and its share there."""
        return list(self.terms.partial_aliases()) if self.screening else []


def plan_rich(outlook: Outlook) -> RenderableType:
    """The plan for a terminal."""
    parts: list[RenderableType] = [Text(plain(line)) for line in head_lines(outlook)]
    parts += [Text(), *_with_notes(treatments_sheet(outlook), "Treatments")]
    parts += _with_notes(minimum_sheet(outlook), "Minimum detectable effects")
    aliases = alias_lines(outlook)
    if aliases:
        parts += [*(Text(plain_lines(line)) for line in aliases), Text()]
    parts += [Text(f"warning: {plain(line)}", style="bold yellow") for line in outlook.warnings]
    return Group(*parts)


def _with_notes(sheet: Sheet, title: str) -> list[RenderableType]:
    """A table and its notes as lines of their own: a caption would be as narrow as the table."""
    notes = [Text(plain(note)) for note in sheet.notes]
    return [rich_table(replace(sheet, notes=()), title), *notes, *([Text()] if notes else [])]


def head_lines(outlook: Outlook) -> list[str]:
    """What is run, where, on which random streams, and for how long."""
    study = outlook.plan.study
    treatments = counted(len(outlook.plan.treatments), "treatment")
    kinds = [part.kind for part in outlook.plan.parts]
    sums = [counted(kinds.count(kind), kind) for kind in ("teacher", "comparator") if kind in kinds]
    runs = f"({' + '.join([treatments, *sums])}) × {counted(study.replicates, 'replicate')} = "
    found = len(outlook.plan) - outlook.missing
    return [
        study.title or study.name,
        f"{runs}{counted(len(outlook.plan), 'run')}; {found:,} of them stored in {outlook.results}",
        f"seed {study.seed}: {_streams(study)}",
        f"time for {counted(outlook.missing, 'missing run')}: {_time(outlook)}",
        f"study_digest {outlook.study_digest}",
    ]


def _streams(study: Study) -> str:
    """Where random numbers come from; code of the user's own is told a seed."""
    if not isinstance(study.task, ExternalTask):
        return STREAMS
    first = [str(outside_seed(study.seed, replicate)) for replicate in range(1, min(study.replicates, 3) + 1)]
    more = ", …" if study.replicates > len(first) else ""
    return f"all treatments of a replicate are given one seed: {', '.join(first)}{more}"


def _time(outlook: Outlook) -> str:
    if outlook.seconds is None:
        return "unknown; a stored run of each kind, or --pilot RESULTS, would tell"
    return f"{duration(outlook.seconds)} on {counted(outlook.workers, 'worker')}"


def duration(seconds: float) -> str:
    """`nothing`, `under a second`, `about 40 s`, `about 3 min`, `about 2.5 h`, `about 12 days`."""
    if seconds <= 0:
        return "nothing"
    for least, unit, name in ((172_800, 86_400, "days"), (5_400, 3_600, "h"), (90, 60, "min"), (1, 1, "s")):
        if seconds >= least:
            number = seconds / unit
            return f"about {number:.1f} {name}" if unit > 60 and number < 10 else f"about {number:,.0f} {name}"
    return "under a second"


def treatments_sheet(outlook: Outlook) -> Sheet:
    """One row per treatment: its number, levels, and the id of its run in replicate 1."""
    planned = outlook.plan
    ids = {run.treatment: run.run_id for run in planned.replicate(1) if run.kind == "treatment"}
    factors = tuple(planned.study.factors)
    shown = planned.treatments[:MOST_ROWS]
    rows = [
        (str(treatment.number), *(treatment.levels[factor] for factor in factors), ids[treatment.number])
        for treatment in shown
    ]
    names = (*(heading(name) for name in ("treatment", *factors)), "Run in replicate 1")
    return Sheet(names, tuple(rows), frozenset(), notes=_more(planned.treatments))


def _more(rows: Sequence[Any]) -> tuple[str, ...]:
    return (f"… and {len(rows) - MOST_ROWS:,} more; --json lists all",) if len(rows) > MOST_ROWS else ()


def minimum_sheet(outlook: Outlook) -> Sheet:
    """One row per contrast: the smallest effect that is found with 80% power at 0.05 and at the first step of Holm."""
    table = records(outlook.minimum)
    sizes = _pilot_columns(outlook) if outlook.pilot else {"delta": "α = 0.05", "delta_holm": _strict(outlook)}
    several = len(set(outlook.minimum["response"])) > 1
    rows = [
        (*((heading(row["response"]),) if several else ()), _name(row), *(_number(row[column]) for column in sizes))
        for row in table[:MOST_ROWS]
    ]
    names = (*(("Response",) if several else ()), "Term", *sizes.values())
    numeric = frozenset(range(len(names) - len(sizes), len(names)))
    return Sheet(names, tuple(rows), numeric, notes=(*_more(table), *_minimum_notes(outlook)))


def _strict(outlook: Outlook) -> str:
    return f"α = 0.05/{max(1, len(outlook.terms.terms))}"


def _pilot_columns(outlook: Outlook) -> dict[str, str]:
    """Sizes and, where there are any, ratios; each with what the upper limit of the pilot's deviation gives."""
    strict = _strict(outlook)
    columns = {
        "deviation": "σ_d", "delta": "α = 0.05", "delta_high": "(at most)", "delta_holm": strict,
        "delta_holm_high": "(at most)",
    }  # fmt: skip
    if outlook.minimum["ratio"].notna().any():
        columns |= {"ratio": "Ratio", "ratio_high": "(at most)", "ratio_holm": f"Ratio, {strict}"}
    return columns


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['term']} ({row['contrast']})" if row["contrast"] else str(row["term"])


def _number(value: float | None) -> str:
    return "–" if value is None else significant(value)


def _minimum_notes(outlook: Outlook) -> Iterator[str]:
    replicates = counted(outlook.plan.study.replicates, "replicate")
    yield f"Found with 80% power in {replicates}; {_strict(outlook)} is the first step of Holm over all terms."
    if outlook.pilot:
        yield (
            f"On the analysis scale, by the deviation σ_d of each effect between the replicates of {outlook.pilot}; "
            "(at most): by its 80% upper limit."
        )
    else:
        yield "In units of σ, the deviation of a run inside its replicate; --pilot RESULTS gives the response's own."
    for name, reason in islice(outlook.terms.refused.items(), MOST_ALIASES):
        yield f"{name} cannot be estimated: {reason}."
    if len(outlook.terms.refused) > MOST_ALIASES:
        yield f"… and {len(outlook.terms.refused) - MOST_ALIASES:,} more terms; --json lists all."


def alias_lines(outlook: Outlook) -> list[str]:
    """What cannot be told apart: a line per class of aliased effects, or per main effect of a screening design.

    Classes of main effects and two-factor interactions are shown; JSON holds all of them.
    """
    found = screened(outlook.terms) if outlook.screening else {}
    if found:
        head = "Aliases: the estimate of a main effect holds these shares of two-factor interactions"
        lines = [f"  {term} {listed(alias_words(*pair) for pair in pairs)}" for term, pairs in found.items()]
        return [head, *lines[:MOST_ROWS], *_more(lines)]
    aliased = [term for term in outlook.terms.terms if is_aliased(term) and term.order <= 2]
    classes = [f"  {' '.join(class_words(term))}" for term in aliased]
    if not classes:
        return []
    relation = "each line has one estimate, for all of its effects" if outlook.screening else _relation(outlook)
    return [f"Aliases: {relation}", *classes[:MOST_ROWS], *_more(classes)]


def _relation(outlook: Outlook) -> str:
    """`resolution IV, I = gradient:distillation:width:epochs`; the shortest words of the defining relation."""
    if not outlook.words:
        return "effects that vary together have one estimate"
    names = list(outlook.plan.study.factors)
    shown = [_word_text(word, names) for word in outlook.words[:MOST_ALIASES]]
    more = [f"… and {len(outlook.words) - MOST_ALIASES:,} more"] if len(outlook.words) > MOST_ALIASES else []
    return f"resolution {resolution(outlook)}, I = {' = '.join([*shown, *more])}"


def resolution(outlook: Outlook) -> str | None:
    """The length of the shortest word, as a Roman numeral; None for a design without words."""
    if not outlook.words:
        return None
    length = len(outlook.words[0].factors)
    return NUMERALS[length - 1] if length <= len(NUMERALS) else str(length)


def _word_text(word: Word, names: Sequence[str]) -> str:
    return f"{'' if word.sign > 0 else '-'}{':'.join(names[factor] for factor in word.factors)}"


def plan_document(outlook: Outlook) -> dict[str, Any]:
    """What `kdrun plan --json` prints. It holds no nan: null stands for it."""
    planned, study = outlook.plan, outlook.plan.study
    return {
        "study": study.name,
        "results": outlook.results,
        "study_digest": outlook.study_digest,
        "seed": study.seed,
        "replicates": study.replicates,
        "streams": _streams(study),
        "treatments": [{"treatment": item.number, **item.levels} for item in planned.treatments],
        "runs": list(_runs(outlook)),
        "missing": outlook.missing,
        "workers": outlook.workers,
        "expected_seconds": outlook.seconds,
        "pilot": outlook.pilot,
        "resolution": resolution(outlook),
        "defining_relation": [_word_text(word, list(study.factors)) for word in outlook.words],
        "minimum_detectable": records(outlook.minimum),
        "aliases": {
            term.name: [f"{'' if member.sign > 0 else '-'}{member.name}" for member in term.members]
            for term in outlook.terms.terms
            if is_aliased(term)
        },
        "partial_aliases": [
            {"term": term, "alias": alias, "coefficient": share} for term, alias, share in outlook.partial_aliases()
        ],
        "refused": dict(outlook.terms.refused),
        "warnings": list(outlook.warnings),
    }


def _runs(outlook: Outlook) -> Iterator[dict[str, Any]]:
    """Every run in order; a factor that does not apply to one is empty, as in runs.csv.

    Runs of the user's own code have the seed that they are given.
    """
    study = outlook.plan.study
    factors, is_external = list(study.factors), isinstance(study.task, ExternalTask)
    for run in outlook.plan.runs:
        yield {
            "run_id": run.run_id,
            "kind": run.kind,
            "treatment": run.treatment,
            "replicate": run.replicate,
            "comparator": run.comparator,
            **{factor: run.levels.get(factor, "") for factor in factors},
            **({"seed": outside_seed(study.seed, run.replicate)} if is_external else {}),
            "status": outlook.stored.get(run.run_id, "missing"),
        }
