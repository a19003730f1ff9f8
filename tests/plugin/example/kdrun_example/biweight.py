"""Tukey's biweight around each code boundary: a window that opens and closes smoothly."""

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
def biweight_mask(w: Array, unit: Array, max_code: int, reach: float, mask: Array) -> None:
    """The biweight of the distance from the nearest code boundary.

    Equation, with a = |w|/unit and k + ½ the nearest code boundary, 0 ≤ k < max_code
        z = min(|a − k − ½|/reach, 1)     mask = (1 − z²)²
    Parameters
        w, mask [fan_in, fan_out]; mask is overwritten. unit [fan_out]. max_code: integer. reach: number > 0.
    """
    zero, half, one = splat_like(0.0, w), splat_like(0.5, w), splat_like(1.0, w)
    last, width = splat_like(max_code - 1, w), splat_like(reach, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        scale = load_part(unit, column, count)
        for row in range(w.shape[0]):
            a = absolute(load_part(w, (row, column), count)) / scale
            boundary = clipped(nearest_integer(a - half), zero, last) + half
            z = clipped(absolute(a - boundary) / width, zero, one)
            inside = one - z * z
            store_part(mask, (row, column), inside * inside, count)


class Biweight(GradientShape):
    """The gradient fades smoothly with the distance from the nearest code boundary."""

    name: ClassVar[str] = "biweight"
    equation: ClassVar[str] = "m(w) = (1 − z²)², z = min(||w|/s − k − ½|/reach, 1), k + ½ the nearest boundary"
    source: ClassVar[str] = (
        "Beaton and Tukey, The fitting of power series, meaning polynomials, Technometrics 16(2), 1974"
    )

    reach: float = Field(0.5, gt=0, le=0.5, description="where the window closes, in units of the scale")

    def mask(self, w_latent: Array, unit: Array, max_code: int, progress: Progress, mask: Array) -> bool:
        """Write m(w)."""
        biweight_mask(w_latent, unit, max_code, self.reach, mask)
        return True

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """±(z − 2z³/3 + z⁵/5)·s·reach around each boundary."""
        a = np.abs(w) / unit
        boundary = np.clip(np.rint(a - 0.5), 0, max_code - 1) + 0.5
        z = np.clip((a - boundary) / self.reach, -1.0, 1.0)
        return np.asarray(np.sign(w) * (z - 2 * z**3 / 3 + z**5 / 5) * unit * self.reach)

    def kinks(self, unit: Array, max_code: int, progress: Progress) -> Array:
        """Edges of the windows, and the codes, where the nearest boundary changes."""
        boundaries = np.arange(max_code) + 0.5
        points = np.concatenate([np.arange(max_code), boundaries - self.reach, boundaries + self.reach])
        return np.outer(np.concatenate([-points, points]), unit)
