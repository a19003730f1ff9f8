"""All samples count alike, as where no weighting is: the level to compare with."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.factors.contract import Array, Arrays, Batch, Context, Weighting
from kdrun.factors.weighting import record_size


class Uniform(Weighting):
    """w = 1."""

    name: ClassVar[str] = "uniform"
    equation: ClassVar[str] = "w_i = 1"
    source: ClassVar[str] = "textbook"

    def weights(
        self, value: Array, teachers: tuple[Arrays, ...], batch: Batch, context: Context
    ) -> tuple[Array, Arrays]:
        """Ones."""
        weights = np.ones(value.size)
        record_size(weights, context)
        return weights, {}
