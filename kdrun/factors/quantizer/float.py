"""No quantization: effective weights are the latent ones."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.contract import Quantizer


class Float(Quantizer):
    """Weights of full precision."""

    name: ClassVar[str] = "float"
    equation: ClassVar[str] = "ŵ = w"
    source: ClassVar[str] = "the reference that quantized students are compared with"

    granularity: str = Field(
        "per_row",
        description="changes nothing here; a study may cross granularities with all quantizers",
        json_schema_extra={"family": "granularity"},
    )

    @property
    def max_code(self) -> int:
        """Not quantized."""
        return 0
