"""What the results say about the claims of a study: registered hypotheses, and criteria.

A claim is one mapping, `{name: argument}`. Each name is one function, from its argument, what is known and a level α to
a `Finding`; a claim that joins others is a function that joins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from kdrun.stats.effect_claims import effect, effect_rank, largest_effect
from kdrun.stats.findings import Claim, Finding, Judge, Known, Verdict
from kdrun.stats.response_claims import better, equivalent, response, some_treatment
from kdrun.stats.study_claims import complete, gradients, reproducible, teacher

ALPHA = 0.05
VERDICT_COLUMNS = ("say", "claim", "verdict", "exploratory", "estimate", "ci_low", "ci_high", "replicates")
KINDS: tuple[Any, ...] = ("str", "str", "str", bool, float, float, float, "int64", "str")
CRITERIA_COLUMNS = ("name", "required", "holds", "evidence")


def hypotheses_table(hypotheses: Sequence[Mapping[str, Any]], known: Known) -> pd.DataFrame:
    """One row per hypothesis, in the order of the study. Columns: those of `hypotheses.csv`, then `evidence`.

    `hypotheses` are mappings with `say`, `claim`, and `exploratory` where one was not registered before the first run.
    An estimate is in the units of the claim: a ratio for effects and differences on a log scale. No level is adjusted
    for the number of hypotheses.
    """
    rows = []
    for hypothesis in hypotheses:
        found = judge(hypothesis["claim"], known)
        claim = json.dumps(hypothesis["claim"], ensure_ascii=False)
        exploratory = bool(hypothesis.get("exploratory", False))
        numbers = (found.estimate, found.low, found.high, found.replicates)
        rows.append((hypothesis["say"], claim, found.verdict, exploratory, *numbers, found.evidence))
    columns = [*VERDICT_COLUMNS, "evidence"]
    return pd.DataFrame(rows, columns=columns).astype(dict(zip(columns, KINDS, strict=True)))


def criteria_table(criteria: Sequence[Mapping[str, Any]], known: Known) -> pd.DataFrame:
    """One row per criterion, in the order of the study. Columns: those of `criteria.csv`.

    `criteria` are mappings with `name`, `claim` and `required`. A criterion holds when its claim is supported.
    """
    rows = []
    for criterion in criteria:
        finding = judge(criterion["claim"], known)
        required = bool(criterion.get("required", False))
        rows.append((criterion["name"], required, finding.verdict == "supported", finding.evidence))
    return pd.DataFrame(rows, columns=list(CRITERIA_COLUMNS)).astype({"required": bool, "holds": bool})


def judge(claim: Claim, known: Known, alpha: float = ALPHA) -> Finding:
    """The verdict on a claim.

    Where its response has diverged runs and no registered stand-in, a verdict must be the same with these runs left out
    and at the worst value seen; else it is inconclusive.
    """
    ((name, argument),) = claim.items()
    finding = CLAIMS[name](argument, known, alpha)
    if name not in ON_RESPONSES:
        return finding
    measured = known.response(argument if isinstance(argument, Mapping) else {})
    if measured.stand_in is not None or not (known.table["status"] == "diverged").any():
        return finding
    worst = CLAIMS[name](argument, known.with_worst(measured.name), alpha)
    if worst.verdict == finding.verdict:
        return finding
    text = (
        f"{finding.verdict} with the diverged runs left out, {worst.verdict} with them at the worst value seen:"
        f" inconclusive. Left out: {finding.evidence}"
    )
    return replace(finding, verdict="inconclusive", evidence=text)


def every(claims: Sequence[Claim], known: Known, alpha: float) -> Finding:
    """`{all: [claims]}`: supported when every part is, refuted when a part is refuted at α/(number of parts)."""
    found = [judge(claim, known, alpha) for claim in claims]
    strict = [judge(claim, known, alpha / len(claims)) for claim in claims]
    verdict: Verdict = "inconclusive"
    if all(part.verdict == "supported" for part in found):
        verdict = "supported"
    elif any(part.verdict == "refuted" for part in strict):
        verdict = "refuted"
    evidence = "; ".join(
        f"({number}) {_part_words(*pair)}" for number, pair in enumerate(zip(found, strict, strict=True), 1)
    )
    return Finding(verdict, evidence, replicates=min(part.replicates for part in found))


def _part_words(found: Finding, strict: Finding) -> str:
    """A part with its verdict; one that is refuted by itself, but not at the stricter level of a part, says so."""
    weaker = found.verdict == "refuted" != strict.verdict
    return f"{found.verdict}{', but not at the level of one part among several' if weaker else ''}: {found.evidence}"


CLAIMS: dict[str, Judge] = {
    "gradients": gradients,
    "teacher": teacher,
    "reproducible": reproducible,
    "complete": complete,
    "effect": effect,
    "response": response,
    "some_treatment": some_treatment,
    "better": better,
    "equivalent": equivalent,
    "largest_effect": largest_effect,
    "effect_rank": effect_rank,
    "all": every,
}
# Claims that diverged runs without a stand-in make doubtful; `all` judges its parts one by one.
ON_RESPONSES = CLAIMS.keys() - {"gradients", "teacher", "reproducible", "complete", "all"}
