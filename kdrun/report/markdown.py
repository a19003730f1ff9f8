"""report.md: what was run, what came out, how it was judged, and how to run it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdrun.report.tables import criteria_markdown, effects_sheet, markdown_table, treatment_markdown
from kdrun.report.text import code, markdown
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Layout

JUDGED = """\
A study is a randomized complete block design: every replicate holds every treatment once, on the same random streams.
Effects are estimated inside each replicate; the estimates of the replicates give a t interval. p values of the terms of
one response are adjusted by Holm's method; plain and adjusted ones are shown. Ratios are paired within replicates,
never made from two means. A diverged run is an outcome: it is counted, and takes part with the value registered for
it."""


def report_text(analysis: Analysis, study: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The report in Markdown. All text of the study stands in it as text."""
    sections = [
        f"# {markdown(str(study.get('title') or study['study']))}",
        _what_was_run(analysis, study),
        f"## Treatments\n\n{treatment_markdown(analysis)}",
        *([f"## Criteria\n\n{criteria_markdown(analysis)}"] if len(analysis.criteria) else []),
        f"## Effects\n\n{markdown_table(effects_sheet(analysis))}" if len(analysis.effects) else "",
        f"## How it was judged\n\n{JUDGED}\n\n{_scales(analysis.layout)}",
        _again(study),
        _origin(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _what_was_run(analysis: Analysis, study: Mapping[str, Any]) -> str:
    kinds = analysis.runs["kind"].value_counts()
    counts = ", ".join(f"{kinds[kind]} of {what}" for kind, what in _KINDS.items() if kind in kinds)
    factors = [
        f"- **{markdown(name)}**: {', '.join(code(level) for level in levels)}"
        for name, levels in analysis.layout.factors.items()
    ]
    replicates = analysis.runs["replicate"].nunique()
    lead = (
        f"Study {code(str(study['study']))}: {len(analysis.treatments)} treatments in {replicates}"
        f" replicate{'s'[: replicates > 1]}, {len(analysis.runs)} runs ({counts})."
    )
    return "\n".join([f"## What was run\n\n{lead}\n", *factors])


_KINDS = {"teacher": "teachers", "treatment": "treatments", "comparator": "comparators"}


def _scales(layout: Layout) -> str:
    lines = []
    for name in layout.judged:
        response = layout.response(name)
        stand_in = "" if response.stand_in is None else f"; a diverged run counts as {response.stand_in:g}"
        lines.append(f"- {code(name)}: {response.scale} scale, {response.better} is better{stand_in}")
    return "\n".join(lines)


def _again(study: Mapping[str, Any]) -> str:
    return f"""\
## How to run it again

{code("study.yaml")} in this folder is the study with every default written out:

```
kdrun factorial study.yaml --results again
```

{code(f"again/{study['study']}")} then shows the same results digest."""


def _origin(manifest: Mapping[str, Any]) -> str:
    cpu = manifest.get("cpu") or {}
    rows = {
        "study digest": manifest.get("study_digest"),
        "results digest": manifest.get("results_digest"),
        "git commit": manifest.get("git_commit"),
        "CPU": ", ".join(str(part) for part in (cpu.get("model"), *cpu.get("features", ())) if part),
        "start": manifest.get("start"),
        "end": manifest.get("end"),
        **(manifest.get("versions") or {}),
    }
    lines = [f"| {markdown(name)} | {code(str(value))} |" for name, value in rows.items() if value]
    return "\n".join(["## Digests and versions\n", "| | |", "| --- | --- |", *lines])
