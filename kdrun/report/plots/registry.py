"""Which pictures there are, in the order that a person should see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from kdrun.report.plots import (
    distribution,
    half_normal,
    interactions,
    learning_curves,
    main_effects,
    pareto,
    prediction,
    series,
)
from kdrun.report.plots.picture import Drawing, Material, Picture, Shown
from kdrun.report.plots.style import styled, svg_bytes
from kdrun.stats.analysis import Analysis

PICTURES: tuple[Callable[[Material], Drawing | None], ...] = (
    prediction.draw,
    main_effects.draw,
    interactions.draw,
    pareto.draw,
    half_normal.draw,
    distribution.draw,
    learning_curves.draw,
)


def drawn(analysis: Analysis, history: pd.DataFrame, demonstrations: Sequence[Shown] = ()) -> list[Picture]:
    """The pictures of a study, without those that have no data; the same arguments give the same bytes."""
    with styled():
        return [
            Picture(drawing.name, drawing.title, drawing.caption, svg_bytes(drawing.figure, drawing.title))
            for drawing in drawings(Material(analysis, history, demonstrations))
        ]


def drawings(material: Material) -> Iterator[Drawing]:
    """The same before they are written, one at a time; to be drawn inside `styled`."""
    for draw in PICTURES:
        drawing = draw(material)
        if drawing is not None:
            yield drawing
    yield from series.drawings(material)
