"""The pictures of a results folder: SVG, the same bytes for the same data.

One file per picture, how they look in style.py, where things stand in page.py, which there are in registry.py.
Matplotlib is imported when pictures are drawn, not before: it takes half a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdrun.report.plots.picture import Picture, Shown

if TYPE_CHECKING:
    import pandas as pd

    from kdrun.stats.analysis import Analysis

__all__ = ["Picture", "Shown", "pictures", "prediction_runs"]


def pictures(analysis: Analysis, history: pd.DataFrame, demonstrations: Sequence[Shown] = ()) -> list[Picture]:
    """The pictures of a study, in the order that a person should see them; one that has no data is left out.

    `history` has the columns run_id, epoch, name, value, of the replicates to show (the first twenty, say).
    """
    from kdrun.report.plots.registry import drawn

    return drawn(analysis, history, demonstrations)


def prediction_runs(analysis: Analysis) -> list[tuple[str, str]]:
    """Label and run id of the networks that are worth demonstrating: a teacher, a best and a worst student."""
    from kdrun.report.plots.prediction import runs_to_show

    return runs_to_show(analysis)
