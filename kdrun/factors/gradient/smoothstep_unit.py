"""The smoothstep window scaled to a peak of 1, so that only its place and width matter and not its height."""

from __future__ import annotations

from typing import ClassVar

from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, load_part, splat_like, store_part
from kdrun.factors.contract import Array, Progress
from kdrun.factors.gradient import BoundaryWindow, soft_quantizer, window_position


@kernel
def unit_window_mask(w: Array, unit: Array, max_code: int, beta: float, mask: Array) -> None:
    """A parabola of height 1 around the nearest code boundary.

    Equation, with a = |w|/unit and k + ½ the nearest code boundary, 0 ≤ k < max_code
        t = clip((a − k − ½)·beta + ½, 0, 1)     mask = 4·t·(1 − t)
    Parameters
        w, mask [fan_in, fan_out]; mask is overwritten. unit [fan_out]. max_code: integer. beta: number ≥ 1.
    """
    one, four = splat_like(1.0, w), splat_like(4.0, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        width = load_part(unit, column, count)
        for row in range(w.shape[0]):
            t = window_position(load_part(w, (row, column), count), width, max_code, beta)
            store_part(mask, (row, column), four * t * (one - t), count)


class SmoothstepUnit(BoundaryWindow):
    """The smoothstep window with peak 1."""

    name: ClassVar[str] = "smoothstep_unit"
    equation: ClassVar[str] = "m(w) = 4t(1 − t), t = clip((|w|/s − ½)β + ½, 0, 1), β from beta_start to beta_end"
    source: ClassVar[str] = "the sine study; 2/(3β) times the derivative of the soft quantizer"

    def mask(self, w_latent: Array, unit: Array, max_code: int, progress: Progress, mask: Array) -> bool:
        """Write 4t(1 − t)."""
        unit_window_mask(w_latent, unit, max_code, self.beta(progress), mask)
        return True

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """2/(3β) times the soft quantizer."""
        beta = self.beta(progress)
        return 2.0 / (3.0 * beta) * soft_quantizer(w, unit, max_code, beta)
