"""What pictures are made of, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from kdrun.report.plots.wide import Wide, wide_of
from kdrun.stats.analysis import Analysis
from kdrun.tasks.contract import Demonstration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """What one network does on the task's example, and who it is, in words."""

    label: str
    demonstration: Demonstration


@dataclass(frozen=True)
class Material:
    """Everything that a picture can be drawn from.

    `history` has the columns run_id, epoch, name, value, of as many replicates as are to be shown.
    """

    analysis: Analysis
    history: pd.DataFrame
    demonstrations: Sequence[Shown]

    @cached_property
    def wide(self) -> Wide:
        """The primary response by replicate and treatment, and its means."""
        return wide_of(self.analysis)


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn and not yet written: the fields of `Picture`, with a Figure."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Picture:
    """A picture: `name` of its file without the ending, `title`, a `caption` in plain text, and its bytes.

    The caption says what is shown and how to read it; it also stands in for the picture where that cannot be seen.
    """

    name: str
    title: str
    caption: str
    svg: bytes
