"""Coordinate search from the trained baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from kdrun.core.search import CodedNetwork, coordinate_search
from kdrun.factors.contract import Comparator


class CoordinateSearch(Comparator):
    """Each weight of treatment 1 in turn takes the code that lowers the calibration error."""

    name: ClassVar[str] = "coordinate_search"
    equation: ClassVar[str] = "q_i ← argmin over codes of L_calibration(q), weight by weight, sweep by sweep"
    source: ClassVar[str] = "the sine study: post-training coordinate search on its first treatment"
    starts_from: ClassVar[str] = "baseline"

    sweeps: int = Field(5, ge=1, le=1000, strict=True, description="most sweeps over all weights")

    def refine(self, network: CodedNetwork) -> Mapping[str, list[float]]:
        """Search; the history is the calibration loss after each sweep."""
        return {"calibration_loss": coordinate_search(network, self.sweeps)}
