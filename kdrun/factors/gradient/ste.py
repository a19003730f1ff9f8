"""The straight-through estimator: the gradient passes a quantizer as if it were not there."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.factors.contract import Array, GradientShape, Progress


class Ste(GradientShape):
    """m(w) = 1."""

    name: ClassVar[str] = "ste"
    equation: ClassVar[str] = "m(w) = 1"
    source: ClassVar[str] = (
        "Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013 (arXiv 1308.3432)"
    )

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """w."""
        return w

    def kinks(self, unit: Array, max_code: int, progress: Progress) -> Array:
        """None."""
        return np.empty((0, unit.size), unit.dtype)
