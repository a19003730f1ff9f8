"""report.md, short enough for a pull request: verdicts, what matters, tables, how it was judged and is run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kdrun.report.aliases import apart
from kdrun.report.effect_tables import complete_effects_sheet, effects_sheet
from kdrun.report.judging import judged, scales
from kdrun.report.sheet import markdown_table
from kdrun.report.student_tables import student_markdown
from kdrun.report.text import code, markdown, plain
from kdrun.report.treatment_tables import MOST_TREATMENTS, treatment_markdown
from kdrun.report.verdict_tables import VERDICTS_ARE, criteria_markdown, hypothesis_number
from kdrun.report.wording import Statement, counts_of_runs, origin, promise, verdict_counts, what_matters
from kdrun.stats.analysis import Analysis

if TYPE_CHECKING:
    from kdrun.report.plots import Picture

MOST_ROWS = 40


def report_text(
    analysis: Analysis,
    study: Mapping[str, Any],
    manifest: Mapping[str, Any],
    registration: Mapping[str, Any] | None = None,
    pictures: Sequence[Picture] = (),
    cautions: Sequence[str] = (),
) -> str:
    """The report in Markdown. All text of the study stands in it as text; `cautions` are about all of it."""
    registration = registration or {}
    sections = [
        f"# {markdown(str(study.get('title') or study['study']))}",
        f"Study {code(str(study['study']))}: {counts_of_runs(analysis)}.",
        *(f"**{markdown(caution)}**" for caution in cautions),
        _verdicts(analysis),
        _criteria(analysis, registration),
        _changes(registration),
        _matters(analysis),
        _apart(analysis),
        f"## Treatments\n\n{_factors(analysis)}\n\n{treatment_markdown(analysis)}",
        student_markdown(analysis, MOST_TREATMENTS),
        _pictures(pictures),
        _effects(analysis),
        _judged(analysis),
        _again(study),
        _origin(manifest, registration),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _verdicts(analysis: Analysis) -> str:
    rows = analysis.hypotheses.to_dict("records")
    if not rows:
        return ""
    lines = [f"- {_verdict(row)}" for row in rows]
    return "\n".join(
        ["## Verdicts\n", f"{verdict_counts(analysis.hypotheses['verdict'])}. {VERDICTS_ARE}\n", *lines],
    )


def _verdict(row: Mapping[Any, Any]) -> str:
    mark = " (exploratory)" if row["exploratory"] else ""
    evidence = row["evidence"] or hypothesis_number(row)
    # A backslash breaks the line.
    behind = f"\\\n  {markdown(evidence)}" if evidence else ""
    return f"**{markdown(row['verdict'])}**{mark}: {markdown(row['say'])}{behind}"


def _criteria(analysis: Analysis, registration: Mapping[str, Any]) -> str:
    if not len(analysis.criteria):
        return ""
    exploratory = frozenset(registration.get("exploratory_criteria", ()))
    return f"## Criteria\n\n{criteria_markdown(analysis, exploratory)}"


def _changes(registration: Mapping[str, Any]) -> str:
    changes = registration.get("changes", ())
    if not changes:
        return ""
    lines = [
        "- " + ": ".join(markdown(str(change[key])) for key in ("time", "text") if change[key]) for change in changes
    ]
    return "\n".join(["## Changes since registration\n", *lines])


def _matters(analysis: Analysis) -> str:
    found = what_matters(analysis)
    lines = [_statement(statement) for statement in found.shown]
    if found.not_shown:
        rest = "; ".join(f"{markdown(part.term)} {markdown(part.text)}" for part in found.not_shown[:MOST_ROWS])
        more = len(found.not_shown) - MOST_ROWS
        lines.append(f"- not shown to matter: {rest}{f'; and {more} more' if more > 0 else ''}")
    cautions = [f"**{markdown(caution)}**" for caution in found.cautions]
    parts = [*cautions, *(["\n".join(lines)] if lines else []), *(markdown(remark) for remark in found.remarks)]
    return "\n\n".join([f"## What matters to {markdown(found.response)}", *parts])


def _apart(analysis: Analysis) -> str:
    found = apart(analysis)
    if found is None:
        return ""
    remarks = [f"{markdown(remark)}\n" for remark in found.remarks]
    lines = [f"- **{markdown(name)}** {markdown(text)}" for name, text in found.lines]
    return "\n".join(["## What cannot be told apart\n", *remarks, *lines])


def _statement(statement: Statement) -> str:
    mark = f" ({statement.direction})" if statement.direction else ""
    details = [f"  - {markdown(detail)}" for detail in statement.details]
    return "\n".join([f"- **{markdown(statement.term)}**{mark}: {markdown(statement.text)}", *details])


def _factors(analysis: Analysis) -> str:
    factors = analysis.layout.factors.items()
    return "\n".join(
        f"- **{markdown(name)}**: {', '.join(code(level) for level in levels)}" for name, levels in factors
    )


def _pictures(pictures: Sequence[Picture]) -> str:
    lines = [
        f"![{markdown(picture.title)}](plots/{quote(picture.name, safe='')}.svg)\n\n{markdown(picture.caption)}"
        for picture in pictures
    ]
    return "\n\n".join(["## Pictures", *lines]) if lines else ""


def _effects(analysis: Analysis) -> str:
    sheet = effects_sheet(analysis, MOST_ROWS)
    if not sheet.rows:
        return "\n\n".join(["## Effects", *(markdown(note) for note in sheet.notes)])
    tables = [markdown_table(sheet)]
    if len(analysis.complete_effects):
        tables += ["### From complete replicates alone", markdown_table(complete_effects_sheet(analysis, MOST_ROWS))]
    return "\n\n".join(["## Effects", *tables])


def _judged(analysis: Analysis) -> str:
    responses = "\n".join(f"- {code(name)}: {markdown(how)}" for name, how in scales(analysis.layout))
    return "\n\n".join(["## How it was judged", *(markdown(part) for part in judged(analysis)), responses])


def _again(study: Mapping[str, Any]) -> str:
    return f"""\
## How to run it again

{code("study.yaml")} in this folder is the study with every default written out:

```
kdrun factorial study.yaml --results again
kdrun compare . again/{plain(str(study["study"]))}
```

{promise(study)}"""


def _origin(manifest: Mapping[str, Any], registration: Mapping[str, Any]) -> str:
    registered = {"registered": registration.get("registered"), "registration": registration.get("hash")}
    rows = {**origin(manifest), **{name: str(value) for name, value in registered.items() if value}}
    lines = [f"| {markdown(name)} | {code(value)} |" for name, value in rows.items()]
    return "\n".join(["## Digests and versions\n", "| | |", "| --- | --- |", *lines])
