"""The mean of the primary response at each level of each factor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from kdrun.report.plots.page import EDGE, LevelLabels, Page, below_label, left_margin, side_label, y_axis
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import COLOURS, INK, LABEL, LINE_HEIGHT, MUTED, WIDTH, human
from kdrun.report.plots.ticks import AXIS_WORDS, MEAN_WORDS, SCALE_WORDS, Ticks, limits, scale_ticks
from kdrun.report.plots.wide import Wide, half_widths
from kdrun.report.plots.wide_words import class_words, left_out_words, model_words, replicate_words
from kdrun.stats.scales import Floats

PANEL = 2.0
GAP = 0.16
LEAST_SLOT, LARGEST_SLOT = 0.24, 1.05


@dataclass(frozen=True)
class LevelMeans:
    """Mean and half interval [L] of each level of a factor, on the analysis scale."""

    factor: str
    levels: tuple[str, ...]
    mean: Floats
    half: Floats


def level_means(wide: Wide) -> list[LevelMeans]:
    """The level means of every factor that has more than one level and an effect that can be told."""
    means = {factor: wide.level_means(factor) for factor in wide.levels}
    return [
        LevelMeans(factor, wide.levels[factor], found.mean(axis=0), half_widths(found))
        for factor, found in means.items()
        if not np.isnan(found).any()
    ]


def draw(material: Material) -> Drawing | None:
    """One panel per factor; panels share the y axis."""
    layout, wide = material.analysis.layout, material.wide
    factors = [] if wide.is_empty else level_means(wide)
    if not factors:
        return None
    means, halves = (np.concatenate(parts) for parts in ([f.mean for f in factors], [f.half for f in factors]))
    scale = layout.primary.scale
    low, high = limits(scale, means, [means - halves, means + halves])
    ticks = scale_ticks(scale, low, high)
    left = left_margin(ticks.labels, lines=2)
    rows = _rows(factors, WIDTH - left - EDGE)
    page = _page(rows, left, (low, high), ticks, wide.grand)
    label = f"{human(layout.primary.name)}\n({AXIS_WORDS[scale]})"
    side_label(page, EDGE, page.height - 2 * EDGE, label)
    return Drawing("main_effects", "Main effects", _caption(material, factors), page.figure)


def _rows(factors: list[LevelMeans], room: float) -> list[list[LevelMeans]]:
    """Factors line by line, as many as have room at the least width of a level."""
    rows: list[list[LevelMeans]] = []
    for factor in factors:
        if rows and sum(_least(item) for item in (*rows[-1], factor)) <= room:
            rows[-1].append(factor)
        else:
            rows.append([factor])
    return rows


def _least(factor: LevelMeans) -> float:
    return max(0.9, LEAST_SLOT * len(factor.levels)) + GAP


def _page(rows: list[list[LevelMeans]], left: float, y_limits: tuple[float, float], ticks: Ticks, grand: float) -> Page:
    room = WIDTH - left - EDGE
    widths = [_panel_widths(row, room) for row in rows]
    labels = [
        [LevelLabels(f.levels, width / len(f.levels)) for f, width in zip(row, wide, strict=True)]
        for row, wide in zip(rows, widths, strict=True)
    ]
    below = [max(label.height for label in line) + LABEL * LINE_HEIGHT + 0.26 for line in labels]
    page = Page(EDGE + len(rows) * PANEL + sum(below))
    top = EDGE
    for row, wide, line, under in zip(rows, widths, labels, below, strict=True):
        x = left
        for factor, width, label in zip(row, wide, line, strict=True):
            axes = page.axes(x, top, width, PANEL)
            _panel(axes, factor, y_limits, grand)
            y_axis(axes, ticks)
            label.put(axes)
            if x > left:
                axes.tick_params(labelleft=False)
            below_label(axes, page.width, human(factor.factor))
            x += width + GAP
        top += PANEL + under
    return page


def _panel_widths(row: list[LevelMeans], room: float) -> list[float]:
    """Room shared out by number of levels, none much wider than it needs."""
    free = room - GAP * len(row)
    shares = np.array([max(2.0, len(factor.levels)) for factor in row])
    least = np.array([_least(factor) - GAP for factor in row])
    widths = least + np.maximum(0.0, free - least.sum()) * shares / shares.sum()
    return [float(width) for width in np.minimum(widths, np.maximum(LARGEST_SLOT * shares, least))]


def _panel(axes: Axes, factor: LevelMeans, y_limits: tuple[float, float], grand: float) -> None:
    places = np.arange(len(factor.levels))
    axes.axhline(grand, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(places, factor.mean, color=COLOURS[0], marker="o", markersize=5.5, zorder=3)
    known = ~np.isnan(factor.half)
    axes.errorbar(
        places[known],
        factor.mean[known],
        factor.half[known],
        fmt="none",
        ecolor=INK,
        elinewidth=1.1,
        capsize=3,
        zorder=2,
    )
    axes.set_ylim(*y_limits)


def _caption(material: Material, factors: list[LevelMeans]) -> str:
    layout, wide = material.analysis.layout, material.wide
    primary, shown = layout.primary, [item.factor for item in factors]
    direction = "lower" if primary.better == "lower" else "higher"
    text = (
        f"{MEAN_WORDS[primary.scale].capitalize()} of {human(primary.name)} at each level of each factor, over all"
        f" other factors ({SCALE_WORDS[primary.scale]}; {direction} is better). The dashed line is the mean of all"
        f" {'combinations' if wide.modelled else 'treatments'}: the further levels lie apart, the stronger the factor."
    )
    parts = [
        *model_words(wide),
        *class_words(wide, shown, layout.screening),
        *left_out_words([factor for factor in wide.levels if factor not in shown]),
        *_interval_words(wide, bool(np.isnan([item.half.min() for item in factors]).all())),
        *replicate_words(wide),
    ]
    return " ".join([text, *parts])


def _interval_words(wide: Wide, none: bool) -> Iterator[str]:
    if wide.total == 1:
        yield "One replicate."
    elif none:
        yield "No intervals: fewer than two complete replicates, or none that vary."
    else:
        yield (
            f"Bars are 95% t intervals over {wide.replicates} complete replicates, with what the treatments of a"
            " replicate share taken out; one that reaches the edge may go on."
        )
