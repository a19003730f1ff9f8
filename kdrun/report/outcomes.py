"""What diverged, failed and missing runs mean for the numbers, and effects that do not vary, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from kdrun.report.text import counted, heading, joined, significant
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Response

# More effects than these are counted.
MOST_NAMED = 6


def replicates_of(analysis: Analysis) -> int:
    """How many replicates were planned."""
    return len(analysis.runs["replicate"].unique())


def judged_responses(analysis: Analysis) -> list[Response]:
    """The responses that the study declares, the primary one first."""
    return [analysis.layout.response(name) for name in analysis.layout.judged]


def _treatments(analysis: Analysis, *statuses: str) -> pd.DataFrame:
    runs = analysis.runs
    return runs[(runs["kind"] == "treatment") & runs["status"].isin(statuses)]


def without_value(analysis: Analysis, responses: Iterable[Response]) -> str:
    """`1 run is missing or failed, and 2 runs diverged without a value …`; empty where none is left out of effects."""
    absent = len(_treatments(analysis, "missing", "failed"))
    diverged = max((_left_out(analysis, response) for response in responses), default=0)
    parts = [f"{counted(absent, 'run')} {_is(absent)} missing or failed"] if absent else []
    if diverged:
        parts.append(f"{counted(diverged, 'run')} diverged without a registered value to stand in")
    return ", and ".join(parts)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _left_out(analysis: Analysis, response: Response) -> int:
    """How many diverged runs of treatments the effects on a response leave out."""
    return 0 if response.stand_in is not None else len(_treatments(analysis, "diverged"))


def bias(analysis: Analysis, responses: Sequence[Response]) -> list[str]:
    """For responses whose effects leave out diverged runs a sentence that says so; none where there are no such."""
    found = [response for response in responses if _left_out(analysis, response)]
    if not found:
        return []
    runs = _treatments(analysis, "diverged")
    names = joined(heading(response.name) for response in found)
    it = "it" if len(runs) == 1 else "they"
    return [
        f"{counted(len(runs), 'diverged run')}{_shared_levels(analysis, runs)} {_is(len(runs))} left out of the effects"
        f" on {names}, which biases them in favour of the levels at which {it}"
        " diverged: register a value (diverged: {value: x})."
    ]


def _shared_levels(analysis: Analysis, runs: pd.DataFrame) -> str:
    """` (all at lr 1e3)`: the levels that all of some runs have."""
    found = {name: runs[name].unique().tolist() for name in analysis.terms.levels}
    levels = [f"{name} {values[0]}" for name, values in found.items() if len(values) == 1]
    return f" ({'all ' if len(runs) > 1 else ''}at {joined(levels)})" if levels else ""


def stand_ins(analysis: Analysis, responses: Sequence[Response]) -> str:
    """`count as Eval MSE 0.5 and are left out of Train MSE`: what diverged runs are to each response."""
    have = [f"{heading(found.name)} {found.stand_in:g}" for found in responses if found.stand_in is not None]
    lack = [heading(found.name) for found in responses if found.stand_in is None]
    parts = [f"count as {joined(have)}"] if have else []
    parts += [f"are left out of {joined(lack)}"] if lack else []
    return joined(parts)


def weak_stand_ins(analysis: Analysis) -> list[str]:
    """A warning for each judged response whose stand-in is better than a run that finished."""
    return [text for response in judged_responses(analysis) if (text := _weak_stand_in(analysis, response))]


def _weak_stand_in(analysis: Analysis, response: Response) -> str:
    values = _treatments(analysis, "done")[response.name].dropna()
    if response.stand_in is None or not len(values):
        return ""
    lower = response.better == "lower"
    worst = float(values.max() if lower else values.min())
    if not (response.stand_in < worst if lower else response.stand_in > worst):
        return ""
    diverged = len(_treatments(analysis, "diverged"))
    meaning = "a run that diverges counts as better than that one" if diverged else "none diverged here"
    return (
        f"The registered value {response.stand_in:g} is better than the worst finished run of"
        f" {heading(response.name)} ({significant(worst)}): {meaning}."
    )


def diverged_words(analysis: Analysis) -> str:
    """What a diverged run is to the responses that are judged, in a paragraph."""
    responses = judged_responses(analysis)
    lack = [heading(found.name) for found in responses if found.stand_in is None]
    have = [f"{heading(found.name)} {found.stand_in:g}" for found in responses if found.stand_in is not None]
    text = "A diverged run is an outcome and never counts as missing."
    if have:
        text += f" It takes part with the value registered for it: {joined(have)}."
    if lack:
        own = ", and that of one response is none of another" if have else ""
        end = "." if replicates_of(analysis) == 1 else DOUBTFUL
        text += f" No value is registered for it on {joined(lack)}{own}: there it is left out of means and effects{end}"
    return " ".join([text, *weak_stand_ins(analysis)])


DOUBTFUL = ", and a verdict stands only if it is the same with diverged runs left out and at the worst value seen."


def unvarying(effects: pd.DataFrame) -> pd.DataFrame:
    """Rows of effects that are not 0 and come to the same in every replicate: they have no interval and no test."""
    rows = effects[effects["std_error"].notna() & effects["ci_low"].isna()]
    return rows[rows["estimate"].notna()]


def unvarying_effects(effects: pd.DataFrame) -> list[str]:
    """For effects that come to the same in every replicate a sentence that says so; none where there are no such."""
    names = [
        f"{row['term']} ({row['contrast']})" if row["contrast"] else str(row["term"])
        for row in unvarying(effects).to_dict("records")
    ]
    names = list(dict.fromkeys(names))
    if not names:
        return []
    named, rest = names[:MOST_NAMED], len(names) - MOST_NAMED
    listed = joined([*named, *([f"{rest:,} more"] if rest > 0 else [])])
    what = "effect" if len(names) == 1 else "effects"
    return [
        f"Replicates do not vary in the {what} of {listed}: the same number in every one, so no interval and no verdict"
        " can be given."
    ]
