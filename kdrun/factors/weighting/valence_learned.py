"""Valence weighting whose sharpness is learned."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from kdrun.core.elementary import log_array, sigmoid_array
from kdrun.core.losses import mean_of
from kdrun.core.random import Stream
from kdrun.core.valence import exponential_weights
from kdrun.factors.contract import Array, Arrays, Batch, Context, GroupSettings, Progress, Shapes
from kdrun.factors.weighting import BySaliency, record_size


class ValenceLearned(BySaliency):
    """λ = highest·sigmoid(θ), so that it stays between 0 and `highest` whichever way it goes.

    `descent` and `ascent` follow ∂L/∂λ = Σ L_i·w_i·z_i/N down or up. Descent lowers λ even where all losses are equal,
    since Σ w_i grows with λ; the source says that λ rises. `normalised` divides the weights by their mean and descends:
    the gradient is then a covariance of z and the losses.
    """

    name: ClassVar[str] = "valence_learned"
    equation: ClassVar[str] = (
        "w_i = exp(λz_i) (normalised: over their mean), ∂L/∂λ = Σ L_i·w_i·z_i/N (normalised: Σ L_i·w_i·(z_i − Σ"
        " w_j·z_j/N)/N)"
    )
    source: ClassVar[str] = "the source on valence weighting, section 4; three readings"

    update: Literal["descent", "ascent", "normalised"] = Field("descent", description="how λ follows its gradient")
    start: float = Field(6.0, gt=0.0, le=20.0, description="λ of the first step")
    highest: float = Field(10.0, gt=0.0, le=20.0, description="the bound that λ approaches at most")
    lr: float = Field(10.0, gt=0.0, le=1e6, description="the learning rate of θ over that of the network")

    @model_validator(mode="after")
    def _starts_below_the_bound(self) -> ValenceLearned:
        if not self.start < self.highest:
            raise ValueError(f"start is {self.start:g}; it must lie below highest, {self.highest:g}")
        return self

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        """θ at the starting sharpness."""
        theta = np.empty(1)
        log_array(np.array([self.start / (self.highest - self.start)]), theta)
        return {"theta": theta.astype(shapes.dtype)}, {}

    def group(self, progress: Progress) -> GroupSettings:
        """Its own rate; ascent reverses the gradient."""
        return GroupSettings(lr=self.lr, sign=-1.0 if self.update == "ascent" else 1.0)

    def weights(
        self, value: Array, teachers: tuple[Arrays, ...], batch: Batch, context: Context
    ) -> tuple[Array, Arrays]:
        """Weights of each sample, and the gradient of θ."""
        z, weights, s = self.scores(teachers), np.empty(value.size), np.empty_like(context.own["theta"])
        sigmoid_array(context.own["theta"], s)
        share = float(s[0])
        exponential_weights(z, self.highest * share, weights)
        offset = 0.0
        if self.update == "normalised":
            weights /= mean_of(weights)
            offset = mean_of(weights * z)
        record_size(weights, context)
        context.record("sharpness", self.highest * share)
        slope = mean_of(value * weights * (z - offset))
        return weights, {"theta": np.array([slope * self.highest * share * (1.0 - share)])}
