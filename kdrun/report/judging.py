"""How a study was judged, in paragraphs that report.md and report.html share."""

from __future__ import annotations

from kdrun.report.aliases import design_words
from kdrun.report.effect_tables import robust
from kdrun.report.outcomes import bias, diverged_words, judged_responses, replicates_of, without_value
from kdrun.report.verdict_tables import VERDICTS_ARE
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS
from kdrun.stats.scales import Layout


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
    one = replicates_of(analysis) == 1
    several = (analysis.effects["contrast"] == OMNIBUS).any()
    tested = analysis.effects["p_value"].notna().any()
    paragraphs = [
        f"{design_words(analysis)} {SCALES}",
        _one_replicate(analysis) if one else _intervals(analysis),
        HOLM + (SEVERAL_LEVELS if several else "") if tested else "",
        SECONDARY if len(analysis.anova) else "",
        PAIRED if analysis.layout.ratios and not one else "",
        (ONE_IS_NO_VERDICT if one else HYPOTHESES) if len(analysis.hypotheses) else "",
        diverged_words(analysis),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _one_replicate(analysis: Analysis) -> str:
    return f"One replicate gives no intervals and no verdicts.{LENTH if analysis.lenth else ''}"


def _intervals(analysis: Analysis) -> str:
    """How effects were estimated, and what their intervals rest on."""
    responses = judged_responses(analysis)
    absent = without_value(analysis, responses)
    if not len(analysis.effects):
        return ""
    if not robust(analysis):
        return WITHIN + (REST_IS_LEFT_OUT.format(absent=_capital(absent)) if absent else "") + POOLED
    interval = CR2 if analysis.effects["df"].notna().any() else NO_INTERVAL
    biased = "".join(f" {sentence}" for sentence in bias(analysis, responses))
    return f"{_capital(absent) or 'Runs have no value'}, so effects are estimated by {HOLES}{interval}{biased}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


SCALES = "Responses are analysed on the scale that the study declares for them."
WITHIN = (
    "Each effect is estimated inside every replicate. The replicates' estimates give a 95% t interval, with one degree"
    " of freedom fewer than there are replicates."
)
REST_IS_LEFT_OUT = " {absent}: replicates that are not complete are left out."
HOLES = "least squares with replicate effects over all runs that have a value."
POOLED = (
    " A pooled analysis would be too sure of factors whose levels share something inside a replicate,"
    " such as a teacher."
)
CR2 = (
    " Their variance is robust to clusters (CR2, Bell–McCaffrey degrees of freedom); where nothing is missing their t"
    " interval equals that over the estimates inside replicates. The estimate from complete replicates alone stands"
    f" beside it.{POOLED}"
)
NO_INTERVAL = " Some treatment has fewer than three such runs, so no effect has an interval or a test."
LENTH = " Lenth's method judges the effects by each other."
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
EXPLORATORY = f"{VERDICTS_ARE} One that was registered, or changed, after runs existed is marked exploratory."
ONE_IS_NO_VERDICT = (
    f"A hypothesis on an effect, a response or a difference stays inconclusive with one replicate. {EXPLORATORY}"
)
HYPOTHESES = (
    "A hypothesis on an effect, a response or a difference is supported when its whole 95% interval lies where it says,"
    " refuted when none of it does, and inconclusive otherwise. “Some treatment” has to pass at 0.025 divided by the"
    " number of treatments that match. The largest effect and the rank of an effect are judged by comparing every pair"
    f" of effects inside replicates. {EXPLORATORY}"
)
