"""Weights of 4 bits: evenly spaced, from −7·s to 7·s."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from kdrun.factors.quantizer import Uniform


class Int4(Uniform):
    """Codes −7 … 7 times a scale at which the largest weight has the largest code, at first or always."""

    name: ClassVar[str] = "int4"
    equation: ClassVar[str] = "ŵ = s·q, q = clip(round(w/s), −7, 7), s = max|w|/7 at first; ∂L/∂s = Σ ∂L/∂ŵ · q"
    source: ClassVar[str] = (
        "Esser et al., Learned step size quantization, 2020 (arXiv 1902.08153), for weights alone, with symmetric codes"
    )
    scale_start: ClassVar[Literal["absmean", "absmax"]] = "absmax"

    scale: Literal["learned", "absmax"] = Field(
        "learned", description="scales are trained with the weights, or measured from them after every step"
    )

    @property
    def max_code(self) -> int:
        """−7 … 7: as many on both sides, so that −w is as exact as w."""
        return 7
