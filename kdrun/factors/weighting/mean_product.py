"""The mean loss times the mean weight: what becomes of valence weighting where both are averaged first."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.losses import mean_of
from kdrun.core.valence import exponential_weights
from kdrun.factors.contract import Array, Arrays, Batch, Context
from kdrun.factors.weighting import BySaliency, record_size


class MeanProduct(BySaliency):
    """mean(L)·mean(w): every sample has the same weight, and only the step's size changes."""

    name: ClassVar[str] = "mean_product"
    equation: ClassVar[str] = "L = (Σ L_i/N)·(Σ w_i/N), w_i = exp(λ(s_i − μ)/σ)"
    source: ClassVar[str] = "the other reading of the source on valence weighting; it weights no sample"

    sharpness: float = Field(6.0, ge=0.0, le=20.0, description="λ")

    def weights(
        self, value: Array, teachers: tuple[Arrays, ...], batch: Batch, context: Context
    ) -> tuple[Array, Arrays]:
        """The mean weight, for every sample."""
        weights = np.empty(value.size)
        exponential_weights(self.scores(teachers), self.sharpness, weights)
        shared = np.full(value.size, mean_of(weights))
        record_size(shared, context)
        return shared, {}
