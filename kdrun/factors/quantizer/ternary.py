"""Ternary weights −s, 0, s with a learned scale."""

from __future__ import annotations

from typing import ClassVar, Literal

from kdrun.factors.quantizer import Uniform


class Ternary(Uniform):
    """Codes −1, 0, 1 times a scale that starts at the mean magnitude and is then learned."""

    name: ClassVar[str] = "ternary"
    equation: ClassVar[str] = "ŵ = s·q, q = clip(round(w/s), −1, 1); ∂L/∂s = Σ ∂L/∂ŵ · q"
    source: ClassVar[str] = "the sine study; codes as in Li et al., Ternary weight networks, 2016 (arXiv 1605.04711)"
    scale_start: ClassVar[Literal["absmean", "absmax"]] = "absmean"

    @property
    def max_code(self) -> int:
        """−1, 0, 1."""
        return 1
