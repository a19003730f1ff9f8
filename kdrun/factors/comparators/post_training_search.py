"""Coordinate search from the quantized teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from kdrun.core.search import CodedNetwork, coordinate_search
from kdrun.factors.contract import Comparator


class PostTrainingSearch(Comparator):
    """Each weight of the quantized teacher in turn takes the code that lowers the calibration error."""

    name: ClassVar[str] = "post_training_search"
    equation: ClassVar[str] = "q_i ← argmin over codes of L_calibration(q), from q = quantize(w_teacher)"
    source: ClassVar[str] = "the sine study: coordinate search as a baseline that needs no gradient"
    starts_from: ClassVar[str] = "teacher"

    sweeps: int = Field(5, ge=1, le=1000, strict=True, description="most sweeps over all weights")

    def refine(self, network: CodedNetwork) -> Mapping[str, list[float]]:
        """Search; the history is the calibration loss after each sweep."""
        return {"calibration_loss": coordinate_search(network, self.sweeps)}
