"""One scale for a whole weight matrix."""

from __future__ import annotations

from typing import ClassVar

from kdrun.core.quantize import sum_into
from kdrun.factors.contract import Array, Granularity


class PerTensor(Granularity):
    """A single scale, measured from all weights, whose gradient is the sum of those of all columns."""

    name: ClassVar[str] = "per_tensor"
    equation: ClassVar[str] = "ŵ_rj = s·q_rj; ∂L/∂s = Σ_r ∂L/∂s_r"
    source: ClassVar[str] = "textbook: one scale for a layer"

    def stored_shape(self, fan_out: int) -> tuple[int, ...]:
        """[1]."""
        return (1,)

    def grouped(self, w_latent: Array) -> Array:
        """All weights in one column."""
        return w_latent.reshape(-1, 1)

    def spread(self, stored: Array, columns: Array) -> None:
        """The same scale everywhere."""
        columns[:] = stored[0]

    def gather(self, d_columns: Array, d_stored: Array) -> None:
        """The sum, in the order of the columns."""
        sum_into(d_columns, d_stored)
