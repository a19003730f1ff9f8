"""Trajectory distillation with a growing weight: the student's hidden states follow the teacher's."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.distillation import HiddenDistance


class Trajectory(HiddenDistance):
    """The weight of the trajectory grows with training."""

    name: ClassVar[str] = "trajectory"
    equation: ClassVar[str] = "L = (1 − α)·L_task + α·(1/2H) Σ_i (h_i − h_i^teacher)², α from start to end"
    source: ClassVar[str] = "the sine study"

    start: float = Field(0.3, ge=0.0, le=1.0, description="α of the first step")
    end: float = Field(0.8, ge=0.0, le=1.0, description="α that the last step approaches")
