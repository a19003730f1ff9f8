"""No quantization: effective weights are the latent ones."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Quantizer


class Float(Quantizer):
    """Weights of full precision."""

    name: ClassVar[str] = "float"
    equation: ClassVar[str] = "ŵ = w"
    source: ClassVar[str] = "the reference that quantized students are compared with"

    @property
    def max_code(self) -> int:
        """Not quantized."""
        return 0
