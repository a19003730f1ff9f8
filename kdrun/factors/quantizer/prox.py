"""Proximal quantization: float weights that are drawn to ternary ones, harder and harder, and quantized at the end."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.core.quantize import pull_inplace
from kdrun.factors.contract import Array, Progress
from kdrun.factors.quantizer import MeanThresholded


class Prox(MeanThresholded):
    """The network runs on latent weights until training ends; after each step they are drawn to ternary ones."""

    name: ClassVar[str] = "prox"
    equation: ClassVar[str] = (
        "w ← (w + ρ·T(w))/(1 + ρ) after each step, ρ = rho_end·step/steps; at the end ŵ = T(w) = s·q,"
        " q = sign(w)·[|w| > Δ], Δ = 0.7·mean|w|, s = mean of |w| over |w| > Δ"
    )
    source: ClassVar[str] = (
        "Bai et al., ProxQuant, 2019 (arXiv 1810.00861), the proximal operator of ½‖w − T(w)‖² with a strength that"
        " grows linearly; T is that of Li et al., 2016 (arXiv 1605.04711), and ρ does not depend on the learning rate"
    )

    rho_end: float = Field(0.1, gt=0, le=1e6, description="ρ that the last step approaches")

    def rho(self, progress: Progress) -> float:
        """ρ grows linearly from 0."""
        return self.rho_end * progress.fraction

    def is_in_force(self, progress: Progress) -> bool:
        """Once training is over."""
        return progress.step >= progress.steps

    def pull_inplace(self, w_latent: Array, w_eff: Array, progress: Progress) -> None:
        """(w + ρ·T(w))/(1 + ρ)."""
        pull_inplace(w_latent, w_eff, self.rho(progress))
