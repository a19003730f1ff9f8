"""The derivative of a soft quantizer made of smoothsteps, one at every code boundary."""

from __future__ import annotations

from typing import ClassVar

from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, load_part, splat_like, store_part
from kdrun.factors.contract import Array, Progress
from kdrun.factors.gradient import BoundaryWindow, soft_quantizer, window_position


@kernel
def smoothstep_mask(w: Array, unit: Array, max_code: int, beta: float, mask: Array) -> None:
    """Derivative of the soft quantizer by the weight.

    Equation, with a = |w|/unit and k + ½ the nearest code boundary, 0 ≤ k < max_code
        t = clip((a − k − ½)·beta + ½, 0, 1)     mask = 6·t·(1 − t)·beta
    Parameters
        w, mask [fan_in, fan_out]; mask is overwritten. unit [fan_out]. max_code: integer. beta: number ≥ 1.
    Source
        The derivative of s·sign(w)·(k + 3t² − 2t³); for ternary codes k = 0.
    """
    one, height = splat_like(1.0, w), splat_like(6.0 * beta, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        width = load_part(unit, column, count)
        for row in range(w.shape[0]):
            t = window_position(load_part(w, (row, column), count), width, max_code, beta)
            store_part(mask, (row, column), t * (one - t) * height, count)


class Smoothstep(BoundaryWindow):
    """The gradient of a soft quantizer that hardens as training goes on."""

    name: ClassVar[str] = "smoothstep"
    equation: ClassVar[str] = "m(w) = 6t(1 − t)β, t = clip((|w|/s − ½)β + ½, 0, 1), β from beta_start to beta_end"
    source: ClassVar[str] = "the sine study; the soft quantizer is s·sign(w)·(3t² − 2t³)"

    def mask(self, w_latent: Array, unit: Array, max_code: int, progress: Progress, mask: Array) -> bool:
        """Write 6t(1 − t)β."""
        smoothstep_mask(w_latent, unit, max_code, self.beta(progress), mask)
        return True

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """The soft quantizer."""
        return soft_quantizer(w, unit, max_code, self.beta(progress))
