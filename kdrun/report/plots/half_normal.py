"""Two-level effects against what chance alone would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from scipy import special

from kdrun.report.plots.page import (
    EDGE,
    Page,
    below_label,
    direct_label_height,
    left_margin,
    side_label,
    x_axis,
    y_axis,
)
from kdrun.report.plots.pareto import SCALE_UNITS
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import (
    COLOURS,
    INK,
    LABEL,
    LINE_HEIGHT,
    MUTED,
    SMALL,
    TICK,
    fit_words,
    human,
    spread,
    term_name,
    widest,
)
from kdrun.report.plots.ticks import SCALE_WORDS, scale_ticks
from kdrun.stats.analysis import Analysis
from kdrun.stats.lenth import LEAST_CONTRASTS, lenth
from kdrun.stats.scales import Floats

HEIGHT = 3.2
MOST_LABELS = 12
LONGEST = 1.9


@dataclass(frozen=True)
class Points:
    """Effects by size, the smallest first: names, sizes [m] and half-normal quantiles [m].

    `stands_out` [m] are those that are judged to be real, `named` [m] those beside which their names stand; `pse` is
    Lenth's, None where there is none.
    """

    names: tuple[str, ...]
    size: Floats
    quantile: Floats
    stands_out: np.ndarray
    named: np.ndarray
    pse: float | None
    replicated: bool


def points_of(analysis: Analysis) -> Points | None:
    """The two-level effects on the primary response; quantile i is Φ⁻¹(½ + ½(i − ½)/m). None below seven of them.

    Those stand out whose Holm p is below 5%, with one replicate those above Lenth's ME. Beside them those are named
    that exceed Lenth's SME, the largest first.
    """
    table = analysis.effects
    rows = table[(table["response"] == analysis.layout.primary.name) & (table["contrast"] == "")]
    rows = rows[rows["estimate"].notna()]
    m = len(rows)
    if m < LEAST_CONTRASTS:
        return None
    rows = rows.iloc[np.argsort(rows["estimate"].abs().to_numpy(np.float64), kind="stable")]
    size, p_holm = rows["estimate"].abs().to_numpy(np.float64), rows["p_holm"].to_numpy(np.float64)
    found = lenth(size)
    me, sme = (np.inf, np.inf) if found is None else (found.me, found.sme)
    replicated = bool((~np.isnan(p_holm)).any())
    stands_out = p_holm < 0.05 if replicated else size > me
    named = stands_out | (size > sme)
    named[: max(0, m - MOST_LABELS)] = False
    return Points(
        names=tuple(term_name(term) for term in rows["term"]),
        size=size,
        quantile=special.ndtri(0.5 + 0.5 * (np.arange(m) + 0.5) / m),
        stands_out=stands_out,
        named=named,
        pse=None if found is None else found.pse,
        replicated=replicated,
    )


def draw(material: Material) -> Drawing | None:
    """Size along the axis, quantile upwards, names beside those that stand out."""
    points = points_of(material.analysis)
    if points is None:
        return None
    primary = material.analysis.layout.primary
    top = 1.08 * float(points.quantile[-1])
    ticks = scale_ticks("linear", 0.0, top)
    left = left_margin(ticks.labels)
    named = [fit_words(points.names[index], LONGEST, SMALL) for index in np.flatnonzero(points.named)]
    page = Page(EDGE + HEIGHT + TICK * LINE_HEIGHT + LABEL * LINE_HEIGHT + 0.22)
    axes = page.axes(left, EDGE, page.width - left - widest(named, SMALL) - 0.2, HEIGHT)
    axes.set_ylim(0, top)
    axes.set_xlim(0, 1.06 * float(points.size[-1]) or 1.0)
    y_axis(axes, ticks)
    x_axis(axes, scale_ticks("linear", 0.0, axes.get_xlim()[1]))
    _points(axes, points, top)
    below_label(axes, page.width, f"|Effect| on {human(primary.name)} ({SCALE_UNITS[primary.scale]})")
    side_label(page, EDGE, HEIGHT, "Half-normal quantile (standard deviations)")
    return Drawing("half_normal", "Half-normal plot of effects", _caption(material.analysis, points), page.figure)


def _points(axes: Axes, points: Points, top: float) -> None:
    out = points.stands_out
    if points.pse:
        axes.plot([0, top * points.pse], [0, top], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(
        points.size[~out], points.quantile[~out], linestyle="none", marker="o", color=MUTED, markersize=5, zorder=3
    )
    axes.plot(
        points.size[out], points.quantile[out], linestyle="none", marker="D", color=COLOURS[1], markersize=6, zorder=3
    )
    chosen = np.flatnonzero(points.named)
    places = spread([float(points.quantile[i]) for i in chosen], direct_label_height() * top / HEIGHT, 0.0, top)
    edge = axes.get_xlim()[1]
    for index, place in zip(chosen, places, strict=True):
        axes.plot(
            [points.size[index], edge],
            [points.quantile[index], place],
            color=MUTED,
            linewidth=0.6,
            linestyle=(0, (1, 2)),
            zorder=2,
        )
        axes.annotate(
            fit_words(points.names[index], LONGEST, SMALL), (edge, place), (4, 0), textcoords="offset points",
            va="center_baseline", fontsize=SMALL, color=INK, annotation_clip=False,
        )  # fmt: skip


def _caption(analysis: Analysis, points: Points) -> str:
    primary = analysis.layout.primary
    count = int(points.stands_out.sum())
    rule = "Holm's p is below 5%" if points.replicated else "they exceed Lenth's margin of error"
    text = (
        f"Absolute two-level effects on {human(primary.name)} ({SCALE_WORDS[primary.scale]}) against half-normal"
        f" quantiles ({len(points.size)} effects). Effects of chance lie along a straight line through 0; real ones lie"
        " to its right."
    )
    if points.pse:
        text += " The dashed line has Lenth's pseudo standard error as its slope."
    text += f" {count} {'stands' if count == 1 else 'stand'} out (diamonds): {rule}." if count else " None stands out."
    if (points.named & ~points.stands_out).any():
        text += " Round points with a name exceed Lenth's simultaneous margin of error alone."
    if count > MOST_LABELS:
        text += f" The largest {MOST_LABELS} are named."
    return text
