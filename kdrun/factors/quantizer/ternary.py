"""Ternary weights −s, 0, s with a learned scale."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from kdrun.core.quantize import floor_inplace, mean_magnitude, quantize_columns, scale_codes, scale_gradient
from kdrun.factors.contract import Array, Arrays, Progress, Quantizer


class Ternary(Quantizer):
    """Codes −1, 0, 1 times a scale that starts at the mean magnitude and is then learned."""

    name: ClassVar[str] = "ternary"
    equation: ClassVar[str] = "ŵ = s·q, q = clip(round(w/s), −1, 1); ∂L/∂s = Σ ∂L/∂ŵ · q"
    source: ClassVar[str] = "the sine study; codes as in Li et al., Ternary weight networks, 2016 (arXiv 1605.04711)"
    scale_names: ClassVar[tuple[str, ...]] = ("scale",)

    granularity: str = Field(
        "per_row", description="how many scales a matrix has", json_schema_extra={"family": "granularity"}
    )
    scale: Literal["learned"] = Field("learned", description="scales are trained with the weights")

    @property
    def max_code(self) -> int:
        """−1, 0, 1."""
        return 1

    def measure(self, w_latent: Array, scales: Arrays) -> None:
        """s = mean |w| of the column."""
        mean_magnitude(w_latent, scales["scale"])

    def quantize(self, w_latent: Array, scales: Arrays, codes: Array, w_eff: Array) -> None:
        """Round to codes, ties to even, and scale them."""
        quantize_columns(w_latent, scales["scale"], 1, codes, w_eff)

    def effective(self, codes: Array, scales: Arrays, w_eff: Array) -> None:
        """s·q."""
        scale_codes(codes, scales["scale"], w_eff)

    def unit(self, w_latent: Array, scales: Arrays) -> Array:
        """s: boundaries lie at ±s/2."""
        return scales["scale"]

    def backward(self, dw_eff: Array, w_latent: Array, codes: Array, scales: Arrays, dscales: Arrays) -> None:
        """∂L/∂s = Σ ∂L/∂ŵ · q."""
        scale_gradient(dw_eff, codes, dscales["scale"])

    def project_inplace(self, w_latent: Array, stored: Arrays, progress: Progress) -> None:
        """Scales stay at or above 1e-6."""
        floor_inplace(stored["scale"])
