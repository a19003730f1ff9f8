"""Quantizers of weight matrices."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from kdrun.core.losses import scale_inplace
from kdrun.core.quantize import (
    floor_inplace,
    largest_magnitude,
    lsq_scale_gradient,
    mean_above,
    mean_magnitude,
    quantize_columns,
    scale_codes,
    scale_gradient,
    threshold_codes,
)
from kdrun.factors.contract import Array, Arrays, Family, Progress, Quantizer

FAMILY = Family(
    name="quantizer",
    contract=Quantizer,
    key="student.quantizer",
    default="ternary",
    title="what values a weight may take",
)


class Scaled(Quantizer):
    """A quantizer whose scales a granularity shares out."""

    granularity: str = Field(
        "per_row", description="how many scales a matrix has", json_schema_extra={"family": "granularity"}
    )


class Uniform(Scaled):
    """Evenly spaced values s·q, with one scale that is learned, or measured after every step.

    `scale_start` says where a learned scale starts: as one that is measured by that rule.
    """

    scale_names: ClassVar[tuple[str, ...]] = ("scale",)
    scale_start: ClassVar[Literal["absmean", "absmax"]]

    scale: Literal["learned", "absmean", "absmax"] = Field(
        "learned", description="scales are trained with the weights, or measured from them after every step"
    )
    scale_grad: Literal["exact", "lsq"] = Field(
        "exact", description="the gradient of a learned scale: exact, or the surrogate of learned step sizes"
    )

    @model_validator(mode="after")
    def _only_learned_scales_have_gradients(self) -> Self:
        if self.scale != "learned" and self.scale_grad != "exact":
            raise ValueError(
                f"scale {self.scale} is measured and has no gradient, but scale_grad is {self.scale_grad};"
                " leave scale_grad out, or let scale be learned"
            )
        return self

    @property
    def measured_names(self) -> tuple[str, ...]:
        """The scale, unless it is learned."""
        return () if self.scale == "learned" else self.scale_names

    def measure(self, w_latent: Array, scales: Arrays) -> None:
        """s = mean |w|, or max |w| over the largest code."""
        if (self.scale_start if self.scale == "learned" else self.scale) == "absmean":
            mean_magnitude(w_latent, scales["scale"])
        else:
            largest_magnitude(w_latent, self.max_code, scales["scale"])

    def quantize(self, w_latent: Array, scales: Arrays, codes: Array, w_eff: Array) -> None:
        """Round to codes, ties to even, and scale them."""
        quantize_columns(w_latent, scales["scale"], self.max_code, codes, w_eff)

    def effective(self, codes: Array, scales: Arrays, w_eff: Array) -> None:
        """s·q."""
        scale_codes(codes, scales["scale"], w_eff)

    def unit(self, w_latent: Array, scales: Arrays) -> Array:
        """s: boundaries lie at ±s/2, ±3s/2 and so on."""
        return scales["scale"]

    def backward(self, dw_eff: Array, w_latent: Array, codes: Array, scales: Arrays, dscales: Arrays) -> None:
        """∂L/∂s = Σ ∂L/∂ŵ · q, or with q − w/s for q inside the clip range."""
        if self.scale_grad == "exact":
            scale_gradient(dw_eff, codes, dscales["scale"])
        else:
            lsq_scale_gradient(dw_eff, w_latent, scales["scale"], self.max_code, dscales["scale"])

    def along_scales(self, w_latent: Array, codes: Array, start: Arrays, scales: Arrays, w_eff: Array) -> None:
        """s·q; for the surrogate w + s·(q − w/s₀) inside the clip range, where rounding residuals are what freezes."""
        self.effective(codes, scales, w_eff)
        if self.scale_grad == "lsq":
            place = w_latent / start["scale"]
            inside = np.abs(place) < self.max_code
            w_eff[inside] = (w_latent + scales["scale"] * (codes - place))[inside]

    def scale_kinks(self, unit: Array) -> Array:
        """The ends of the clip range, where the surrogate jumps."""
        if self.scale_grad == "exact":
            return super().scale_kinks(unit)
        return np.outer((-self.max_code, self.max_code), unit)

    def project_inplace(self, w_latent: Array, stored: Arrays, progress: Progress) -> None:
        """Scales stay at or above 1e-6."""
        floor_inplace(stored["scale"])


class Thresholded(Scaled):
    """Ternary codes by a threshold Δ of its own, a scale that is measured: sign(w) where |w| > Δ, else 0."""

    @property
    def max_code(self) -> int:
        """−1, 0, 1."""
        return 1

    @property
    def kept_names(self) -> tuple[str, ...]:
        """All but the threshold, which has done its work once codes are there."""
        return tuple(name for name in self.scale_names if name != "threshold")

    def quantize(self, w_latent: Array, scales: Arrays, codes: Array, w_eff: Array) -> None:
        """Compare with the threshold, and scale what is beyond it."""
        threshold_codes(w_latent, scales["threshold"], codes)
        self.effective(codes, scales, w_eff)

    def unit(self, w_latent: Array, scales: Arrays) -> Array:
        """2Δ: boundaries lie at ±Δ."""
        return scales["threshold"] + scales["threshold"]


class MeanThresholded(Thresholded):
    """The ternary weights nearest to latent ones: Δ = 0.7·mean |w|, and s the mean of |w| beyond it."""

    scale_names: ClassVar[tuple[str, ...]] = ("threshold", "scale")

    threshold: float = Field(0.7, gt=0, lt=1, description="Δ, as a part of the mean magnitude")

    @property
    def measured_names(self) -> tuple[str, ...]:
        """Both: nothing is trained but weights."""
        return self.scale_names

    def measure(self, w_latent: Array, scales: Arrays) -> None:
        """Δ, then the mean of |w| beyond it; some weight always is, since the largest is at least the mean."""
        mean_magnitude(w_latent, scales["threshold"])
        scale_inplace(scales["threshold"], self.threshold)
        mean_above(w_latent, scales["threshold"], scales["scale"])

    def effective(self, codes: Array, scales: Arrays, w_eff: Array) -> None:
        """s·q."""
        scale_codes(codes, scales["scale"], w_eff)
