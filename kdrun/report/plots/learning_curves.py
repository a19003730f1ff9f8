"""The loss during training, of teachers and of treatments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kdrun.report.plots.page import (
    EDGE,
    Page,
    below_label,
    left_margin,
    legend_height,
    sample,
    side_label,
    x_axis,
    y_axis,
)
from kdrun.report.plots.picture import Drawing, Material
from kdrun.report.plots.style import LABEL, LINE_HEIGHT, TICK, WIDTH, fit, human, line_style
from kdrun.report.plots.ticks import limits, scale_ticks
from kdrun.report.text import plain
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import Floats, ScaleName, to_analysis

# The first that a study has: the task's own loss is comparable between treatments, else the whole loss.
SERIES = {"supervised": "Loss of the task", "loss": "Training loss"}
MOST_LINES, MOST_PANELS, FEW = 6, 8, 5
MOST_POINTS = 250
PANEL = 1.9
GAP = 0.26


@dataclass(frozen=True)
class Curve:
    """Median, least and largest loss over replicates at some epochs [n]."""

    label: str
    style: int
    epoch: np.ndarray
    median: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Panel:
    """Curves that share axes, below a title."""

    title: str
    curves: tuple[Curve, ...]


class Losses:
    """One series of many runs, sorted so that the points of a run are found without looking at the others.

    `known` says which rows of `runs`, teachers and treatments alone, have points. Curves have at most `most` of them.
    """

    def __init__(self, runs: pd.DataFrame, history: pd.DataFrame, name: str, most: int = MOST_POINTS) -> None:
        self._most = most
        self.runs = runs.reset_index(drop=True)
        places = pd.Index(self.runs["run_id"]).get_indexer(history["run_id"])
        wanted = (history["name"] == name).to_numpy(bool) & np.isfinite(history["value"].to_numpy()) & (places >= 0)
        order = np.flatnonzero(wanted)[np.argsort(places[wanted], kind="stable")]
        self._epochs, self._values = history["epoch"].to_numpy()[order], history["value"].to_numpy()[order]
        self._bounds = np.searchsorted(places[order], np.arange(len(self.runs) + 1))
        self.known = np.diff(self._bounds) > 0

    @property
    def positive(self) -> bool:
        """Whether a log axis has room for every point."""
        return bool((self._values > 0).all())

    def curve(self, chosen: np.ndarray, label: str, style: int) -> Curve:
        """The curve over the runs at the rows `chosen`."""
        parts = [slice(self._bounds[row], self._bounds[row + 1]) for row in chosen]
        epoch, value = (np.concatenate([array[part] for part in parts]) for array in (self._epochs, self._values))
        rows = pd.DataFrame({"epoch": epoch, "value": value})
        epochs = np.unique(epoch)
        if len(epochs) > self._most:
            kept = epochs[np.unique(np.linspace(0, len(epochs) - 1, self._most).astype(int))]
            rows = rows[rows["epoch"].isin(kept)]
        found = rows.groupby("epoch")["value"].agg(["median", "min", "max"])
        median, low, high = (found[key].to_numpy(np.float64) for key in found.columns)
        return Curve(label, style, found.index.to_numpy(), median, low, high)


def draw(material: Material) -> Drawing | None:
    """A panel of teachers, then of treatments; lines are medians over replicates, bands reach from least to largest."""
    analysis, history = material.analysis, material.history
    name = next((name for name in SERIES if (history["name"] == name).any()), None)
    if name is None:
        return None
    losses = Losses(analysis.runs[analysis.runs["kind"] != "comparator"], history, name)
    panels = [*_teacher_panels(analysis, losses), *treatment_panels(analysis, losses)]
    if not panels:
        return None
    scale: ScaleName = "log10" if losses.positive else "linear"
    page = page_of(panels, scale, f"{SERIES[name]} ({'log' if scale == 'log10' else 'linear'} scale)")
    return Drawing("learning_curves", "Learning curves", _caption(losses, name, panels), page.figure)


def _teacher_panels(analysis: Analysis, losses: Losses) -> list[Panel]:
    rows = losses.runs[losses.known & (losses.runs["kind"] == "teacher")]
    own = [factor for factor in analysis.layout.factors if len(rows[factor].unique()) > 1]
    groups: list[tuple[Any, pd.DataFrame]] = list(rows.groupby(own, sort=False)) if own else [((), rows)]
    curves = [
        losses.curve(group.index.to_numpy(), _levels(dict(zip(own, key, strict=True)), named=True) or "Teacher", index)
        for index, (key, group) in enumerate(groups[: 2 * MOST_LINES])
        if len(group)
    ]
    return [Panel("Teachers", tuple(curves))] if curves else []


def _levels(levels: dict[str, str], named: bool = False) -> str:
    parts = [f"{human(factor)} {plain(level)}" if named else plain(level) for factor, level in levels.items()]
    return " · ".join(parts)


def treatment_panels(analysis: Analysis, losses: Losses) -> list[Panel]:
    """Treatments that differ in the first factors share a panel; of too many treatments a few stand for all."""
    rows = losses.runs[losses.known & (losses.runs["kind"] == "treatment")]
    by_number: dict[Any, np.ndarray] = {
        number: part.to_numpy() for number, part in rows.groupby("treatment").groups.items()
    }
    treatments = analysis.treatments[analysis.treatments["treatment"].isin(list(by_number))]
    varied = [factor for factor in analysis.layout.factors if len(treatments[factor].unique()) > 1]
    inside, across = _split(treatments, varied)
    if not by_number:
        return []
    if len(treatments) > MOST_LINES and (not inside or treatments[across].drop_duplicates().shape[0] > MOST_PANELS):
        return [_few(analysis, treatments, by_number, varied, losses)]
    styles = {key: index for index, key in enumerate(dict.fromkeys(_keys(treatments, inside)))}
    panels: dict[tuple[str, ...], list[Curve]] = {}
    for number, key, place in zip(
        treatments["treatment"], _keys(treatments, inside), _keys(treatments, across), strict=True
    ):
        label = _levels(dict(zip(inside, key, strict=True))) or "Treatments"
        panels.setdefault(place, []).append(losses.curve(by_number[number], label, styles[key]))
    titles = {place: _levels(dict(zip(across, place, strict=True)), named=True) or "Treatments" for place in panels}
    return [Panel(titles[place], tuple(curves)) for place, curves in panels.items()]


def _split(treatments: pd.DataFrame, varied: list[str]) -> tuple[list[str], list[str]]:
    """Factors that differ inside a panel, as many of the first as give few enough lines, and the others."""
    count = len(varied)
    while count and treatments[varied[:count]].drop_duplicates().shape[0] > MOST_LINES:
        count -= 1
    return varied[:count], varied[count:]


def _keys(treatments: pd.DataFrame, factors: list[str]) -> list[tuple[str, ...]]:
    return [tuple(row[factor] for factor in factors) for row in treatments.to_dict("records")]


def _few(
    analysis: Analysis, treatments: pd.DataFrame, by_number: dict[Any, np.ndarray], varied: list[str], losses: Losses
) -> Panel:
    """Treatments from the best to the worst mean, evenly spaced in rank."""
    primary = analysis.layout.primary
    ranked = treatments.sort_values(f"{primary.name}_mean", ascending=primary.better == "lower", kind="stable")
    ranked = ranked[ranked[f"{primary.name}_mean"].notna()] if ranked[f"{primary.name}_mean"].notna().any() else ranked
    places = np.unique(np.linspace(0, len(ranked) - 1, FEW).astype(int))
    curves = []
    for style, row in enumerate(ranked.iloc[places].to_dict("records")):
        levels = _levels({factor: row[factor] for factor in varied})
        curves.append(losses.curve(by_number[row["treatment"]], f"{row['treatment']}: {levels}", style))
    return Panel(f"{len(curves)} of {len(treatments)} treatments", tuple(curves))


def page_of(panels: list[Panel], scale: ScaleName, label: str) -> Page:
    """Panels side by side, on one scale, with a legend below."""
    curves = [curve for panel in panels for curve in panel.curves]
    y = np.concatenate([to_analysis(part, scale) for curve in curves for part in (curve.low, curve.high)])
    low, high = limits(scale, y)
    ticks = scale_ticks(scale, low, high)
    left, above = left_margin(ticks.labels), LABEL * LINE_HEIGHT + 0.06
    columns = min(3, len(panels))
    width = (WIDTH - left - EDGE - 0.1) / columns - GAP
    step = above + PANEL + TICK * LINE_HEIGHT + LABEL * LINE_HEIGHT + 0.24
    bottom = EDGE + step * -(-len(panels) // columns)
    legends = _legends(panels)
    page = Page(bottom + sum(_legend_room(names, left) for _, names in legends))
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        axes = page.axes(left + column * (width + GAP), EDGE + row * step + above, width, PANEL)
        page.text(
            left + column * (width + GAP),
            EDGE + row * step + above - 0.05,
            fit(panel.title, width, LABEL),
            LABEL,
            va="bottom",
        )
        _lines(axes, panel, scale)
        axes.set_ylim(low, high)
        y_axis(axes, ticks)
        axes.tick_params(labelleft=not column)
        below_label(axes, page.width, "Epoch")
    side_label(page, EDGE + above, bottom - EDGE - above - 0.5, label)
    top = bottom
    for title, (styles, names) in zip(("Teachers", "Students"), legends, strict=True):
        if not names:
            continue
        page.text(EDGE, top, title, TICK)
        page.legend(top + 0.02, [sample(**line_style(style)) for style in styles], names, left + 0.25)
        top += _legend_room(names, left)
    return page


def _legends(panels: list[Panel]) -> list[tuple[list[int], list[str]]]:
    """Styles and labels, once each, of teachers and of students."""
    kinds = [[panel for panel in panels if (panel.title == "Teachers") == teachers] for teachers in (True, False)]
    found = []
    for kind in kinds:
        entries = {curve.label: curve.style for panel in kind for curve in panel.curves}
        found.append((list(entries.values()), list(entries)))
    return found


def _legend_room(names: list[str], left: float) -> float:
    return legend_height(names, WIDTH - left - 0.25) if names else 0.0


def _lines(axes: Axes, panel: Panel, scale: ScaleName) -> None:
    for index, curve in enumerate(panel.curves):
        style: dict[str, Any] = line_style(curve.style)
        low, median, high = (to_analysis(part, scale) for part in (curve.low, curve.median, curve.high))
        axes.fill_between(curve.epoch, low, high, color=style["color"], alpha=0.13, linewidth=0, zorder=1)
        every = max(1, len(curve.epoch) // 6)
        start = every * index // len(panel.curves)
        axes.plot(curve.epoch, median, markevery=(start, every), zorder=2, **style)
    first = min(int(curve.epoch[0]) for curve in panel.curves)
    last = max(int(curve.epoch[-1]) for curve in panel.curves)
    axes.set_xlim(first, last + 1)
    width = axes.get_position().width * WIDTH
    x_axis(axes, scale_ticks("linear", *axes.get_xlim(), max(2, int(width / 0.5))))


def over_replicates(losses: Losses) -> str:
    """What lines and bands are, in words."""
    replicates = losses.runs["replicate"][losses.known].nunique()
    which = "the first " if replicates < losses.runs["replicate"].nunique() else ""
    over = f"median over {which}{replicates} replicates, bands from the least to the largest"
    return over if replicates > 1 else "one replicate"


def _caption(losses: Losses, name: str, panels: list[Panel]) -> str:
    text = f"{SERIES[name]} by epoch, {over_replicates(losses)}."
    if name == "loss":
        text += (
            " It is the whole loss that training lowers, so that of distilled students holds their distillation terms:"
            " compare its course, and levels only between students with the same terms."
        )
    if any(" of " in panel.title for panel in panels):
        text += " The treatments shown range from the best to the worst mean."
    return text
