"""Trajectory distillation with a falling weight: the teacher leads at first, the task in the end."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.distillation import HiddenDistance


class TrajectoryDecaying(HiddenDistance):
    """The weight of the trajectory falls with training."""

    name: ClassVar[str] = "trajectory_decaying"
    equation: ClassVar[str] = "L = (1 − α)·L_task + α·(1/2H) Σ_i (h_i − h_i^teacher)², α from start to end"
    source: ClassVar[str] = "an earlier note by the author of the sine study, with the schedule reversed"

    start: float = Field(0.8, ge=0.0, le=1.0, description="α of the first step")
    end: float = Field(0.3, ge=0.0, le=1.0, description="α that the last step approaches")
