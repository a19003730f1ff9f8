"""The tables of effects and of the analysis of variance, and what is said below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from kdrun.report.aliases import design_kind
from kdrun.report.outcomes import bias, judged_responses, replicates_of, unvarying_effects, without_value
from kdrun.report.sheet import Sheet, left_out, rich_table
from kdrun.report.text import estimate, heading, significant
from kdrun.report.treatment_tables import TERMINAL_ROWS
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS


def effects_rich(analysis: Analysis) -> Table:
    """Main effects and interactions for a terminal."""
    return rich_table(effects_sheet(analysis, TERMINAL_ROWS), "Effects")


def effects_sheet(analysis: Analysis, limit: int | None = None) -> Sheet:
    """One row per term and contrast: estimate on the analysis scale, ratio where that is logarithmic, p, Holm's p.

    Of more than `limit` rows, contrasts within a term are left out first, then what comes last.
    """
    frame = _shortened(analysis.effects, limit)
    rest = left_out(len(frame), len(analysis.effects), "effect")
    return _effects_sheet(analysis, frame, (*_effect_notes(analysis), *rest))


def complete_effects_sheet(analysis: Analysis, limit: int | None = None) -> Sheet:
    """The same from the complete replicates alone, where others have holes."""
    note = "From the complete replicates alone, each effect estimated inside every replicate."
    return _effects_sheet(analysis, _shortened(analysis.complete_effects, limit), (note,))


def _shortened(effects: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    if limit is None or len(effects) <= limit:
        return effects
    return effects[effects["contrast"].isin(["", OMNIBUS])].head(limit)


def _effects_sheet(analysis: Analysis, frame: pd.DataFrame, notes: tuple[str, ...]) -> Sheet:
    several = len(analysis.layout.judged) > 1
    with_df = len(frame["df"].dropna().unique()) > 1
    tests = ["p_value", "p_holm"] if frame["p_value"].notna().any() else []
    rows = [_effect_row(row, several, with_df, bool(tests)) for row in frame.to_dict("records")]
    columns = ["estimate", "ratio", *(["df"] if with_df else []), *tests]
    names = {"estimate": "Estimate", "ratio": "Ratio", "df": "df", "p_value": "p", "p_holm": "p (Holm)"}
    first = 2 if several else 1
    return Sheet(
        headings=(*(("Response",) if several else ()), "Effect", *(names[name] for name in columns)),
        rows=tuple(rows),
        numeric=frozenset(range(first, first + len(columns))),
        notes=notes,
        values={first + place: tuple(frame[name].astype(float)) for place, name in enumerate(columns)},
    )


def _effect_row(row: dict[Any, Any], several: bool, with_df: bool, with_tests: bool) -> tuple[str, ...]:
    cells = (
        f"{row['term']} ({row['contrast']})" if row["contrast"] else row["term"],
        "" if row["contrast"] == OMNIBUS else estimate(row["estimate"], row["ci_low"], row["ci_high"]),
        "" if row["ratio"] != row["ratio"] else estimate(row["ratio"], row["ratio_low"], row["ratio_high"]),
        *((degrees(row["df"]),) if with_df else ()),
        *((significant(row["p_value"]), significant(row["p_holm"])) if with_tests else ()),
    )
    return (heading(row["response"]), *cells) if several else cells


def degrees(df: float) -> str:
    """Degrees of freedom: whole ones as such, others with three digits; empty for none."""
    if np.isnan(df):
        return ""
    return f"{df:.0f}" if df == round(df) else significant(df)


def _effect_notes(analysis: Analysis) -> tuple[str, ...]:
    if not len(analysis.effects):
        return analysis.notes or ("Effects are not estimated for this design.",)
    notes = [f"{_scale_names(analysis)}; {_effects_are(analysis)}"]
    notes += [] if analysis.layout.screening else [EFFECT_IS]
    notes += [CONTRAST_IS] if (analysis.effects["contrast"] == OMNIBUS).any() else []
    notes += [ALIASED[kind]] if (kind := design_kind(analysis)) in ALIASED else []
    notes += [*bias(analysis, judged_responses(analysis)), *unvarying_effects(analysis.effects)]
    return (*notes, *lenth_notes(analysis), *analysis.notes)


EFFECT_IS = "An effect is second level minus first; an interaction half the difference of the simple effects."
ALIASED = {
    "fraction": "Effects joined by + and - have one estimate together: this fraction cannot tell them apart.",
    "screening": "Each effect holds shares of interactions, which a screening design cannot tell from it.",
}
CONTRAST_IS = (
    "A contrast in brackets is its first level minus its second; omnibus is the test of all contrasts of a term."
)


def _scale_names(analysis: Analysis) -> str:
    layout = analysis.layout
    return ", ".join(f"{heading(name)} on the {layout.response(name).scale} scale" for name in layout.judged)


def _effects_are(analysis: Analysis) -> str:
    """How the effects were estimated, as the table itself shows it."""
    df = analysis.effects["df"].dropna().unique().tolist()
    if analysis.effects["estimate"].isna().all():
        return "no replicate is complete, so there are no estimates."
    if not len(df):
        return f"{_why_no_interval(analysis)}no intervals and no tests."
    if robust(analysis):
        return (
            "least squares with replicate effects over all runs that have a value, 95% t intervals from CR2 with"
            f" Bell–McCaffrey degrees of freedom ({_between(df)}), because"
            f" {without_value(analysis, judged_responses(analysis)) or 'runs have no value'}."
        )
    freedom = f"{_between(df)} degree{'' if max(df) == 1 else 's'} of freedom"
    over = f" over the {int(max(df)) + 1} complete replicates" if len(df) == 1 else ""
    return f"each effect estimated inside every replicate, 95% t intervals with {freedom}{over}."


def _why_no_interval(analysis: Analysis) -> str:
    """What keeps all effects from having one, and how they are estimated then, as the begin of a sentence."""
    if replicates_of(analysis) == 1:
        return "one replicate, so "
    absent = without_value(analysis, judged_responses(analysis))
    return f"least squares over the runs that have a value; {absent}: " if absent else ""


def robust(analysis: Analysis) -> bool:
    """Whether effects were estimated over incomplete replicates."""
    df = analysis.effects["df"].dropna()
    return len(analysis.complete_effects) > 0 or bool((df != df.round()).any())


def _between(df: Sequence[float]) -> str:
    low, high = degrees(min(df)), degrees(max(df))
    return low if low == high else f"{low} to {high}"


def lenth_notes(analysis: Analysis) -> tuple[str, ...]:
    """Lenth's limits in words, for each response that has them."""
    lines = [
        f"Lenth's limits for {heading(name)}, over {found.contrasts} contrasts: pseudo standard error"
        f" {significant(found.pse)}, margin of error {significant(found.me)} for one contrast,"
        f" {significant(found.sme)} for all of them at once."
        for name, found in analysis.lenth.items()
    ]
    return (*lines, LENTH_CAUTION) if lines else ()


LENTH_CAUTION = (
    "Lenth judges contrasts of one replicate by each other; its approximate quantiles are conservative (with 7"
    " contrasts 2% and 1.2% exceed the limits where 5% is meant)."
)


def anova_sheet(analysis: Analysis, limit: int | None = None) -> Sheet:
    """The block analysis of variance: one row per term and stratum."""
    several = len(analysis.layout.judged) > 1
    frame = analysis.anova if limit is None else analysis.anova.head(limit)
    columns = ("df", "sum_sq", "mean_sq", "F", "p_value", "partial_eta_sq")
    first = 3 if several else 2
    rows = tuple(_anova_row(row, several) for row in frame.to_dict("records"))
    return Sheet(
        headings=(
            *(("Response",) if several else ()),
            *("Term", "Stratum", "df", "Sum of squares", "Mean square", "F", "p", "Partial η²"),
        ),
        rows=rows,
        numeric=frozenset(range(first, first + len(columns))),
        notes=(
            ANOVA_IS,
            *([f"Shown: {limit:,} of {len(analysis.anova):,} rows."] if len(frame) < len(analysis.anova) else []),
        ),
        values={first + place: tuple(frame[name].astype(float)) for place, name in enumerate(columns)},
    )


ANOVA_IS = (
    "Secondary: block analysis of variance, sum coding, Type III. A factor whose levels select something that the"
    " treatments of a replicate share is tested against its own replicate stratum. Where it disagrees with the effects,"
    " the effects decide; F of terms with more than two levels assumes sphericity."
)


def _anova_row(row: dict[Any, Any], several: bool) -> tuple[str, ...]:
    numbers = (
        "" if np.isnan(row[name]) else significant(row[name])
        for name in ("sum_sq", "mean_sq", "F", "p_value", "partial_eta_sq")
    )
    cells = (row["term"], row["stratum"], degrees(row["df"]), *numbers)
    return (heading(row["response"]), *cells) if several else cells
