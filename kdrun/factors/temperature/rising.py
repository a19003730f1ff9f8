"""A temperature that rises: sharp targets first, nuance later."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.contract import Arrays, Batch, Context, HyperParameter, Temperature


class Rising(HyperParameter):
    """Linear in progress."""

    name: ClassVar[str] = "rising"
    equation: ClassVar[str] = "T(p) = low + (high − low)·p"
    source: ClassVar[str] = "POCL, 2025 (arXiv 2506.05695), its schedule of temperatures without its stages"
    provides: ClassVar[str] = "temperature"

    low: float = Field(1.0, ge=0.05, le=1e3, description="T of the first step")
    high: float = Field(4.0, ge=0.05, le=1e3, description="T that the last step approaches")

    def value(self, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> Temperature:
        """T and T² of this step."""
        found = Temperature.fixed(self.low + (self.high - self.low) * context.progress.fraction)
        context.record("temperature", found.value)
        return found
