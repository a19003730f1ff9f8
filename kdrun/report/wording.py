"""Sentences that report.md and report.html share: what was run, which techniques matter, how it was judged.

They are plain text: whoever shows them escapes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from kdrun.report.aliases import design_kind, is_aliased
from kdrun.report.outcomes import bias, replicates_of, unvarying, unvarying_effects
from kdrun.report.text import counted, estimate, heading, joined, significant
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS
from kdrun.stats.scales import Layout, Response
from kdrun.stats.terms import Member, Term

VERDICTS = ("supported", "refuted", "inconclusive")
KINDS = {"teacher": "of teachers", "treatment": "of treatments", "comparator": "of comparators"}
# What a difference on the analysis scale is.
KIND = {"log10": "ratio", "logit": "odds ratio", "linear": "difference"}
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
    """The terms of the primary response that are shown to matter, largest first, those that are not, and remarks.

    `cautions` are to be read before all of that.
    """

    response: str
    shown: tuple[Statement, ...] = ()
    not_shown: tuple[Statement, ...] = ()
    remarks: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def what_matters(analysis: Analysis) -> Matters:
    """Which terms matter to the primary response: those whose interval excludes no effect.

    A term of more than two levels counts by its omnibus p; with one replicate Lenth's limits decide.
    """
    rows = analysis.effects[analysis.effects["response"] == analysis.layout.primary.name]
    found = _matters(analysis, rows)
    cautions = [*bias(analysis, [analysis.layout.primary]), *unvarying_effects(rows)]
    if design_kind(analysis) == "screening":
        cautions.append(SCREENED)
    return replace(found, cautions=tuple(cautions))


def _matters(analysis: Analysis, rows: pd.DataFrame) -> Matters:
    response = analysis.layout.primary
    name = heading(response.name)
    if not len(rows):
        return Matters(name, remarks=analysis.notes or ("No effects were estimated.",))
    if rows["p_value"].isna().all() and (rows["ci_low"].isna()).all():
        return _by_lenth(analysis, rows)
    terms = [group for _, group in rows.groupby("term", sort=False)]
    shown = [group for group in terms if group["p_value"].iloc[0] < SHOWN]
    shown.sort(key=lambda group: -float(group["estimate"].abs().max()))
    rest = [group for group in terms if not group["p_value"].iloc[0] < SHOWN and not _is_untested(group)]
    return Matters(
        name,
        tuple(_statement(group, analysis, response) for group in shown),
        tuple(_not_shown(group, response) for group in rest),
        (NOT_SHOWN,) if rest else (),
    )


SCREENED = (
    "A screening design tells no effect of a factor from its share of interactions: what is said of a factor here holds"
    " for both together; see “What cannot be told apart”."
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
            f"{_effect(row, analysis, response)}; beyond Lenth's limit for"
            f" {'all contrasts at once' if abs(row['estimate']) > limits.sme else 'one contrast, not for all at once'}",
            _direction(row, analysis, response),
        )
        for row in beyond.to_dict("records")
    ]
    remark = "One replicate gives no intervals and no verdicts: these effects stand out from the others, no more."
    return Matters(heading(response.name), tuple(shown), remarks=(remark, *analysis.notes))


def _statement(group: pd.DataFrame, analysis: Analysis, response: Response) -> Statement:
    first, *contrasts = group.to_dict("records")
    if first["contrast"] != OMNIBUS:
        text = f"{_effect(first, analysis, response)}; {_p_values(first)}"
        return Statement(first["term"], text, _direction(first, analysis, response))
    clear = sorted((row for row in contrasts if row["p_value"] < SHOWN), key=lambda row: float(row["p_value"]))
    details = [_contrast(row, analysis, response) for row in clear[:MOST_CONTRASTS]]
    if len(clear) > MOST_CONTRASTS:
        details.append(f"and {counted(len(clear) - MOST_CONTRASTS, 'more contrast')} in the table of effects")
    factors = first["term"].split(":")
    what = "its levels differ" if len(factors) == 1 else _interaction(factors)
    return Statement(first["term"], f"{what}; omnibus {_p_values(first)}", "", tuple(details))


def _contrast(row: Mapping[Any, Any], analysis: Analysis, response: Response) -> str:
    if row["term"] not in analysis.layout.factors:
        return f"{row['contrast']}: {KIND[response.scale]} {_number(row, response)}; {_p_values(row)}"
    return f"{_effect(row, analysis, response)}, {_direction(row, analysis, response)}; {_p_values(row)}"


def _is_untested(group: pd.DataFrame) -> bool:
    """Whether a term has no test because its effects come to the same in every replicate."""
    return bool(group["p_value"].isna().all()) and len(unvarying(group)) > 0


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


def _effect(row: Mapping[Any, Any], analysis: Analysis, response: Response) -> str:
    """`trajectory against none multiplies Eval MSE by 8.07 [5.52, 11.8]`, and the like for other terms and scales."""
    number, term = _number(row, response), _term(row, analysis)
    if is_aliased(term):
        return _class_effect(term, analysis.layout, response, number)
    if term.order > 1:
        return f"{_interaction(term.factors)}: {KIND[response.scale]} {number}"
    before, after = _compared(analysis.layout.factors[term.factors[0]], row["contrast"])
    return f"{after} against {before} {_changes(response, number, 's')}"


def _term(row: Mapping[Any, Any], analysis: Analysis) -> Term:
    """The term that a row of effects is about; one by its own factors where the design has none of that name."""
    place = analysis.terms.find(row["term"])
    return Term((Member(tuple(row["term"].split(":"))),)) if place is None else analysis.terms.terms[place]


def _class_effect(term: Term, layout: Layout, response: Response, number: str) -> str:
    """What the effects of a class, which cannot be told apart, do together, by the levels that it compares."""
    levels = [layout.factors[factor] for factor in term.factors]
    if term.order == 1:
        (before, after), *_ = levels
        return f"{after} against {before}, with what cannot be told from it, {_changes(response, number, 's')}"
    if term.order == 2:
        (first, second), (other, another) = levels
        pairs = f"{first} with {other} and {second} with {another}, against the other two pairs"
        return f"{pairs}, with what cannot be told from that, {_changes(response, number)}"
    return f"these effects, which the design cannot tell apart, together: {KIND[response.scale]} {number}"


def _changes(response: Response, number: str, ending: str = "") -> str:
    name = heading(response.name)
    if response.scale == "linear":
        return f"change{ending} {name} by {number}"
    verb, what = "multiplies" if ending else "multiply", "the odds of " if response.scale == "logit" else ""
    return f"{verb} {what}{name} by {number}"


def _interaction(factors: Sequence[str]) -> str:
    if len(factors) == 2:
        return f"the effect of {factors[0]} depends on {factors[1]}"
    return f"the effects of {joined(factors)} depend on each other"


def _compared(levels: tuple[str, ...], contrast: str) -> tuple[str, str]:
    """The levels that a contrast of one factor compares: later minus earlier."""
    named = {f"{later} - {earlier}": (earlier, later) for earlier, later in combinations(levels, 2)}
    return named[contrast] if contrast else (levels[0], levels[1])


def _direction(row: Mapping[Any, Any], analysis: Analysis, response: Response) -> str:
    """Whether a main effect, or the class that one leads, is for the better; empty for other terms."""
    term = _term(row, analysis)
    if term.order > 1 or not row["estimate"]:
        return ""
    word = "better" if (row["estimate"] < 0) == (response.better == "lower") else "worse"
    return f"{word} as a class" if is_aliased(term) else word


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


def promise(study: Mapping[str, Any]) -> str:
    """Where a study that is run again has the same bits; code of the user's own makes none of kdrun's promises."""
    is_own = "student" not in study
    where = "where the same versions run on the same kind of CPU" if is_own else "on any CPU"
    text = f"The second command says “identical”, and both folders have the same results digest, {where}."
    reads = "its code and files are" if is_own else "its data are" if "file" in study["task"] else ""
    return f"{text} Put study.yaml where the study stood first: {reads} looked for beside it." if reads else text


def mixed_sources(names: Sequence[str]) -> list[str]:
    """A caution about code or files of which runs of one study have had several versions; none without any."""
    if not names:
        return []
    listed = joined("kdrun itself" if name == "kdrun" else name for name in names)
    return [
        f"Not all runs were made by the same version of {listed}: differences between them need not be those of levels"
        " or chance. --on-code-change rerun does the older ones again."
    ]
