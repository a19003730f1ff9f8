"""Effects by size, with the limits that chance rarely passes."""

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
from kdrun.report.plots.style import INK, LABEL, LINE_HEIGHT, TICK, WIDTH, fit, human, term_name, widest
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
    """Rows of effects by size, the largest first; `size` [n] and its limits [n], nan where there is none.

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
    error = rows["std_error"].to_numpy(np.float64)
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
    """Horizontal bars, the largest on top."""
    analysis = material.analysis
    bars = bars_of(analysis)
    if bars is None:
        return None
    handles, names = _legend(bars, human(analysis.layout.primary.name))
    labels = [fit(_name(row), LONGEST, TICK) for row in bars.rows.to_dict("records")]
    left = EDGE + widest(labels, TICK) + TICK_PAD
    height = BAR * len(labels) + 0.12
    below = EDGE + height + TICK * LINE_HEIGHT + LABEL * LINE_HEIGHT + 0.24
    page = Page(below + legend_height(names, WIDTH))
    axes = page.axes(left, EDGE, page.width - left - EDGE - 0.1, height)
    _draw_bars(axes, bars)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    below_label(axes, page.width, _size_label(analysis, bars))
    page.legend(below, handles, names)
    return Drawing("pareto", "Effects by size", _caption(analysis, bars), page.figure)


def _name(row: dict[Any, Any]) -> str:
    return f"{term_name(row['term'])} ({plain(row['contrast'])})" if row["contrast"] else term_name(row["term"])


def _size_label(analysis: Analysis, bars: Bars) -> str:
    if bars.studentized:
        return "|t| = |effect| / standard error"
    primary = analysis.layout.primary
    return f"|Effect| on {human(primary.name)} ({SCALE_UNITS[primary.scale]})"


def _draw_bars(axes: Axes, bars: Bars) -> None:
    estimates = bars.rows["estimate"].to_numpy(np.float64)
    for place, (size, estimate) in enumerate(zip(bars.size, estimates, strict=True)):
        axes.barh(place, size, height=0.66, linewidth=0.8, zorder=2, **(UP if estimate > 0 else DOWN))
    for limit, style in ((bars.each, EACH), (bars.together, ALL)):
        _draw_limit(axes, limit, style)
    furthest = max(float(np.nanmax(values, initial=0.0)) for values in (bars.size, bars.each, bars.together))
    axes.set_xlim(0, 1.05 * furthest or 1.0)
    x_axis(axes, scale_ticks("linear", 0.0, axes.get_xlim()[1], 8))
    axes.set_ylim(len(bars.rows) - 0.5 + 0.1, -0.6)
    axes.grid(visible=False, axis="y")


def _draw_limit(axes: Axes, limit: Floats, style: dict[str, Any]) -> None:
    """One line where the limit is the same for all bars, else a piece of it at each."""
    if np.isnan(limit).any():
        return
    if np.ptp(limit) <= 1e-9 * limit.max():
        axes.axvline(float(limit[0]), zorder=3, **style)
    else:
        places = np.arange(len(limit))
        axes.vlines(limit, places - 0.45, places + 0.45, zorder=3, **style)


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
    text = f"{what} on {human(primary.name)} ({SCALE_WORDS[primary.scale]}), the largest on top; filled bars lower it,"
    text += " hatched bars raise it (second level against first)."
    return " ".join([text, *_limit_words(analysis, bars), *_missing_words(bars)])


def _limit_words(analysis: Analysis, bars: Bars) -> list[str]:
    if not bars.studentized:
        if np.isnan(bars.each).any():
            return ["Without replicates that vary there are no limits."]
        return [
            "One replicate: bars are absolute effects, the lines Lenth's margins of error for one effect (ME, dashed)"
            " and for all at once (SME, solid), which are conservative."
        ]
    df = bars.rows["df"]
    degrees = f"{df.min():.3g}" if df.min() == df.max() else f"{df.min():.3g} to {df.max():.3g}"
    words = (
        f"Bars are |t| with {degrees} degrees of freedom. Past the dashed limit an effect alone is significant at 5%,"
        f" past the solid one also among all {bars.terms} terms (Bonferroni)."
    )
    by_bar = np.ptp(bars.together) > 1e-9 * bars.together.max()
    return [words, "Limits differ between bars and are drawn at each."] if by_bar else [words]


def _missing_words(bars: Bars) -> list[str]:
    found = []
    if bars.left_out:
        found.append(f"{bars.left_out} smaller effects are not shown.")
    if bars.untested:
        found.append(f"{bars.untested} effects without a t (replicates do not vary) are not shown.")
    return found
