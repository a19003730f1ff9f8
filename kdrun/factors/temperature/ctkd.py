"""A temperature that is learned against the student: it makes distillation hard, more so as training goes on."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from kdrun.core.elementary import cos_array, exp_array, log_array, sigmoid_array
from kdrun.core.random import Stream
from kdrun.factors.contract import (
    Array,
    Arrays,
    Batch,
    Context,
    GroupSettings,
    HyperParameter,
    Progress,
    Shapes,
    Temperature,
)

PI = 3.141592653589793
LOW, REACH = 1.0, 20.0
CLAMP = (1.0, 10.0)


class Ctkd(HyperParameter):
    """One learned number θ whose gradient is reversed: the temperature climbs the loss that the student descends.

    The adversary's strength grows as a cosine from 0 to 1. Here it scales θ's learning rate, since Adam undoes a factor
    of the gradient. The anchor is no part of the game: it is subtracted from the loss that θ climbs, and so pulls.
    """

    name: ClassVar[str] = "ctkd"
    equation: ClassVar[str] = (
        "T = 1 + 20·sigmoid(θ) (log_clamp: T = clip(exp θ, 1, 10)), θ ascends L_soft − anchor·(T − anchor_at)² at the"
        " rate lr·(1 − cos πp)/2"
    )
    source: ClassVar[str] = (
        "Li et al., Curriculum temperature for knowledge distillation, 2023 (arXiv 2211.16231), global temperature; the"
        " anchor and log_clamp are those of a note on its failures"
    )
    provides: ClassVar[str] = "temperature"

    start: float = Field(2.0, gt=LOW, lt=LOW + REACH, description="T of the first step")
    bounded: Literal["sigmoid", "log_clamp"] = Field("sigmoid", description="how T is kept within bounds")
    anchor: float = Field(0.1, ge=0.0, le=1e3, description="how strongly T is drawn to anchor_at")
    anchor_at: float = Field(2.0, ge=LOW, le=LOW + REACH, description="where the anchor lies")
    t_squared: Literal["inside", "outside"] = Field(
        "inside", description="whether T² is part of what θ climbs; outside, it is that of the step before, a constant"
    )
    lr: float = Field(10.0, gt=0.0, le=1e6, description="the learning rate of θ over that of the network")

    @model_validator(mode="after")
    def _starts_within_bounds(self) -> Ctkd:
        if self.bounded == "log_clamp" and not self.start < CLAMP[1]:
            raise ValueError(f"start is {self.start:g}; with log_clamp it must lie below {CLAMP[1]:g}")
        return self

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        """θ at the starting temperature, which is also the one before the first step."""
        odds = (self.start - LOW) / (LOW + REACH - self.start)
        theta = _elementary(log_array, odds if self.bounded == "sigmoid" else self.start)
        return {"theta": np.full(1, theta, shapes.dtype)}, {"before": np.array([self.start])}

    def group(self, progress: Progress) -> GroupSettings:
        """Ascent, growing from nothing to full strength."""
        strength = 0.5 * (1.0 - _elementary(cos_array, PI * progress.fraction))
        return GroupSettings(lr=self.lr * strength, sign=-1.0)

    def value(self, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> Temperature:
        """T, and T² as it is or as it was in the step before."""
        temperature, _ = self._temperature(context)
        squared = temperature if self.t_squared == "inside" else float(context.state["before"][0])
        context.record("temperature", temperature)
        return Temperature(temperature, squared * squared, is_learned=True)

    def _temperature(self, context: Context) -> tuple[float, float]:
        """T and its derivative by θ."""
        theta = context.own["theta"]
        out = np.empty_like(theta)
        if self.bounded == "sigmoid":
            sigmoid_array(theta, out)
            s = float(out[0])
            return LOW + REACH * s, REACH * s * (1.0 - s)
        exp_array(theta, out)
        free = float(out[0])
        clamped = min(max(free, CLAMP[0]), CLAMP[1])
        return clamped, free if clamped == free else 0.0

    def backward(self, d_value: Any, context: Context) -> Arrays:
        """By T, and through T² where that is inside."""
        temperature, slope = self._temperature(context)
        d_temperature = d_value[0] + (2.0 * temperature * d_value[1] if self.t_squared == "inside" else 0.0)
        return {"theta": np.array([slope * d_temperature])}

    def own_loss(self, context: Context) -> tuple[float, Arrays]:
        """Minus the anchor's pull, since θ ascends."""
        temperature, slope = self._temperature(context)
        distance = temperature - self.anchor_at
        return -self.anchor * distance * distance, {"theta": np.array([-2.0 * self.anchor * distance * slope])}

    def remember(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> None:
        """The temperature of this step, for the next."""
        context.state["before"] = np.array([self._temperature(context)[0]])


def _elementary(function: Any, x: float) -> float:
    """One value of an elementary function of the core, in float64."""
    out = np.empty(1)
    function(np.array([x]), out)
    return float(out[0])
