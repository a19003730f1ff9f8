"""Effects by evidence, which is |t|, or by size where there is no t, with the limits that chance rarely passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from scipy import special

from kdrun.report.plots.page import EDGE, TICK_PAD, Page, below_label, legend_height, sample, x_axis
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import INK, LABEL, LINE_HEIGHT, TICK, WIDTH, human, in_two_lines, term_name, widest
from kdrun.report.plots.ticks import SCALE_WORDS, scale_ticks
from kdrun.report.text import plain
from kdrun.stats.analysis import Analysis
from kdrun.stats.effects import OMNIBUS
from kdrun.stats.scales import Floats

MOST_BARS = 30
BAR = 0.2
LONGEST = 3.1
SCALE_UNITS = {"log10": "log₁₀ units", "linear": "units of the response", "logit": "logits"}
DOWN: dict[str, Any] = {"facecolor": "#2F6DA3", "edgecolor": "#12355B"}
UP: dict[str, Any] = {"facecolor": "#F3C9A5", "edgecolor": "#B04A00", "hatch": "////"}
EACH: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 2))}
ALL: dict[str, Any] = {"color": INK, "linewidth": 1.4, "linestyle": "-"}


@dataclass(frozen=True)
class Bars:
    """Rows of effects, the longest bar first; `size` [n] of bars and its limits [n], nan where there is none.

    `studentized`: size is |t|, else the absolute estimate. `terms` is how many terms the study estimates, `left_out`
    how many bars have no room and `untested` how many have no t because replicates do not vary.
    """

    rows: pd.DataFrame
    size: Floats
    each: Floats
    together: Floats
    studentized: bool
    terms: int
    left_out: int
    untested: int


def bars_of(analysis: Analysis, most: int = MOST_BARS) -> Bars | None:
    """The bars of the primary response. Limits: t(.975, df), and t(1 − .05/(2·m·c), df) for m terms of c contrasts."""
    primary = analysis.layout.primary.name
    table = analysis.effects[(analysis.effects["response"] == primary) & (analysis.effects["contrast"] != OMNIBUS)]
    rows = table[table["estimate"].notna()].reset_index(drop=True)
    # Without an interval there is no t either, whatever the standard error.
    error = rows["std_error"].where(rows["ci_low"].notna()).to_numpy(np.float64)
    studentized = bool((error > 0).any())
    untested = int((~(error > 0)).sum()) if studentized else 0
    if studentized:
        rows, error = rows[error > 0], error[error > 0]
    if not len(rows):
        return None
    terms = int(table["term"].nunique())
    size = rows["estimate"].abs().to_numpy(np.float64) / (error if studentized else 1.0)
    each, together = _limits(analysis, rows, terms, studentized)
    order = _order(rows, size, most)
    return Bars(
        rows.iloc[order],
        size[order],
        each[order],
        together[order],
        studentized,
        terms,
        len(rows) - len(order),
        untested,
    )


def _limits(analysis: Analysis, rows: pd.DataFrame, terms: int, studentized: bool) -> tuple[Floats, Floats]:
    if not studentized:
        found = analysis.lenth.get(analysis.layout.primary.name)
        me, sme = (np.nan, np.nan) if found is None else (found.me, found.sme)
        return np.full(len(rows), me), np.full(len(rows), sme)
    df = rows["df"].to_numpy(np.float64)
    contrasts = rows.groupby("term")["term"].transform("size").to_numpy(np.float64)
    return special.stdtrit(df, 0.975), special.stdtrit(df, 1 - 0.05 / (2 * terms * contrasts))


def _order(rows: pd.DataFrame, size: Floats, most: int) -> list[int]:
    """Positions of at most `most` rows by size; contrasts of larger interactions only where room is left."""
    filler = ((rows["contrast"] != "") & (rows["order"] > 1)).to_numpy()
    chosen = sorted(range(len(rows)), key=lambda index: (filler[index], -size[index]))[:most]
    return sorted(chosen, key=lambda index: -size[index])


def draw(material: Material) -> Drawing | None:
    """Horizontal bars, the longest on top."""
    analysis = material.analysis
    bars = bars_of(analysis)
    if bars is None:
        return None
    handles, names = _legend(bars, human(analysis.layout.primary.name))
    labels = [in_two_lines(_name(row), LONGEST, TICK) for row in bars.rows.to_dict("records")]
    left = EDGE + widest("\n".join(labels).split("\n"), TICK) + TICK_PAD
    heights = np.array([BAR if "\n" not in label else BAR + TICK * LINE_HEIGHT for label in labels])
    height = float(heights.sum()) + 0.12
    below = EDGE + height + TICK * LINE_HEIGHT + LABEL * LINE_HEIGHT + 0.24
    page = Page(below + legend_height(names, WIDTH))
    axes = page.axes(left, EDGE, page.width - left - EDGE - 0.1, height)
    places = np.cumsum(heights) - heights / 2
    _draw_bars(axes, bars, places)
    axes.set_yticks(places, labels, linespacing=1.1)
    axes.set_ylim(height - 0.06, -0.06)
    axes.tick_params(axis="y", length=0)
    below_label(axes, page.width, _size_label(analysis, bars))
    page.legend(below, handles, names)
    title = "Effects by evidence" if bars.studentized else "Effects by size"
    return Drawing("pareto", title, _caption(analysis, bars), page.figure)


def _name(row: dict[Any, Any]) -> str:
    return f"{term_name(row['term'])} ({plain(row['contrast'])})" if row["contrast"] else term_name(row["term"])


def _size_label(analysis: Analysis, bars: Bars) -> str:
    if bars.studentized:
        return "|t| = |effect| / standard error"
    primary = analysis.layout.primary
    return f"|Effect| on {human(primary.name)} ({SCALE_UNITS[primary.scale]})"


def _draw_bars(axes: Axes, bars: Bars, places: Floats) -> None:
    """Bars and limits at `places` [n], in inches from above."""
    estimates = bars.rows["estimate"].to_numpy(np.float64)
    for place, size, estimate in zip(places, bars.size, estimates, strict=True):
        axes.barh(place, size, height=0.66 * BAR, linewidth=0.8, zorder=2, **(UP if estimate > 0 else DOWN))
    for limit, style in ((bars.each, EACH), (bars.together, ALL)):
        _draw_limit(axes, limit, places, style)
    furthest = max(float(np.nanmax(values, initial=0.0)) for values in (bars.size, bars.each, bars.together))
    axes.set_xlim(0, 1.05 * furthest or 1.0)
    x_axis(axes, scale_ticks("linear", 0.0, axes.get_xlim()[1], 8))
    axes.grid(visible=False, axis="y")


def _draw_limit(axes: Axes, limit: Floats, places: Floats, style: dict[str, Any]) -> None:
    """One line where the limit is the same for all bars, else a piece of it at each."""
    if np.isnan(limit).any():
        return
    if np.ptp(limit) <= 1e-9 * limit.max():
        axes.axvline(float(limit[0]), zorder=3, **style)
    else:
        axes.vlines(limit, places - 0.45 * BAR, places + 0.45 * BAR, zorder=3, **style)


def _legend(bars: Bars, response: str) -> tuple[list[Any], list[str]]:
    up = bars.rows["estimate"].to_numpy(np.float64) > 0
    entries: list[tuple[Any, str]] = []
    if not up.all():
        entries.append((Patch(**DOWN), f"lowers {response}"))
    if up.any():
        entries.append((Patch(**UP), f"raises {response}"))
    if not np.isnan(bars.each).any():
        each, together = (
            ("5% limit, one effect", f"5% limit, all {bars.terms} terms")
            if bars.studentized
            else ("ME (one)", "SME (all)")
        )
        entries += [
            (sample(**EACH), f"{each}{_written(bars.each)}"),
            (sample(**ALL), f"{together}{_written(bars.together)}"),
        ]
    return [handle for handle, _ in entries], [name for _, name in entries]


def _written(limit: Floats) -> str:
    return f": {limit[0]:.3g}" if np.ptp(limit) <= 1e-9 * limit.max() else ", by bar"


def _caption(analysis: Analysis, bars: Bars) -> str:
    primary = analysis.layout.primary
    what = "Main effects and interactions" if (bars.rows["order"] > 1).any() else "Main effects"
    first = "surest" if bars.studentized else "largest"
    text = f"{what} on {human(primary.name)} ({SCALE_WORDS[primary.scale]}), the {first} on top; filled bars lower it,"
    text += " hatched bars raise it (second level against first)."
    return " ".join([text, *_limit_words(analysis, bars), *_missing_words(bars)])


def _limit_words(analysis: Analysis, bars: Bars) -> list[str]:
    if not bars.studentized:
        one = len(analysis.runs["replicate"].unique()) == 1
        if np.isnan(bars.each).any():
            why = "One replicate" if one else "Replicates do not vary, or too few runs are there"
            return [f"{why}: bars are absolute effects, without limits."]
        return [
            f"{'One replicate: bars' if one else 'Bars'} are absolute effects, the lines Lenth's margins of error for"
            " one effect (ME, dashed) and for all at once (SME, solid), which are conservative."
        ]
    degrees = " to ".join(dict.fromkeys(f"{df:.3g}" for df in (bars.rows["df"].min(), bars.rows["df"].max())))
    words = (
        "Bars are |t|, an effect divided by its standard error: a long bar is a sure effect, not necessarily a large"
        f" one. With {degrees} degrees of freedom an effect past the dashed limit is significant at 5% alone, past the"
        f" solid one also among all {bars.terms} terms (Bonferroni)."
    )
    by_bar = np.ptp(bars.together) > 1e-9 * bars.together.max()
    return [words, "Limits differ between bars and are drawn at each."] if by_bar else [words]


def _missing_words(bars: Bars) -> list[str]:
    found = []
    if bars.left_out:
        found.append(f"{bars.left_out} {'less sure' if bars.studentized else 'smaller'} effects are not shown.")
    if bars.untested:
        found.append(f"{bars.untested} without a t (replicates do not vary) are not shown.")
    return found
