"""The square of all weights."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.core.losses import sum_of_squares
from kdrun.factors.contract import Arrays, Context, Penalty


class L2(Penalty):
    """λ5 times the sum of squares of every latent weight matrix; biases and time constants are left free."""

    name: ClassVar[str] = "l2"
    equation: ClassVar[str] = "L = λ5·‖w‖²"
    source: ClassVar[str] = "textbook; the source on valence weighting: its L_regularization"

    coefficient: float = Field(1e-4, ge=0.0, le=1e3, description="λ5, its coefficient in the loss")

    def evaluate(self, latent: Arrays, context: Context) -> tuple[float, Arrays]:
        """Value, and gradients 2·λ5·w."""
        matrices = {name: w for name, w in latent.items() if w.ndim == 2}
        total = 0.0
        for w in matrices.values():
            total += sum_of_squares(w.reshape(-1))
        return self.coefficient * total, {
            name: w * w.dtype.type(2.0 * self.coefficient) for name, w in matrices.items()
        }
