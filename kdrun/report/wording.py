"""Sentences that report.md and report.html share: what was run, which techniques matter, how it was judged.

They are plain text: whoever shows them escapes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from kdrun.report.effect_tables import replicates_of, robust
from kdrun.report.text import counted, estimate, heading, joined, significant
from kdrun.report.verdict_tables import VERDICTS_ARE
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS
from kdrun.stats.scales import Layout, Response

VERDICTS = ("supported", "refuted", "inconclusive")
KINDS = {"teacher": "of teachers", "treatment": "of treatments", "comparator": "of comparators"}
# A term of several levels has its clearest contrasts beside it.
MOST_CONTRASTS = 3
SHOWN = 0.05


def counts_of_runs(analysis: Analysis) -> str:
    """`8 treatments in 10 replicates, 130 runs (20 of teachers, 80 of treatments, 30 of comparators)`."""
    kinds = analysis.runs["kind"].value_counts()
    parts = ", ".join(f"{kinds[kind]:,} {what}" for kind, what in KINDS.items() if kind in kinds)
    treatments = counted(len(analysis.treatments), "treatment")
    replicates = counted(replicates_of(analysis), "replicate")
    return f"{treatments} in {replicates}, {counted(len(analysis.runs), 'run')} ({parts})"


def verdict_counts(verdicts: Iterable[str]) -> str:
    """`2 supported, 1 inconclusive`; empty without any."""
    found = Counter(verdicts)
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])


@dataclass(frozen=True)
class Statement:
    """What is known of one term: a sentence after its name, whether that is `better` or `worse`, and its contrasts."""

    term: str
    text: str
    direction: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matters:
    """The terms of the primary response that are shown to matter, largest first, those that are not, and remarks."""

    response: str
    shown: tuple[Statement, ...] = ()
    not_shown: tuple[Statement, ...] = ()
    remarks: tuple[str, ...] = ()


def what_matters(analysis: Analysis) -> Matters:
    """Which terms matter to the primary response: those whose interval excludes no effect.

    A term of more than two levels counts by its omnibus p; with one replicate Lenth's limits decide.
    """
    response = analysis.layout.primary
    name = heading(response.name)
    rows = analysis.effects[analysis.effects["response"] == response.name]
    if not len(rows):
        return Matters(name, remarks=analysis.notes or ("No effects were estimated.",))
    if rows["p_value"].isna().all() and (rows["ci_low"].isna()).all():
        return _by_lenth(analysis, rows)
    terms = [group for _, group in rows.groupby("term", sort=False)]
    shown = [group for group in terms if group["p_value"].iloc[0] < SHOWN]
    shown.sort(key=lambda group: -float(group["estimate"].abs().max()))
    rest = [group for group in terms if not group["p_value"].iloc[0] < SHOWN]
    return Matters(
        name,
        tuple(_statement(group, analysis.layout, response) for group in shown),
        tuple(_not_shown(group, response) for group in rest),
        (NOT_SHOWN,) if rest else (),
    )


NOT_SHOWN = "Not shown to matter is not shown to be without effect: the interval says how large an effect may still be."


def _by_lenth(analysis: Analysis, rows: pd.DataFrame) -> Matters:
    response = analysis.layout.primary
    limits = analysis.lenth.get(response.name)
    remark = "No interval can be given, so no effect is shown to matter."
    if replicates_of(analysis) == 1:
        remark = "One replicate gives no intervals and no verdicts, so no effect is shown to matter."
    if limits is None:
        return Matters(heading(response.name), remarks=(remark, *analysis.notes))
    beyond = rows[rows["estimate"].abs() > limits.me].sort_values("estimate", key=lambda column: -column.abs())
    shown = [
        Statement(
            row["term"],
            f"{_effect(row, analysis.layout, response)}; beyond Lenth's limit for"
            f" {'all contrasts at once' if abs(row['estimate']) > limits.sme else 'one contrast, not for all at once'}",
            _direction(row, analysis.layout, response),
        )
        for row in beyond.to_dict("records")
    ]
    remark = "One replicate gives no intervals and no verdicts: these effects stand out from the others, no more."
    return Matters(heading(response.name), tuple(shown), remarks=(remark, *analysis.notes))


def _statement(group: pd.DataFrame, layout: Layout, response: Response) -> Statement:
    first, *contrasts = group.to_dict("records")
    if first["contrast"] != OMNIBUS:
        text = f"{_effect(first, layout, response)}; {_p_values(first)}"
        return Statement(first["term"], text, _direction(first, layout, response))
    clear = sorted((row for row in contrasts if row["p_value"] < SHOWN), key=lambda row: float(row["p_value"]))
    details = [_contrast(row, layout, response) for row in clear[:MOST_CONTRASTS]]
    if len(clear) > MOST_CONTRASTS:
        details.append(f"and {counted(len(clear) - MOST_CONTRASTS, 'more contrast')} in the table of effects")
    factors = first["term"].split(":")
    what = "its levels differ" if len(factors) == 1 else _interaction(factors)
    return Statement(first["term"], f"{what}; omnibus {_p_values(first)}", "", tuple(details))


def _contrast(row: Mapping[Any, Any], layout: Layout, response: Response) -> str:
    if row["term"] not in layout.factors:
        return f"{row['contrast']}: {_kind(response)} {_number(row, response)}; {_p_values(row)}"
    return f"{_effect(row, layout, response)}, {_direction(row, layout, response)}; {_p_values(row)}"


def _not_shown(group: pd.DataFrame, response: Response) -> Statement:
    row = group.iloc[0]
    if row["contrast"] == OMNIBUS:
        return Statement(row["term"], f"omnibus p {significant(row['p_value'])}")
    if row["ci_low"] == row["ci_high"] == 0:
        return Statement(row["term"], "identical in every replicate")
    return Statement(row["term"], _number(row, response))


def _p_values(row: Mapping[Any, Any]) -> str:
    doubt = "" if row["p_holm"] < SHOWN else ": no longer shown after that adjustment"
    return f"p {significant(row['p_value'])}, {significant(row['p_holm'])} after Holm{doubt}"


def _number(row: Any, response: Response) -> str:
    """The effect as a ratio where the scale is logarithmic, else as a difference."""
    names = ("estimate", "ci_low", "ci_high") if response.scale == "linear" else ("ratio", "ratio_low", "ratio_high")
    return estimate(*(row[name] for name in names))


def _effect(row: Mapping[Any, Any], layout: Layout, response: Response) -> str:
    """`trajectory against none multiplies Eval MSE by 8.07 [5.52, 11.8]`, and the like for other terms and scales."""
    number, factors = _number(row, response), row["term"].split(":")
    if not set(factors) <= set(layout.factors):
        return f"these effects, which the design cannot tell apart, together {_changes(response, number)}"
    if len(factors) > 1:
        return f"{_interaction(factors)}: {_kind(response)} {number}"
    before, after = _compared(layout.factors[factors[0]], row["contrast"])
    return f"{after} against {before} {_changes(response, number, 's')}"


def _kind(response: Response) -> str:
    return "difference" if response.scale == "linear" else "ratio"


def _changes(response: Response, number: str, ending: str = "") -> str:
    name = heading(response.name)
    if response.scale == "linear":
        return f"change{ending} {name} by {number}"
    verb, what = "multiplies" if ending else "multiply", "the odds of " if response.scale == "logit" else ""
    return f"{verb} {what}{name} by {number}"


def _interaction(factors: list[str]) -> str:
    if len(factors) == 2:
        return f"the effect of {factors[0]} depends on {factors[1]}"
    return f"the effects of {joined(factors)} depend on each other"


def _compared(levels: tuple[str, ...], contrast: str) -> tuple[str, str]:
    """The levels that a contrast of one factor compares: later minus earlier."""
    named = {f"{later} - {earlier}": (earlier, later) for earlier, later in combinations(levels, 2)}
    return named[contrast] if contrast else (levels[0], levels[1])


def _direction(row: Mapping[Any, Any], layout: Layout, response: Response) -> str:
    """Whether a main effect is for the better; empty for other terms, which have no direction of their own."""
    if row["term"] not in layout.factors or not row["estimate"]:
        return ""
    return "better" if (row["estimate"] < 0) == (response.better == "lower") else "worse"


def origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the results are and what made them, by what to call it; what is not known is left out."""
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
    return {name: str(value) for name, value in rows.items() if value}


def scales(layout: Layout) -> list[tuple[str, str]]:
    """For each response that is judged its name and how it is."""
    lines = []
    for name in layout.judged:
        response = layout.response(name)
        stand_in = "" if response.stand_in is None else f"; a diverged run counts as {response.stand_in:g}"
        lines.append((name, f"{response.scale} scale, {response.better} is better{stand_in}"))
    return lines


def judged(analysis: Analysis) -> list[str]:
    """How the study was judged, in paragraphs: what does not apply to it is left out."""
    several = (analysis.effects["contrast"] == OMNIBUS).any()
    one = replicates_of(analysis) == 1
    paragraphs = [
        DESIGN,
        ONE_REPLICATE if one else (HOLES if robust(analysis) else WITHIN) + POOLED,
        "" if one else HOLM + (SEVERAL_LEVELS if several else ""),
        SECONDARY if len(analysis.anova) else "",
        PAIRED if analysis.layout.ratios else "",
        HYPOTHESES if len(analysis.hypotheses) else "",
        DIVERGED,
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


DESIGN = (
    "The study is a randomized complete block design: every replicate holds every treatment once, on common random"
    " numbers. Responses are analysed on the scale that the study declares for them."
)
WITHIN = (
    "Each effect is estimated inside every replicate. The replicates' estimates give a 95% t interval, with one degree"
    " of freedom fewer than there are replicates."
)
HOLES = (
    "Runs are missing, so effects are estimated by least squares with replicate effects over all runs that there are,"
    " with a variance that is robust to clusters (CR2, Bell–McCaffrey degrees of freedom). Where nothing is missing it"
    " equals the t interval over the estimates inside replicates. The estimate from complete replicates alone stands"
    " beside it."
)
POOLED = (
    " A pooled analysis would be too sure of factors whose levels share something inside a replicate,"
    " such as a teacher."
)
ONE_REPLICATE = (
    "One replicate gives no intervals and no verdicts. Where there are seven or more orthogonal two-level contrasts,"
    " Lenth's method judges them by each other."
)
HOLM = "p values of the terms of one response are adjusted by Holm's method; plain and adjusted ones are shown."
SEVERAL_LEVELS = (
    " A term of more than two levels enters with its omnibus p, the smallest p of its contrasts times their number;"
    " its contrasts are adjusted among themselves."
)
SECONDARY = (
    "The block analysis of variance is secondary: where it disagrees with the effects inside replicates, the effects"
    " decide."
)
PAIRED = "Ratios to the teacher and to the baseline are paired inside replicates, never made from two means."
HYPOTHESES = (
    "A hypothesis on an effect, a response or a difference is supported when its whole 95% interval lies where it says,"
    " refuted when none of it does, and inconclusive otherwise. “Some treatment” has to pass at 0.025 divided by the"
    " number of treatments that match. The largest effect and the rank of an effect are judged by comparing every pair"
    f" of effects inside replicates. {VERDICTS_ARE} One that was registered, or changed, after runs existed is marked"
    " exploratory."
)
DIVERGED = (
    "A diverged run is an outcome and never counts as missing: it takes part with the value registered for it. Without"
    " such a value a verdict stands only if it is the same with diverged runs left out and at the worst value seen."
)
