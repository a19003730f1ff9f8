"""Two factors at a time: the mean of the primary response at every pair of levels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
from matplotlib.axes import Axes

from kdrun.report.plots.page import (
    EDGE,
    LevelLabels,
    Page,
    below_label,
    direct_label_height,
    left_margin,
    side_label,
    y_axis,
)
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import (
    INK,
    LABEL,
    LINE_HEIGHT,
    SMALL,
    WIDTH,
    fit,
    human,
    line_style,
    spread,
    term_name,
    widest,
)
from kdrun.report.plots.ticks import AXIS_WORDS, MEAN_WORDS, SCALE_WORDS, Ticks, limits, scale_ticks
from kdrun.report.plots.wide import Wide
from kdrun.report.plots.wide_words import aliased_mains, model_words, replicate_words
from kdrun.report.text import plain
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Floats

MOST_PANELS, MOST_LINES = 12, 8
PANEL = 1.65
LONGEST_DIRECT = 1.0
Pair = tuple[str, str]


def draw(material: Material) -> Drawing | None:
    """One panel per pair of factors: the one with fewer levels as lines, the other along the axis."""
    analysis, wide = material.analysis, material.wide
    if wide.is_empty:
        return None
    pairs = list(combinations(wide.levels, 2))
    told = {pair: found for pair in pairs if (found := _means(wide, pair)) is not None}
    drawable = [pair for pair in told if min(len(wide.levels[factor]) for factor in pair) <= MOST_LINES]
    shown = _strongest(analysis, wide, drawable)
    if not shown:
        return None
    scale = analysis.layout.primary.scale
    means = dict(_oriented(wide, pair, told[pair]) for pair in shown)
    low, high = limits(scale, np.concatenate([values.ravel() for values in means.values()]))
    page = _page(wide, means, (low, high), scale_ticks(scale, low, high, 5))
    label = f"{human(analysis.layout.primary.name)}\n({AXIS_WORDS[scale]})"
    side_label(page, EDGE, page.height - 2 * EDGE, label)
    caption = _caption(material, shown, len(told), len(pairs))
    return Drawing("interactions", "Two-factor interactions", caption, page.figure)


def _means(wide: Wide, pair: Pair) -> Floats | None:
    """Means [L1, L2] at the levels of a pair; None where the design cannot tell its interaction from others."""
    if not wide.tells_pair(*pair):
        return None
    means: Floats = wide.pair_means(*pair).mean(axis=0)
    return None if np.isnan(means).any() else means


def _oriented(wide: Wide, pair: Pair, means: Floats) -> tuple[Pair, Floats]:
    """The factor along the axis, then that of the lines, which has no more levels; and means in that order."""
    first, second = pair
    return (pair, means) if len(wide.levels[first]) >= len(wide.levels[second]) else ((second, first), means.T)


def _strongest(analysis: Analysis, wide: Wide, pairs: list[Pair]) -> list[Pair]:
    """At most `MOST_PANELS` pairs, those whose interactions have the largest estimates, in the order of the study."""
    if len(pairs) <= MOST_PANELS:
        return pairs
    effects = analysis.effects[analysis.effects["response"] == analysis.layout.primary.name]
    sizes = effects["estimate"].abs().groupby(effects["term"]).max()
    size = [float(sizes.get(_term_name(wide, pair), 0.0)) for pair in pairs]
    chosen = sorted(range(len(pairs)), key=lambda index: -np.nan_to_num(size[index]))[:MOST_PANELS]
    return [pairs[index] for index in sorted(chosen)]


def _term_name(wide: Wide, pair: Pair) -> str:
    term = wide.term_of(*pair)
    return term.name if term else ""


def _page(wide: Wide, means: dict[Pair, Floats], y_limits: tuple[float, float], ticks: Ticks) -> Page:
    factors = wide.levels
    left = left_margin(ticks.labels, lines=2)
    beside = 0.16 + max(_label_room(factors[lines], lines) for _, lines in means)
    longest = max(values.shape[0] for values in means.values())
    columns = min(len(means), 3 if longest <= 4 else 2 if longest <= 8 else 1)
    levels = {pair: factors[pair[0]] for pair in means}
    width, labels = _across(levels, columns, beside, WIDTH - left - EDGE)
    if columns == 3 and any(label.rotation for label in labels.values()):
        wider, flat = _across(levels, 2, beside, WIDTH - left - EDGE)
        if not any(label.rotation for label in flat.values()):
            columns, width, labels = 2, wider, flat
    above = LABEL * LINE_HEIGHT + 0.08
    step = above + PANEL + max(label.height for label in labels.values()) + LABEL * LINE_HEIGHT + 0.22
    page = Page(EDGE + step * -(-len(means) // columns))
    for index, (pair, values) in enumerate(means.items()):
        row, column = divmod(index, columns)
        axes = page.axes(left + column * (width + beside), EDGE + row * step + above, width, PANEL)
        axes.set_ylim(*y_limits)
        y_axis(axes, ticks)
        if column:
            axes.tick_params(labelleft=False)
        labels[pair].put(axes)
        below_label(axes, page.width, human(pair[0]))
        _lines(axes, values, [plain(level) for level in factors[pair[1]]], human(pair[1]))
    return page


def _across(
    levels: dict[Pair, tuple[str, ...]], columns: int, beside: float, room: float
) -> tuple[float, dict[Pair, LevelLabels]]:
    """Width of panels in so many columns, and the labels below each."""
    longest = max(map(len, levels.values()))
    width = min((4.6, 2.6, 2.6)[columns - 1] if longest <= 8 else 9.0, room / columns - beside)
    return width, {pair: LevelLabels(names, width / len(names)) for pair, names in levels.items()}


def _label_room(levels: tuple[str, ...], factor: str) -> float:
    texts = [fit(text, LONGEST_DIRECT, SMALL) for text in (human(factor), *map(plain, levels))]
    return widest(texts, SMALL) + 0.12


def _lines(axes: Axes, values: np.ndarray, levels: list[str], factor: str) -> None:
    """A line per level of the second factor, its name at its end, the factor's above them."""
    low, high = axes.get_ylim()
    inch = (high - low) / PANEL
    ends = [float(line[-1]) for line in values.T]
    places = spread(ends, direct_label_height() * inch, low, high)
    edge = len(values) - 0.5
    for index, (line, end, place) in enumerate(zip(values.T, ends, places, strict=True)):
        style = line_style(index)
        axes.plot(np.arange(len(line)), line, **style)
        axes.plot([edge - 0.5, edge], [end, place], color=style["color"], linewidth=0.6, alpha=0.55)
        axes.annotate(
            fit(levels[index], LONGEST_DIRECT, SMALL), (edge, place), (4, 0), textcoords="offset points",
            va="center_baseline", fontsize=SMALL, color=style["color"], annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        fit(factor, LONGEST_DIRECT, SMALL), (edge, high), (4, 5), textcoords="offset points", va="bottom",
        fontsize=SMALL, color=INK, fontweight="bold", annotation_clip=False,
    )  # fmt: skip


def _caption(material: Material, shown: list[Pair], told: int, pairs: int) -> str:
    primary, wide = material.analysis.layout.primary, material.wide
    over = f"{wide.replicates} complete replicates" if wide.replicates > 1 else "one replicate"
    if not wide.replicates:
        over = "all runs"
    text = (
        f"{MEAN_WORDS[primary.scale].capitalize()} of {human(primary.name)} over {over} ({SCALE_WORDS[primary.scale]})"
        " at every pair of levels of two factors. Parallel lines: the factors act independently of each other; lines"
        " that diverge or cross: the effect of one depends on the other."
    )
    parts = [text, *model_words(wide), *_class_words(wide, shown)]
    if told < pairs:
        parts.append(
            f"{pairs - told} of {pairs} pairs are not shown: these runs cannot tell their interactions from other"
            " terms."
        )
    if len(shown) < told:
        parts.append(
            f"{told - len(shown)} of {pairs} pairs are not shown: those with the smallest interactions, and pairs of"
            f" factors that both have more than {MOST_LINES} levels."
        )
    return " ".join([*parts, *replicate_words(wide)])


def _class_words(wide: Wide, shown: list[Pair]) -> Iterator[str]:
    names = dict.fromkeys(aliased_mains(wide, list(dict.fromkeys(chain(*shown)))))
    if names:
        yield f"Main effects in it are those of their classes: {'; '.join(map(term_name, names))}."
