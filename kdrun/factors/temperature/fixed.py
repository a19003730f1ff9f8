"""One temperature throughout."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.contract import Arrays, Batch, Context, HyperParameter, Temperature


class Fixed(HyperParameter):
    """T as the study gives it."""

    name: ClassVar[str] = "fixed"
    equation: ClassVar[str] = "T(p) = T"
    source: ClassVar[str] = "Hinton et al., Distilling the knowledge in a neural network, 2015 (arXiv 1503.02531)"
    provides: ClassVar[str] = "temperature"

    at: float = Field(2.0, ge=0.05, le=1e3, description="T")

    def value(self, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> Temperature:
        """T and T²."""
        context.record("temperature", self.at)
        return Temperature.fixed(self.at)
