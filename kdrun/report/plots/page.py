"""Where things stand in a picture, in inches from its upper left corner, so that nothing overlaps or is cut off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from kdrun.report.plots.style import INK, LABEL, LINE_HEIGHT, SMALL, TICK, WIDTH, fit, text_width, widest
from kdrun.report.plots.ticks import Ticks
from kdrun.report.text import plain

EDGE = 0.08
TICK_PAD = 0.09
LONGEST_LEVEL = 1.3
HANDLE = 0.42


class Page:
    """A figure of fixed width whose parts are placed in inches, y downwards."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def axes(self, left: float, top: float, width: float, height: float, sharey: Axes | None = None) -> Axes:
        """Axes at a place."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box, sharey=sharey)

    def text(self, left: float, top: float, text: str, size: float = TICK, **keys: Any) -> Text:
        """Text at a place; by default the place is its upper left corner."""
        keys = {"ha": "left", "va": "top", "color": INK, **keys}
        return self.figure.text(left / self.width, 1 - top / self.height, text, fontsize=size, **keys)

    def legend(self, top: float, handles: Sequence[Any], labels: Sequence[str], left: float = EDGE) -> None:
        """A legend below everything, in as many columns as fit; `legend_height` says how much room it takes."""
        self.figure.legend(
            handles,
            legend_labels(labels, self.width - left),
            loc="upper left",
            bbox_to_anchor=(left / self.width, 1 - top / self.height),
            bbox_transform=self.figure.transFigure,
            ncols=_legend_columns(labels, self.width - left),
            frameon=False,
            fontsize=TICK,
            borderaxespad=0,
            borderpad=0,
            handlelength=HANDLE * 72 / TICK,
            handletextpad=0.6,
            columnspacing=1.8,
            labelspacing=0.45,
        )


def legend_labels(labels: Sequence[str], width: float) -> list[str]:
    """Labels of a legend, cut to what a line of the page has room for."""
    return [fit(plain(label), width - HANDLE - 0.25, TICK) for label in labels]


def _legend_columns(labels: Sequence[str], width: float) -> int:
    entry = HANDLE + 0.3 + widest(legend_labels(labels, width), TICK)
    most = max(1, min(len(labels), int(width // entry)))
    rows = -(-len(labels) // most)
    return -(-len(labels) // rows) if labels else 1


def legend_height(labels: Sequence[str], width: float) -> float:
    """Room that the legend takes, in inches."""
    return -(-len(labels) // _legend_columns(labels, width)) * (TICK * 1.6 / 72) + EDGE


def y_axis(axes: Axes, ticks: Ticks) -> None:
    """Labels on the y axis."""
    axes.set_yticks(ticks.places, ticks.labels)
    axes.set_yticks(ticks.minor, minor=True)


def x_axis(axes: Axes, ticks: Ticks) -> None:
    """Labels on the x axis."""
    axes.set_xticks(ticks.places, ticks.labels)
    axes.set_xticks(ticks.minor, minor=True)


def left_margin(labels: Sequence[str], lines: int = 1) -> float:
    """Room for an axis' label of so many lines and its tick labels at the left of axes."""
    return EDGE + lines * LABEL * LINE_HEIGHT + 0.06 + widest(labels, TICK) + TICK_PAD


def side_label(page: Page, top: float, height: float, text: str) -> None:
    """The label of a y axis at the left edge, along `height` of the page."""
    label = "\n".join(fit(line, height, LABEL) for line in text.split("\n"))
    keys = {"rotation": 90, "va": "center", "multialignment": "center", "linespacing": 1.15}
    page.text(EDGE, top + height / 2, label, LABEL, **keys)


def below_label(axes: Axes, page_width: float, text: str) -> None:
    """The label of an x axis, cut to the width of its axes."""
    axes.set_xlabel(fit(text, axes.get_position().width * page_width, LABEL), labelpad=3)


class LevelLabels:
    """The levels of a factor below an axis: side by side, else in two lines, else upright, every one that has room."""

    def __init__(self, levels: Sequence[str], slot: float) -> None:
        texts = [plain(level) for level in levels]
        self.rotation = 0.0
        self.lines = 1
        room = slot - 0.07
        halves = [_in_two(text) for text in texts]
        if widest(texts, TICK) <= room:
            self.texts, self.height = texts, TICK * LINE_HEIGHT
        elif all(widest(half.split("\n"), TICK) <= room for half in halves):
            self.texts, self.height = halves, 2 * TICK * LINE_HEIGHT
        else:
            step = max(1, -int(-(TICK * LINE_HEIGHT + 0.01) // slot))
            fitted = [fit(text, LONGEST_LEVEL, TICK) for text in texts]
            self.texts = [text if not index % step else "" for index, text in enumerate(fitted)]
            self.height, self.rotation = widest(self.texts, TICK), 90.0

    def put(self, axes: Axes) -> None:
        """Label positions 0, 1, 2, … of the x axis."""
        kept = [index for index, text in enumerate(self.texts) if text]
        axes.set_xticks(kept, [self.texts[index] for index in kept], rotation=self.rotation)
        axes.set_xlim(-0.5, len(self.texts) - 0.5)
        axes.grid(visible=False, axis="x")


def _in_two(text: str) -> str:
    """The text broken where its halves are shortest; as it is where it cannot be broken."""
    breaks = [place.end() for place in re.finditer(r"[ _·/-]+", text) if 0 < place.end() < len(text)]
    halves = [(text[:place].rstrip(), text[place:]) for place in breaks]
    if not halves:
        return text
    return "\n".join(min(halves, key=lambda pair: max(text_width(part, TICK) for part in pair)))


def direct_label_height() -> float:
    """Distance of labels that stand above one another beside lines, in inches."""
    return SMALL * LINE_HEIGHT


def sample(**style: Any) -> Line2D:
    """A short line for a legend."""
    return Line2D([], [], **style)
