"""Adam."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.adam import adam_inplace
from kdrun.core.arrays import zeros
from kdrun.factors.contract import Array, Optimizer


class Adam(Optimizer):
    """Adaptive moments with bias correction."""

    name: ClassVar[str] = "adam"
    equation: ClassVar[str] = "θ ← θ − lr·m̂/(√v̂ + ε), m and v averages of g and g² with bias correction"
    source: ClassVar[str] = "Kingma and Ba, Adam: a method for stochastic optimization, 2015 (arXiv 1412.6980)"

    lr: float = Field(1e-3, gt=0, le=1e3, description="learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the average of gradients")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the average of squared gradients")
    epsilon: float = Field(1e-8, gt=0, le=1, description="added to the root, against division by zero")
    clip: float | None = Field(5.0, gt=0, description="largest norm of the gradient over all parameters of the network")

    def start(self, size: int, dtype: np.dtype[Any]) -> dict[str, Array]:
        """Zero moments, and the zeroth powers of β₁ and β₂."""
        return {"mean": zeros(size, dtype), "square": zeros(size, dtype), "powers": np.ones(2)}

    def update_inplace(self, flat: Array, gradient: Array, memory: dict[str, Array], factor: float, lr: float) -> None:
        """One step."""
        adam_inplace(
            flat, gradient, memory["mean"], memory["square"], memory["powers"],
            factor, lr, self.beta1, self.beta2, self.epsilon,
        )  # fmt: skip
