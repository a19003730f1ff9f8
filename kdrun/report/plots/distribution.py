"""Every run of every treatment and comparator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kdrun.report.plots.page import EDGE, Page, below_label, legend_height, sample, x_axis
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import (
    COLOURS,
    INK,
    LABEL,
    LINE_HEIGHT,
    MUTED,
    PALE,
    SMALL,
    TICK,
    WIDTH,
    fit,
    human,
    widest,
)
from kdrun.report.plots.ticks import MEAN_WORDS, SCALE_WORDS, limits, scale_ticks
from kdrun.report.text import plain
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Floats, Response, analysis_values, to_analysis

MOST_ROWS = 120
MOST_PLAIN_ROWS = 16
MOST_VECTOR_DOTS = 3000
GOLDEN = 0.6180339887498949
LABEL_ROOM = 3.0
COLUMN_GAP = 0.14
LEAST_COLUMN = 0.42
DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": "#2F8FCB", "markeredgewidth": 0}
OTHER: dict[str, Any] = {"linestyle": "none", "marker": "s", "color": "#B8860B", "markeredgewidth": 0}
CROSS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "x",
    "color": COLOURS[1],
    "markersize": 5,
    "markeredgewidth": 1.3,
}
MEAN: dict[str, Any] = {"linestyle": "none", "marker": "D", "color": INK, "markersize": 5, "markeredgecolor": "white"}


@dataclass(frozen=True)
class Group:
    """One row: its cells of text, its runs' y and which diverged, its mean and interval, and what went wrong."""

    cells: tuple[str, ...]
    y: Floats
    diverged: np.ndarray
    mean: float
    low: float
    high: float
    note: str
    comparator: bool


def groups_of(analysis: Analysis) -> list[Group]:
    """Treatments by number, then comparators, on the analysis scale."""
    factors = list(analysis.layout.factors)
    runs = analysis.runs[analysis.runs["kind"] != "teacher"]
    keys = ["kind", "treatment", "comparator", *factors]
    group = runs.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    y = analysis_values(runs, analysis.layout.primary)
    status = runs["status"].to_numpy()
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
    means = _means(analysis)
    heads = runs.iloc[[int(part[0]) for part in parts]].to_dict("records")
    found = [
        _group(row, part, y, status, factors, means, analysis.layout.primary)
        for row, part in zip(heads, parts, strict=True)
    ]
    return sorted(found, key=lambda item: item.comparator)


def _means(analysis: Analysis) -> dict[tuple[str, ...], tuple[float, float, float]]:
    """Mean and interval by treatment number, or by comparator and its levels."""
    columns = [f"{analysis.layout.primary.name}_{key}" for key in ("mean", "ci_low", "ci_high")]
    scale = analysis.layout.primary.scale
    found: dict[tuple[str, ...], tuple[float, float, float]] = {}
    for frame, keys in (
        (analysis.treatments, ["treatment"]),
        (analysis.comparators, ["comparator", *analysis.layout.factors]),
    ):
        for row in frame.to_dict("records"):
            mean, low, high = (float(to_analysis(row[column], scale)) for column in columns)
            found[tuple(str(row[key]) for key in keys)] = (mean, low, high)
    return found


def _group(
    row: dict[Any, Any], part: np.ndarray, y: Floats, status: np.ndarray, factors: list[str],
    means: dict[tuple[str, ...], tuple[float, float, float]], response: Response,
) -> Group:  # fmt: skip
    is_comparator = row["kind"] == "comparator"
    levels = tuple(plain(row[factor]) for factor in factors)
    key = (row["comparator"], *(row[factor] for factor in factors)) if is_comparator else (str(row["treatment"]),)
    mean, low, high = means.get(key, (np.nan, np.nan, np.nan))
    ends = status[part]
    words = ["failed", "missing", *(["diverged"] if response.stand_in is None else [])]
    counts = {word: int((ends == word).sum()) for word in words}
    note = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    cells = (plain(row["comparator"]).replace("_", " "),) if is_comparator else (str(row["treatment"]), *levels)
    known = ~np.isnan(y[part])
    return Group(cells, y[part][known], (ends == "diverged")[known], mean, low, high, note, is_comparator)


def jitter(count: int) -> Floats:
    """Offsets in ±0.28 that fill the band evenly, the same every time."""
    offsets: Floats = (np.arange(1, count + 1).astype(np.float64) * GOLDEN % 1.0 - 0.5) * 0.56
    return offsets if count > 1 else np.zeros(count)


def draw(material: Material) -> Drawing | None:
    """Rows from top to bottom; dots are runs, diamonds means with their intervals."""
    analysis = material.analysis
    every = groups_of(analysis)
    groups = _shown(every, analysis.layout.primary)
    if not any(len(group.y) for group in groups):
        return None
    row = 0.3 if len(groups) <= MOST_PLAIN_ROWS else 0.215 if len(groups) <= 40 else 0.165
    cells = _Cells(groups, [human(factor) for factor in analysis.layout.factors])
    notes = [group.note for group in groups]
    right = EDGE + 0.12 + (widest(notes, SMALL) + 0.06 if any(notes) else 0.0)
    height, top = row * len(groups) + 0.1, EDGE + cells.head
    below = top + height + TICK * LINE_HEIGHT + LABEL * LINE_HEIGHT + 0.24
    handles, names = _legend(analysis, groups)
    page = Page(below + legend_height(names, WIDTH))
    axes = page.axes(cells.width, top, page.width - cells.width - right, height)
    _axis(axes, analysis.layout.primary, groups, height)
    _dots(axes, groups, row)
    _means_and_rule(axes, groups)
    cells.put(page, top + 0.05, row)
    for index, note in enumerate(notes):
        page.text(page.width - right + 0.1, top + 0.05 + row * (index + 0.5), note, SMALL, va="center", color=MUTED)
    label = f"{human(analysis.layout.primary.name)} ({SCALE_WORDS[analysis.layout.primary.scale]})"
    below_label(axes, page.width, label)
    page.legend(below, handles, names)
    return Drawing("distribution", "Every run", _caption(analysis, groups, len(every) - len(groups)), page.figure)


def _shown(groups: list[Group], response: Response) -> list[Group]:
    """All groups; of too many treatments the best, in their order."""
    treatments = [group for group in groups if not group.comparator]
    if len(treatments) <= MOST_ROWS:
        return groups[: MOST_ROWS + 20]
    sign = 1.0 if response.better == "lower" else -1.0
    rank = np.argsort([np.nan_to_num(sign * group.mean, nan=np.inf) for group in treatments], kind="stable")
    best = [treatments[index] for index in sorted(rank[:MOST_ROWS])]
    return [*best, *(group for group in groups if group.comparator)][: MOST_ROWS + 20]


class _Cells:
    """The text beside the rows: number and levels in columns below their names, or numbers alone where many factors."""

    def __init__(self, groups: list[Group], factors: list[str]) -> None:
        names = ["Treatment", *factors]
        texts = [[group.cells[k] for group in groups if not group.comparator] for k in range(len(names))]
        natural = [widest([name, *column], TICK) for name, column in zip(names, texts, strict=True)]
        self._widths = _shrunk(natural, LABEL_ROOM - COLUMN_GAP * len(names))
        if self._widths is None:
            names, self._widths = names[:1], natural[:1]
        self._groups, self._names = groups, names
        self.head = TICK * LINE_HEIGHT + 0.05
        comparators = [fit(group.cells[0], LABEL_ROOM - COLUMN_GAP, TICK) for group in groups if group.comparator]
        self.width = (
            EDGE + COLUMN_GAP + max(sum(self._widths) + COLUMN_GAP * (len(names) - 1), widest(comparators, TICK))
        )

    def put(self, page: Page, top: float, row: float) -> None:
        """Write the columns, the first row at `top`."""
        assert self._widths is not None
        lefts = [EDGE + sum(self._widths[:k]) + COLUMN_GAP * k for k in range(len(self._widths))]
        for left, width, name in zip(lefts, self._widths, self._names, strict=True):
            page.text(left, top - 0.1, fit(name, width, TICK), va="bottom", color=MUTED)
        for index, group in enumerate(self._groups):
            middle = top + row * (index + 0.5)
            if group.comparator:
                page.text(EDGE, middle, fit(group.cells[0], self.width - EDGE - COLUMN_GAP, TICK), va="center_baseline")
                continue
            for left, width, text in zip(lefts, self._widths, group.cells, strict=False):
                page.text(left, middle, fit(text, width, TICK), va="center_baseline")


def _shrunk(widths: list[float], room: float) -> list[float] | None:
    """Widths of columns that share `room`, the widest cut first; None where that leaves one too narrow to read."""
    if sum(widths) <= room:
        return widths
    for count in range(1, len(widths) + 1):
        kept = sorted(widths)[: len(widths) - count]
        cap = (room - sum(kept)) / count
        if cap >= (kept[-1] if kept else 0.0):
            return [min(width, cap) for width in widths] if cap >= LEAST_COLUMN else None
    return None


def _axis(axes: Axes, response: Response, groups: list[Group], height: float) -> None:
    points = np.concatenate([*(group.y for group in groups), [group.mean for group in groups]])
    low, high = limits(response.scale, points, [(group.low, group.high) for group in groups])
    axes.set_xlim(low, high)
    x_axis(axes, scale_ticks(response.scale, low, high))
    # The same room above the first row as below the last, in which rows are not.
    extra = 0.05 * len(groups) / (height - 0.1)
    axes.set_ylim(len(groups) - 0.5 + extra, -0.5 - extra)
    axes.set_yticks([])


def _dots(axes: Axes, groups: list[Group], row: float) -> None:
    total = sum(len(group.y) for group in groups)
    rasterized = total > MOST_VECTOR_DOTS
    size = 3.4 if total <= 400 else 2.4 if not rasterized else 1.3
    for style, wanted in ((DOT, False), (OTHER, True)):
        x, y = _places(groups, lambda group, wanted=wanted: (group.comparator == wanted) & ~group.diverged)
        axes.plot(
            x, y, markersize=size, alpha=0.75 if not rasterized else 0.5, rasterized=rasterized, zorder=2, **style
        )
    x, y = _places(groups, lambda group: group.diverged)
    axes.plot(x, y, rasterized=len(x) > MOST_VECTOR_DOTS, zorder=3, **CROSS)


def _places(groups: list[Group], chosen: Any) -> tuple[Floats, Floats]:
    picked = [np.broadcast_to(chosen(group), group.y.shape) for group in groups]
    x = [group.y[pick] for group, pick in zip(groups, picked, strict=True)]
    y = [index + jitter(len(group.y))[pick] for index, (group, pick) in enumerate(zip(groups, picked, strict=True))]
    return np.concatenate(x), np.concatenate(y)


def _means_and_rule(axes: Axes, groups: list[Group]) -> None:
    low, high = axes.get_xlim()
    for index, group in enumerate(groups):
        if not np.isnan(group.low):
            ends = max(group.low, low), min(group.high, high)
            axes.plot(ends, [index, index], color=INK, linewidth=1.3, solid_capstyle="butt", zorder=4)
            _arrows(axes, index, (group.low < low, group.high > high), (low, high))
        if len(groups) > MOST_PLAIN_ROWS and index % 2:
            axes.axhspan(index - 0.5, index + 0.5, color=PALE, linewidth=0, zorder=0)
        if index and group.comparator and not groups[index - 1].comparator:
            axes.axhline(index - 0.5, color=MUTED, linewidth=0.8)
    axes.plot([group.mean for group in groups], range(len(groups)), zorder=5, markeredgewidth=0.7, **MEAN)


def _arrows(axes: Axes, index: int, beyond: tuple[bool, bool], edges: tuple[float, float]) -> None:
    """Small arrows where an interval goes on beyond the axis."""
    for goes_on, edge, marker in zip(beyond, edges, ("<", ">"), strict=True):
        if goes_on:
            axes.plot([edge], [index], marker=marker, color=INK, markersize=4, clip_on=False, zorder=4)


def _legend(analysis: Analysis, groups: list[Group]) -> tuple[list[Any], list[str]]:
    scale = analysis.layout.primary.scale
    interval = any(not np.isnan(group.low) for group in groups)
    mean = {**MEAN, "linestyle": "-" if interval else "none", "linewidth": 1.3}
    entries = [
        (sample(**DOT), "run"),
        (sample(**mean), f"{MEAN_WORDS[scale]}{' with 95% t interval' if interval else ''}"),
    ]
    if any(group.comparator for group in groups):
        entries.insert(1, (sample(**OTHER), "run of a comparator"))
    if any(group.diverged.any() for group in groups):
        entries.append((sample(**CROSS), f"diverged, counted as {analysis.layout.primary.stand_in:g}"))
    return [handle for handle, _ in entries], [name for _, name in entries]


def _caption(analysis: Analysis, groups: list[Group], left_out: int) -> str:
    primary = analysis.layout.primary
    replicates = analysis.runs["replicate"].nunique()
    better = "left" if primary.better == "lower" else "right"
    text = (
        f"{human(primary.name)} ({SCALE_WORDS[primary.scale]}) of every run by treatment, {replicates}"
        f" replicate{'s'[: replicates != 1]}; further {better} is better. Diamonds are {MEAN_WORDS[primary.scale]}s"
    )
    if any(not np.isnan(group.low) for group in groups):
        text += " with 95% t intervals"
    elif replicates > 1:
        text += " (no intervals)"
    if any(group.comparator for group in groups):
        text += "; comparators stand below the rule"
    text += "."
    low, high = limits(primary.scale, *_extent(groups))
    if any(group.low < low or group.high > high for group in groups):
        text += " Arrows: the interval goes on beyond the axis."
    if left_out:
        text += f" {left_out} rows are not shown: those with the worst means."
    return text


def _extent(groups: list[Group]) -> tuple[Floats, list[tuple[float, float]]]:
    """All points, and the bounds of all intervals."""
    points = np.concatenate([*(group.y for group in groups), [group.mean for group in groups]])
    return points, [(group.low, group.high) for group in groups]
