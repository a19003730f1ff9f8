"""A window around the codes instead of the boundaries between them: weights that sit on a code move, others do not."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.core.elementary import nearest_integer
from kdrun.core.jit import kernel
from kdrun.core.quantize import clipped
from kdrun.core.vector import LANES, absolute, load_part, select, splat_like, store_part
from kdrun.factors.contract import Array, Progress
from kdrun.factors.gradient import Hardening


@kernel
def plateau_mask(w: Array, unit: Array, max_code: int, beta: float, mask: Array) -> None:
    """A falling smoothstep of the distance from the nearest code.

    Equation, with δ = |w/unit − nearest of −max_code … max_code| and z = δ·beta
        mask = 1 − z²·(3 − 2z) where z < 1, else 0
    Parameters
        w, mask [fan_in, fan_out]; mask is overwritten. unit [fan_out]. max_code: integer. beta: number ≥ 1.
    """
    one, zero = splat_like(1.0, w), splat_like(0.0, w)
    two, three = splat_like(2.0, w), splat_like(3.0, w)
    steepness, high, low = splat_like(beta, w), splat_like(max_code, w), splat_like(-max_code, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        width = load_part(unit, column, count)
        for row in range(w.shape[0]):
            a = load_part(w, (row, column), count) / width
            z = absolute(a - nearest_integer(clipped(a, low, high))) * steepness
            inside = one - z * z * (three - two * z)
            store_part(mask, (row, column), select(z < one, inside, zero), count)


class SmoothstepPlateau(Hardening):
    """Gradients pass at the codes and are blocked between them."""

    name: ClassVar[str] = "smoothstep_plateau"
    equation: ClassVar[str] = "m(w) = 1 − z²(3 − 2z) for z < 1, else 0; z = β·distance of w/s from the nearest code"
    source: ClassVar[str] = "an earlier C program of the sine study, which had the window at the codes"

    def mask(self, w_latent: Array, unit: Array, max_code: int, progress: Progress, mask: Array) -> bool:
        """Write the window."""
        plateau_mask(w_latent, unit, max_code, self.beta(progress), mask)
        return True

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """±(z − z³ + z⁴/2)·s/β around each code, constant between windows."""
        beta = self.beta(progress)
        offset = w / unit - np.clip(np.rint(w / unit), -max_code, max_code)
        z = np.minimum(np.abs(offset) * beta, 1.0)
        return np.asarray(np.sign(offset) * (z - z**3 + z**4 / 2) * unit / beta)

    def kinks(self, unit: Array, max_code: int, progress: Progress) -> Array:
        """Codes, edges of their windows, and the boundaries between codes."""
        codes = np.arange(-max_code, max_code + 1).astype(float)
        reach = 1.0 / self.beta(progress)
        points = np.concatenate([codes, codes - reach, codes + reach, codes[:-1] + 0.5])
        return np.outer(points, unit)
