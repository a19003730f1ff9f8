"""What the networks do: the target, the teacher, the best and the worst student, one step ahead and running freely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kdrun.factors.contract import Array
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
from kdrun.report.plots.picture import Drawing, Material, Shown
from kdrun.report.plots.style import LABEL, LINE_HEIGHT, PALE, SMALL, line_style
from kdrun.report.plots.ticks import padded, scale_ticks
from kdrun.report.text import plain
from kdrun.report.treatment_tables import best_treatment
from kdrun.stats.analysis import Analysis
from kdrun.stats.scales import analysis_values
from kdrun.tasks.contract import Demonstration

PANEL = 1.75
MOST_LINES = 6
LEAST_SEEN = 0.05
TARGET: dict[str, Any] = {"color": "#B5B5B5", "linewidth": 4.5, "solid_capstyle": "butt"}


def runs_to_show(analysis: Analysis) -> list[tuple[str, str]]:
    """Label and run id of what is worth showing: a teacher, and a run of the best and of the worst treatment.

    Of several replicates it is the run that lies nearest to its treatment's mean; the teacher is one at the best
    treatment's levels.
    """
    means = analysis.treatments[f"{analysis.layout.primary.name}_mean"].to_numpy(np.float64)
    best = best_treatment(analysis)
    runs = analysis.runs
    done = runs["status"] == "done"
    if best is None:
        return _typical(analysis, runs[done & (runs["kind"] == "teacher")], "Teacher")
    lower = analysis.layout.primary.better == "lower"
    worst = int(np.nanargmax(means) if lower else np.nanargmin(means))
    row = analysis.treatments.iloc[best]
    fits = done & (runs["kind"] == "teacher")
    for factor in analysis.layout.factors:
        fits &= (runs[factor] == "") | (runs[factor] == row[factor])
    found = _typical(analysis, runs[fits], "Teacher")
    for which, place in (("Best", best), ("Worst", worst))[: 1 + (worst != best)]:
        row = analysis.treatments.iloc[place]
        label = f"{which} student: treatment {row['treatment']}"
        found += _typical(analysis, runs[done & (runs["treatment"] == row["treatment"]).fillna(value=False)], label)
    return found


def _typical(analysis: Analysis, rows: pd.DataFrame, label: str) -> list[tuple[str, str]]:
    """The run nearest to the mean of `rows`, as a list of one, or of none."""
    y = analysis_values(rows, analysis.layout.primary)
    if np.isnan(y).all():
        return []
    nearest = rows.iloc[int(np.nanargmin(np.abs(y - np.nanmean(y))))]
    return [(f"{label}, replicate {nearest['replicate']}", str(nearest["run_id"]))]


def draw(material: Material) -> Drawing | None:
    """Two panels: every input true, and the network's own answers as its inputs."""
    shown = list(material.demonstrations)[:MOST_LINES]
    if not shown:
        return None
    first = shown[0].demonstration
    window = window_of([item.demonstration for item in shown])
    low, high = _value_limits([item.demonstration for item in shown], window)
    outside = [_outside(item.demonstration, window) for item in shown]
    labels = ["Target", *(f"{item.label}{where}" for item, where in zip(shown, outside, strict=True))]
    ticks = scale_ticks("linear", low, high, 5)
    left, heading_room = left_margin(ticks.labels), LABEL * LINE_HEIGHT + 0.05
    step = heading_room + PANEL + 0.14
    bottom = 2 * step + 2 * LABEL * LINE_HEIGHT + 0.1
    page = Page(EDGE + bottom + legend_height(labels, 7.2 - left) + 0.02)
    for index, title in enumerate(
        ("One step ahead: every input is true", "Running freely: each network's answers are its own next inputs")
    ):
        top = EDGE + index * step + heading_room
        page.text(left, top - 0.05, title, LABEL, va="bottom")
        axes = page.axes(left, top, page.width - left - EDGE - 0.06, PANEL)
        _panel(axes, shown, free=bool(index))
        axes.set_ylim(low, high)
        y_axis(axes, ticks)
        _time_axis(axes, first, labelled=bool(index), page=page)
    side_label(page, EDGE + heading_room, 2 * step - heading_room - 0.14, plain(first.value_label))
    page.legend(bottom + EDGE, _handles(len(shown)), labels, left)
    return Drawing("prediction", "What the networks do", _caption(material, shown, any(outside)), page.figure)


def window_of(demonstrations: Sequence[Demonstration]) -> tuple[float, float]:
    """What a picture shows at most: the targets, and their range beyond on either side."""
    targets = _finite([item.target for item in demonstrations])
    low, high = padded("linear", float(targets.min(initial=np.inf)), float(targets.max(initial=-np.inf)), 1.0)
    return (low, high) if len(targets) else (-1.0, 1.0)


def _value_limits(demonstrations: Sequence[Demonstration], window: tuple[float, float]) -> tuple[float, float]:
    """Limits that hold the targets, and what lies in the window of the curves that can be seen there."""
    curves = [curve for item in demonstrations for curve in _said(item) if _is_seen(curve, window)]
    values = _finite([*(item.target for item in demonstrations), *(_within(curve, window) for curve in curves)])
    low, high = (float(values.min()), float(values.max())) if len(values) else window
    return padded("linear", low, high)


def _finite(parts: Sequence[Array]) -> Array:
    values = np.concatenate(parts).astype(np.float64)
    return values[np.isfinite(values)]


def _said(item: Demonstration) -> tuple[Array, Array]:
    """What a network says in either panel: of the free run what follows the true input."""
    return item.one_step, item.free[item.given :] if item.given < len(item.free) else item.free


def _within(curve: Array, window: tuple[float, float]) -> Array:
    """The values inside the window; not a number is outside."""
    return curve[(curve >= window[0]) & (curve <= window[1])]


def _is_seen(curve: Array, window: tuple[float, float]) -> bool:
    """Whether more of a curve is inside the window than a few points that it crosses it in."""
    return len(_within(curve, window)) > LEAST_SEEN * len(curve)


def _outside(item: Demonstration, window: tuple[float, float]) -> str:
    """What a legend says of a network that cannot be seen; nothing of any other."""
    above, below = (_is_seen(curve, window) for curve in _said(item))
    if above and below:
        return ""
    return f" (out of the {'lower ' if above else 'upper ' if below else ''}picture)"


def _panel(axes: Axes, shown: Sequence[Shown], free: bool) -> None:
    first = shown[0].demonstration
    axes.plot(first.time, first.target, **TARGET)
    for index, item in enumerate(shown):
        demonstration = item.demonstration
        every = max(1, len(demonstration.time) // 12)
        axes.plot(
            demonstration.time,
            demonstration.free if free else demonstration.one_step,
            markevery=(every * index // len(shown), every),
            **line_style(index),
        )
    if free and 0 < first.given < len(first.time):
        border = float(first.time[first.given - 1])
        axes.axvspan(float(first.time[0]), border, color=PALE, linewidth=0, zorder=0)
        axes.text(
            0.012, 0.97, "given true input", transform=axes.transAxes, fontsize=SMALL, va="top", zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.8},
        )  # fmt: skip


def _time_axis(axes: Axes, first: Demonstration, labelled: bool, page: Page) -> None:
    low, high = float(first.time[0]), float(first.time[-1])
    low -= (high - low) / max(1, len(first.time) - 1)
    axes.set_xlim(*((low, high) if high > low else (low - 0.5, low + 0.5)))
    x_axis(axes, scale_ticks("linear", *axes.get_xlim(), 8))
    if labelled:
        below_label(axes, page.width, plain(first.time_label))
    else:
        axes.tick_params(labelbottom=False)


def _handles(count: int) -> list[Any]:
    return [sample(**TARGET), *(sample(**line_style(index)) for index in range(count))]


def _caption(material: Material, shown: Sequence[Shown], outside: bool) -> str:
    first = shown[0].demonstration
    names = "; ".join(plain(item.label) for item in shown)
    primary = material.analysis.layout.primary.name
    which = f"A run stands for its treatment's replicates: the one nearest to their mean {primary}."
    text = (
        f"The target (broad grey line) and what single networks say ({names}), on a linear scale. Above, every input is"
        f" true; below, after {first.given} steps of true input (shaded) each network's answers are its own next"
        " inputs, so errors add up."
    )
    if outside:
        text += (
            " Out of the picture is what is no number, or further from the target's range than that is wide; the legend"
            " says whose."
        )
    return f"{text} {which}" if len(shown) > 1 else text
