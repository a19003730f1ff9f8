"""Samples of which the teacher expects much good count exponentially more."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.valence import exponential_weights
from kdrun.factors.contract import Array, Arrays, Batch, Context
from kdrun.factors.weighting import BySaliency, record_size


class Valence(BySaliency):
    """w = exp(λz), sample by sample."""

    name: ClassVar[str] = "valence"
    equation: ClassVar[str] = "L = Σ w_i·L_i/N, w_i = exp(λ(s_i − μ)/σ), s = 0.6·mean v + 0.25·min v − 0.15·entropy"
    source: ClassVar[str] = "the source on valence weighting, sections 1 and 4"

    sharpness: float = Field(6.0, ge=0.0, le=20.0, description="λ")

    def weights(
        self, value: Array, teachers: tuple[Arrays, ...], batch: Batch, context: Context
    ) -> tuple[Array, Arrays]:
        """Weights of each sample."""
        weights = np.empty(value.size)
        exponential_weights(self.scores(teachers), self.sharpness, weights)
        record_size(weights, context)
        return weights, {}
