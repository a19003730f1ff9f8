"""Comparators: networks made outside the factorial."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from kdrun.core import search
from kdrun.core.search import CodedNetwork
from kdrun.factors.contract import Comparator, Family

FAMILY = Family(
    name="comparators",
    contract=Comparator,
    key="comparators",
    default=None,
    title="networks made outside the factorial",
)


class Search(Comparator):
    """Each weight in turn takes the code that lowers the calibration error, until a sweep changes nothing."""

    sweeps: int = Field(5, ge=1, le=1000, strict=True, description="most sweeps over all weights")

    def refine(self, network: CodedNetwork) -> Mapping[str, list[float]]:
        """Search; the history is the calibration loss after each sweep."""
        return {"calibration_loss": search.coordinate_search(network, self.sweeps)}
