"""Weights of 8 bits: evenly spaced, from −127·s to 127·s."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from kdrun.factors.quantizer import Uniform


class Int8(Uniform):
    """Codes −127 … 127 times a scale at which the largest weight has the largest code, at first or always."""

    name: ClassVar[str] = "int8"
    equation: ClassVar[str] = "ŵ = s·q, q = clip(round(w/s), −127, 127), s = max|w|/127 at first; ∂L/∂s = Σ ∂L/∂ŵ · q"
    source: ClassVar[str] = (
        "Jacob et al., Quantization and training of neural networks, 2018 (arXiv 1712.05877); for weights alone, and"
        " symmetric"
    )
    scale_start: ClassVar[Literal["absmean", "absmax"]] = "absmax"

    scale: Literal["learned", "absmax"] = Field(
        "learned", description="scales are trained with the weights, or measured from them after every step"
    )

    @property
    def max_code(self) -> int:
        """−127 … 127: as many on both sides, so that −w is as exact as w."""
        return 127
