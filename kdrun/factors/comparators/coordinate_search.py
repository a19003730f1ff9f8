"""Coordinate search from the trained baseline."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.comparators import Search


class CoordinateSearch(Search):
    """Search over the codes of treatment 1."""

    name: ClassVar[str] = "coordinate_search"
    equation: ClassVar[str] = "q_i ← argmin over codes of L_calibration(q), weight by weight, sweep by sweep"
    source: ClassVar[str] = "the sine study: post-training coordinate search on its first treatment"
    starts_from: ClassVar[str] = "baseline"
