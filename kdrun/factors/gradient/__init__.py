"""Gradient shapes: what a surrogate gradient multiplies the gradient of a quantized weight by."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdrun.core.elementary import nearest_integer
from kdrun.core.jit import inlined
from kdrun.core.quantize import clipped
from kdrun.core.vector import absolute, splat_like
from kdrun.factors.contract import Array, Family, GradientShape, Progress

FAMILY = Family(
    name="gradient",
    contract=GradientShape,
    key="student.gradient",
    default="ste",
    title="shape of the gradient through a quantizer",
)


class Hardening(GradientShape):
    """A shape whose windows narrow linearly with progress: β from `beta_start` to `beta_end`."""

    beta_start: float = Field(1.0, ge=1.0, le=1e6, description="β of the first step: windows that touch each other")
    beta_end: float = Field(20.0, ge=1.0, le=1e6, description="β that the last step approaches")

    def beta(self, progress: Progress) -> float:
        """1/β is the width of a window, in cells of a code."""
        return self.beta_start + (self.beta_end - self.beta_start) * progress.fraction


class BoundaryWindow(Hardening):
    """A shape that opens around the boundaries between codes."""

    def kinks(self, unit: Array, max_code: int, progress: Progress) -> Array:
        """Where a window opens or closes, and zero."""
        boundaries = np.arange(max_code) + 0.5
        reach = 0.5 / self.beta(progress)
        edges = np.concatenate([boundaries - reach, boundaries + reach])
        return np.outer(np.concatenate([-edges, [0.0], edges]), unit)


@inlined
def window_position(w, unit, max_code, beta):  # type: ignore[no-untyped-def]
    """t = clip((a − k − ½)·beta + ½, 0, 1) with a = |w|/unit and k + ½ the nearest code boundary, 0 ≤ k < max_code."""
    half, one, zero = splat_like(0.5, w), splat_like(1.0, w), splat_like(0.0, w)
    a = clipped(absolute(w) / unit, zero, splat_like(max_code + 1, w))
    boundary = clipped(nearest_integer(a - half), zero, splat_like(max_code - 1, w)) + half
    return clipped((a - boundary) * splat_like(beta, w) + half, zero, one)


def soft_quantizer(w: Array, unit: Array, max_code: int, beta: float) -> Array:
    """s·sign(w)·(k + 3t² − 2t³): the quantizer that becomes hard as β grows, in plain numpy."""
    a = np.abs(w) / unit
    k = np.clip(np.rint(a - 0.5), 0, max_code - 1)
    t = np.clip((a - k - 0.5) * beta + 0.5, 0.0, 1.0)
    return np.asarray(unit * np.sign(w) * (k + 3 * t**2 - 2 * t**3))
