"""The tables that a person reads: sheets of text, and how they look on a terminal (Rich) and in Markdown.

LaTeX and HTML are made of the same sheets, in `latex` and `html`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from kdrun.report.text import counted, estimate, heading, is_scientific, markdown, plain, significant
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS
from kdrun.stats.frame import BASELINE, BASELINE_RATIO
from kdrun.stats.scales import Layout, Response

# Longer tables are cut in reports; tables/*.csv hold all of it.
MOST_TREATMENTS = 200
MEANS = {"log10": "geometric means", "linear": "means", "logit": "means on the logit scale"}
LONGEST_WORD = 14
# More rows than this scroll out of sight; the reports have them.
TERMINAL_ROWS = 64


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Headings, rows of cells, which columns are numbers, rows to stress, rows that a rule follows, and what to say below.
    `values` holds, for columns whose cells begin with a number, that number in full, to sort by.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]
    stressed: frozenset[int] = frozenset()
    ruled: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    values: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


def treatment_table(analysis: Analysis, title: str = "", width: int = 100) -> Table:
    """The table of treatments, then comparators, for a terminal of `width` columns.

    Intervals stand beside their means where all fit, below them otherwise.
    """
    wide = treatment_sheet(analysis, limit=TERMINAL_ROWS)
    fits = _natural_width(wide) <= width
    return rich_table(wide if fits else treatment_sheet(analysis, narrow=True, limit=TERMINAL_ROWS), title)


def treatment_markdown(analysis: Analysis) -> str:
    """The same table in Markdown, its notes below it."""
    return markdown_table(treatment_sheet(analysis, limit=MOST_TREATMENTS))


def effects_rich(analysis: Analysis) -> Table:
    """Main effects and interactions for a terminal."""
    return rich_table(effects_sheet(analysis, TERMINAL_ROWS), "Effects")


def hypotheses_rich(analysis: Analysis) -> Table:
    """The verdict on each hypothesis for a terminal."""
    return rich_table(hypotheses_sheet(analysis), "Hypotheses")


def criteria_rich(analysis: Analysis) -> Table:
    """The criteria as a checklist for a terminal, evidence beside each."""
    return rich_table(criteria_sheet(analysis), "Criteria")


def treatment_sheet(analysis: Analysis, narrow: bool = False, limit: int | None = None) -> Sheet:
    """One row per treatment, then the comparators. Columns: Treatment, factors, responses, ratios.

    Of more than `limit` treatments the first are shown, and the best.
    """
    layout = analysis.layout
    best = best_treatment(analysis)
    style = Style.of(analysis, narrow)
    shown = [row for row in _records(analysis.treatments) if limit is None or row["position"] < limit]
    if best is not None and best >= len(shown):
        shown.append(_records(analysis.treatments.iloc[[best]])[0] | {"position": best})
    rows = [_treatment_row(row, style, best) for row in shown]
    comparators = [_comparator_row(row, style) for row in _records(analysis.comparators)]
    names = ("treatment", *layout.factors, *(response.name for response in layout.columns))
    first = 1 + len(layout.factors)
    return Sheet(
        headings=tuple(heading(name) for name in names),
        rows=(*rows, *comparators),
        numeric=frozenset(range(first, len(names))),
        stressed=frozenset(place for place, row in enumerate(shown) if row["position"] == best),
        ruled=frozenset({len(rows) - 1}) if comparators else frozenset(),
        notes=(*_notes(analysis, best), *_left_out(len(shown), len(analysis.treatments), "treatment")),
        values={
            first + place: tuple(row[f"{response.name}_mean"] for row in (*shown, *_records(analysis.comparators)))
            for place, response in enumerate(layout.columns)
        },
    )


def _left_out(shown: int, all_of_them: int, noun: str) -> list[str]:
    """Where the rest of a long table is."""
    if shown == all_of_them:
        return []
    return [f"Shown: {shown:,} of {counted(all_of_them, noun)}; all of them are in tables/{noun}s.csv."]


def best_treatment(analysis: Analysis) -> int | None:
    """The row of the treatment with the best mean of the primary response; None where there is no mean."""
    primary = analysis.layout.primary
    means = analysis.treatments[f"{primary.name}_mean"].to_numpy(np.float64)
    if np.isnan(means).all():
        return None
    return int(np.nanargmin(means) if primary.better == "lower" else np.nanargmax(means))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{"position": position, **row} for position, row in enumerate(frame.to_dict("records"))]  # type: ignore[dict-item]


def _treatment_row(row: dict[str, Any], style: Style, best: int | None) -> tuple[str, ...]:
    layout = style.layout
    values = {response.name: style.value(row, response) for response in layout.columns}
    if row["position"] == best:
        mean, *rest = values[layout.primary.name].split(style.between, 1)
        values[layout.primary.name] = style.between.join([f"{mean}*", *rest])
    if row["treatment"] == BASELINE and row.get(f"{BASELINE_RATIO}_mean") == 1:
        values[BASELINE_RATIO] = f"1{style.between}(reference)"
    return (str(row["treatment"]), *(row[factor] for factor in layout.factors), *values.values())


def _comparator_row(row: dict[str, Any], style: Style) -> tuple[str, ...]:
    # The longest word sets the width of the column.
    name = row["comparator"].replace("_", "_\n") if style.between == "\n" else row["comparator"]
    values = (style.value(row, response) for response in style.layout.columns)
    return (name, *(row[factor] for factor in style.layout.factors), *values)


@dataclass(frozen=True)
class Style:
    """How the numbers of a table are written: what stands before an interval, and which columns have exponents."""

    layout: Layout
    between: str
    scientific: frozenset[str]

    @classmethod
    def of(cls, analysis: Analysis, narrow: bool) -> Style:
        """One style of numbers for each column."""
        frames = [frame for frame in (analysis.treatments, analysis.comparators) if len(frame)]
        means = {response.name: f"{response.name}_mean" for response in analysis.layout.columns}
        values = {name: [value for frame in frames for value in frame[mean]] for name, mean in means.items()}
        scientific = frozenset(name for name, found in values.items() if is_scientific(found))
        return cls(analysis.layout, "\n" if narrow else " ", scientific)

    def value(self, row: dict[str, Any], response: Response) -> str:
        """The cell of one response."""
        mean, low, high = (row[f"{response.name}_{key}"] for key in ("mean", "ci_low", "ci_high"))
        if mean == low == high == 1 and response.name in self.layout.ratios:
            return "identical"
        return estimate(mean, low, high, response.name in self.scientific, self.between)


def _notes(analysis: Analysis, best: int | None) -> list[str]:
    layout = analysis.layout
    replicates = analysis.runs["replicate"].nunique()
    kinds = dict.fromkeys(MEANS[response.scale] for response in layout.responses)
    kind = " and ".join(kinds)
    what = f"{kind[:1].upper()}{kind[1:]} over {counted(replicates, 'replicate')}"
    notes = [f"{what} with 95% t intervals." if replicates > 1 else f"{what}: no intervals."]
    if layout.ratios:
        notes.append("Ratios are paired within replicates.")
    if replicates > 1 and _has_bare_means(analysis):
        notes.append("No interval stands where replicates do not vary, or only one has a value.")
    if best is not None:
        notes.append(f"* best treatment by {heading(layout.primary.name)}.")
    return [*notes, *_endings(analysis)]


def _has_bare_means(analysis: Analysis) -> bool:
    """Whether a mean stands without an interval, treatment 1 against itself apart."""
    for response in analysis.layout.columns:
        rows = analysis.treatments
        if response.name == BASELINE_RATIO:
            rows = rows[rows["treatment"] != BASELINE]
        if (rows[f"{response.name}_mean"].notna() & rows[f"{response.name}_ci_low"].isna()).any():
            return True
    return False


def _endings(analysis: Analysis) -> list[str]:
    """How many runs ended how, and which did not end well."""
    totals = analysis.counts[["done", "diverged", "failed", "missing"]].sum()
    runs = ", ".join(f"{totals[status]} {status}" for status in totals.index)
    lines = [f"{totals.sum()} runs: {runs}."]
    for row in analysis.counts.to_dict("records"):
        bad = [f"{row[status]} {status}" for status in ("diverged", "failed", "missing") if row[status]]
        if bad and row["kind"] == "treatment":
            lines.append(f"Treatment {row['treatment']}: {', '.join(bad)}.")
    stand_in = analysis.layout.primary.stand_in
    if totals["diverged"]:
        counted = (
            "are left out" if stand_in is None else f"count as {heading(analysis.layout.primary.name)} {stand_in:g}"
        )
        lines.append(f"Diverged runs {counted}.")
    return lines


def effects_sheet(analysis: Analysis, limit: int | None = None) -> Sheet:
    """One row per term and contrast: estimate on the analysis scale, ratio where that is logarithmic, p, Holm's p.

    Of more than `limit` rows, contrasts within a term are left out first, then what comes last.
    """
    frame = _shortened(analysis.effects, limit)
    left_out = _left_out(len(frame), len(analysis.effects), "effect")
    return _effects_sheet(analysis, frame, (*_effect_notes(analysis), *left_out))


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
    rows = [_effect_row(row, several, with_df) for row in frame.to_dict("records")]
    columns = ["estimate", "ratio", *(["df"] if with_df else []), "p_value", "p_holm"]
    names = {"estimate": "Estimate", "ratio": "Ratio", "df": "df", "p_value": "p", "p_holm": "p (Holm)"}
    first = 2 if several else 1
    return Sheet(
        headings=(*(("Response",) if several else ()), "Effect", *(names[name] for name in columns)),
        rows=tuple(rows),
        numeric=frozenset(range(first, first + len(columns))),
        notes=notes,
        values={first + place: tuple(frame[name].astype(float)) for place, name in enumerate(columns)},
    )


def _effect_row(row: dict[Any, Any], several: bool, with_df: bool) -> tuple[str, ...]:
    cells = (
        f"{row['term']} ({row['contrast']})" if row["contrast"] else row["term"],
        "" if row["contrast"] == OMNIBUS else estimate(row["estimate"], row["ci_low"], row["ci_high"]),
        "" if row["ratio"] != row["ratio"] else estimate(row["ratio"], row["ratio_low"], row["ratio_high"]),
        *((degrees(row["df"]),) if with_df else ()),
        significant(row["p_value"]),
        significant(row["p_holm"]),
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
    return (*notes, *lenth_notes(analysis), *analysis.notes)


EFFECT_IS = "An effect is second level minus first; an interaction half the difference of the simple effects."
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
        return f"{'one replicate, so ' if replicates_of(analysis) == 1 else ''}no intervals and no tests."
    if robust(analysis):
        return (
            "least squares with replicate effects over all runs that there are, 95% t intervals from CR2 with"
            f" Bell–McCaffrey degrees of freedom ({_between(df)}), because runs are missing."
        )
    freedom = f"{_between(df)} degree{'' if max(df) == 1 else 's'} of freedom"
    over = f" over the {int(max(df)) + 1} complete replicates" if len(df) == 1 else ""
    return f"each effect estimated inside every replicate, 95% t intervals with {freedom}{over}."


def replicates_of(analysis: Analysis) -> int:
    """How many replicates were planned."""
    return len(analysis.runs["replicate"].unique())


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


def hypotheses_sheet(analysis: Analysis) -> Sheet:
    """One row per hypothesis: its verdict, the sentence, the estimate, how many replicates, the evidence."""
    frame = analysis.hypotheses
    rows = tuple(_hypothesis_row(row) for row in frame.to_dict("records"))
    return Sheet(
        headings=("Verdict", "Hypothesis", "Estimate", "Replicates", "Evidence"),
        rows=rows,
        numeric=frozenset({2, 3}),
        notes=(VERDICTS_ARE,) if rows else (),
        values={2: tuple(frame["estimate"].astype(float)), 3: tuple(frame["replicates"].astype(float))},
    )


VERDICTS_ARE = "Each verdict stands for itself: nothing is adjusted across hypotheses."


def _hypothesis_row(row: dict[Any, Any]) -> tuple[str, ...]:
    verdict = f"{row['verdict']}{' (exploratory)' if row['exploratory'] else ''}"
    return (verdict, row["say"], hypothesis_number(row), str(row["replicates"] or ""), row["evidence"])


def hypothesis_number(row: Mapping[Any, Any]) -> str:
    """The estimate of a hypothesis with its interval; empty where there is none."""
    mean, low, high = (float(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    if np.isnan(mean):
        return ""
    if '"effect_rank"' in row["claim"][:LONGEST_WORD]:
        return f"rank {mean:.0f} [{low:.0f}, {high:.0f}]"
    return estimate(mean, low, high)


def criteria_sheet(analysis: Analysis) -> Sheet:
    """One row per criterion: whether it holds, its name, the evidence."""
    rows = [
        ("yes" if row["holds"] else "NO", f"{row['name']}{' (required)' if row['required'] else ''}", row["evidence"])
        for row in analysis.criteria.to_dict("records")
    ]
    return Sheet(("Holds", "Criterion", "Evidence"), tuple(rows), frozenset())


def criteria_markdown(analysis: Analysis, exploratory: frozenset[str] = frozenset()) -> str:
    """The criteria as a checklist, evidence beside each; those named in `exploratory` are marked."""
    return "\n".join(
        f"- [{'x' if row['holds'] else ' '}] **{markdown(row['name'])}**{_marks(row, exploratory)}:"
        f" {markdown(row['evidence'])}"
        for row in analysis.criteria.to_dict("records")
    )


def _marks(row: Mapping[Any, Any], exploratory: frozenset[str]) -> str:
    marks = [*(["required"] if row["required"] else []), *(["exploratory"] if row["name"] in exploratory else [])]
    return f" ({', '.join(marks)})" if marks else ""


# The tables that can be had as a sheet, by the names of their files.
SHEETS: Mapping[str, Callable[[Analysis], Sheet]] = {
    "treatments": treatment_sheet,
    "effects": effects_sheet,
    "anova": anova_sheet,
    "hypotheses": hypotheses_sheet,
    "criteria": criteria_sheet,
}


def rich_table(sheet: Sheet, title: str = "") -> Table:
    """A sheet for a terminal. No text of it is read as markup."""
    table = Table(
        title=Text(plain(title)) if title else None,
        caption=_text("\n".join(sheet.notes)) if sheet.notes else None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for index, name in enumerate(sheet.headings):
        numeric = index in sheet.numeric
        # Names keep their words whole; intervals may break between their bounds.
        longest = max((len(line) for row in sheet.rows for line in row[index].split("\n")), default=0)
        least = None if numeric else min(max(longest, len(name)), LONGEST_WORD)
        table.add_column(_text(name), justify="right" if numeric else "left", overflow="fold", min_width=least)
    for index, row in enumerate(sheet.rows):
        style = "bold green" if index in sheet.stressed else None
        table.add_row(*(_text(cell) for cell in row), style=style, end_section=index in sheet.ruled)
    return table


def _text(cell: str) -> Text:
    return Text("\n".join(plain(line) for line in cell.split("\n")))


def _natural_width(sheet: Sheet) -> int:
    """How wide the sheet is with every cell on one line."""
    cells = [sheet.headings, *sheet.rows]
    return sum(max(Text(row[column]).cell_len for row in cells) + 2 for column in range(len(sheet.headings)))


def markdown_table(sheet: Sheet) -> str:
    """A sheet in Markdown, its notes below it. No text of it is read as markup."""
    rule = ["---:" if index in sheet.numeric else "---" for index in range(len(sheet.headings))]
    body = [_markdown_row(row, index in sheet.stressed) for index, row in enumerate(sheet.rows)]
    lines = [_markdown_row(sheet.headings), f"| {' | '.join(rule)} |", *body]
    return "\n".join([*lines, *(f"\n{markdown(note)}" for note in sheet.notes)])


def _markdown_row(cells: Sequence[str], stressed: bool = False) -> str:
    escaped = [markdown(cell) for cell in cells]
    return f"| {' | '.join(f'**{cell}**' if stressed and cell else cell for cell in escaped)} |"
