"""Trained ternary quantization: two learned magnitudes, one for positive weights and one for negative ones."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.core.losses import scale_inplace
from kdrun.core.quantize import floor_inplace, largest_magnitude, mean_above, signed_gradients, signed_magnitudes
from kdrun.factors.contract import Array, Arrays, Progress
from kdrun.factors.quantizer import Thresholded


class Ttq(Thresholded):
    """Codes by a threshold of 0.05 of the largest magnitude; what a code is worth is learned for each sign."""

    name: ClassVar[str] = "ttq"
    equation: ClassVar[str] = (
        "ŵ = W⁺ where w > Δ, −W⁻ where w < −Δ, else 0; Δ = 0.05·max|w|; ∂L/∂W⁺ = Σ ∂L/∂ŵ over w > Δ,"
        " ∂L/∂W⁻ = −Σ ∂L/∂ŵ over w < −Δ"
    )
    source: ClassVar[str] = (
        "Zhu et al., Trained ternary quantization, 2017 (arXiv 1612.01064); two magnitudes for a layer there, which is"
        " granularity per_tensor. Latent weights have the study's gradient shape instead of ∂L/∂ŵ times W⁺, 1 or W⁻;"
        " both magnitudes start at the mean of |w| over |w| > Δ"
    )
    scale_names: ClassVar[tuple[str, ...]] = ("threshold", "positive", "negative")

    threshold: float = Field(0.05, gt=0, lt=1, description="Δ, as a part of the largest magnitude")

    @property
    def measured_names(self) -> tuple[str, ...]:
        """The threshold."""
        return ("threshold",)

    def measure(self, w_latent: Array, scales: Arrays) -> None:
        """Δ; both magnitudes start at the mean of |w| beyond it."""
        self.remeasure(w_latent, scales)
        for name in ("positive", "negative"):
            mean_above(w_latent, scales["threshold"], scales[name])

    def remeasure(self, w_latent: Array, scales: Arrays) -> None:
        """Δ, from the largest weight."""
        largest_magnitude(w_latent, 1, scales["threshold"])
        scale_inplace(scales["threshold"], self.threshold)

    def effective(self, codes: Array, scales: Arrays, w_eff: Array) -> None:
        """W⁺, 0 or −W⁻."""
        signed_magnitudes(codes, scales["positive"], scales["negative"], w_eff)

    def backward(self, dw_eff: Array, w_latent: Array, codes: Array, scales: Arrays, dscales: Arrays) -> None:
        """Sums of ∂L/∂ŵ over the weights of each sign."""
        signed_gradients(dw_eff, codes, dscales["positive"], dscales["negative"])

    def project_inplace(self, w_latent: Array, stored: Arrays, progress: Progress) -> None:
        """Magnitudes stay at or above 1e-6."""
        floor_inplace(stored["positive"])
        floor_inplace(stored["negative"])
