"""One scale for each row of a weight matrix, that is for each unit's incoming weights."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Granularity


class PerRow(Granularity):
    """As many scales as units (per channel). Rows are columns in the core's layout."""

    name: ClassVar[str] = "per_row"
    equation: ClassVar[str] = "ŵ_rj = s_r·q_rj"
    source: ClassVar[str] = "the sine study"

    def stored_shape(self, fan_out: int) -> tuple[int, ...]:
        """[fan_out]: each column its own."""
        return (fan_out,)
