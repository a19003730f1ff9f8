"""The derivative of a soft quantizer made of smoothsteps, one at every code boundary."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.elementary import nearest_integer
from kdrun.core.jit import kernel
from kdrun.core.quantize import clipped
from kdrun.core.vector import LANES, absolute, load_part, splat_like, store_part
from kdrun.factors.contract import Array, GradientShape, Progress


@kernel
def smoothstep_mask(w: Array, unit: Array, max_code: int, beta: float, mask: Array) -> None:
    """Derivative of the soft quantizer by the weight.

    Equation, with a = |w|/unit and k + ½ the nearest code boundary, 0 ≤ k < max_code
        t = clip((a − k − ½)·beta + ½, 0, 1)     mask = 6·t·(1 − t)·beta
    Parameters
        w, mask [fan_in, fan_out]; mask is overwritten. unit [fan_out]. max_code: integer. beta: number ≥ 1.
    Source
        The derivative of s·sign(w)·(3t² − 2t³); for ternary codes k = 0.
    """
    half, one, zero = splat_like(0.5, w), splat_like(1.0, w), splat_like(0.0, w)
    steepness, height = splat_like(beta, w), splat_like(6.0 * beta, w)
    last = splat_like(max_code - 1, w)
    beyond = splat_like(max_code + 1, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        width = load_part(unit, column, count)
        for row in range(w.shape[0]):
            a = clipped(absolute(load_part(w, (row, column), count)) / width, zero, beyond)
            boundary = clipped(nearest_integer(a - half), zero, last) + half
            t = clipped((a - boundary) * steepness + half, zero, one)
            store_part(mask, (row, column), t * (one - t) * height, count)


class Smoothstep(GradientShape):
    """The gradient of a soft quantizer that hardens as training goes on."""

    name: ClassVar[str] = "smoothstep"
    equation: ClassVar[str] = "m(w) = 6t(1 − t)β, t = clip((|w|/s − ½)β + ½, 0, 1), β from beta_start to beta_end"
    source: ClassVar[str] = "the sine study; the soft quantizer is s·sign(w)·(3t² − 2t³)"

    beta_start: float = Field(1.0, ge=1.0, le=1e6, description="β of the first step: a window as wide as a code's cell")
    beta_end: float = Field(20.0, ge=1.0, le=1e6, description="β that the last step approaches")

    def beta(self, progress: Progress) -> float:
        """β grows linearly with progress."""
        return self.beta_start + (self.beta_end - self.beta_start) * progress.fraction

    def mask(self, w_latent: Array, unit: Array, max_code: int, progress: Progress, mask: Array) -> bool:
        """Write 6t(1 − t)β."""
        smoothstep_mask(w_latent, unit, max_code, self.beta(progress), mask)
        return True

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """The soft quantizer s·sign(w)·(k + 3t² − 2t³)."""
        a = np.abs(w) / unit
        k = np.clip(np.rint(a - 0.5), 0, max_code - 1)
        t = np.clip((a - k - 0.5) * self.beta(progress) + 0.5, 0.0, 1.0)
        return np.asarray(unit * np.sign(w) * (k + 3 * t**2 - 2 * t**3))

    def kinks(self, unit: Array, max_code: int, progress: Progress) -> Array:
        """Where a window opens or closes, and zero."""
        boundaries = np.arange(max_code) + 0.5
        reach = 0.5 / self.beta(progress)
        edges = np.concatenate([boundaries - reach, boundaries + reach])
        return np.outer(np.concatenate([-edges, [0.0], edges]), unit)
