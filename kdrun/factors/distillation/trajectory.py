"""Trajectory distillation with a growing weight: the student's hidden states follow the teacher's."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.losses import hidden_distance
from kdrun.factors.contract import Arrays, Batch, Context, Progress, Term, TermResult


class Trajectory(Term):
    """Half the mean squared distance of hidden states, sharing the loss with the task: α grows with training."""

    name: ClassVar[str] = "trajectory"
    equation: ClassVar[str] = "L = (1 − α)·L_task + α·(1/2H) Σ_i (h_i − h_i^teacher)², α from start to end"
    source: ClassVar[str] = "the sine study"
    want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"hidden"})

    start: float = Field(0.3, ge=0.0, le=1.0, description="α of the first step")
    end: float = Field(0.8, ge=0.0, le=1.0, description="α that the last step approaches")

    def weight(self, progress: Progress) -> float:
        """α."""
        return self.start + (self.end - self.start) * progress.fraction

    def supervised_weight(self, progress: Progress) -> float:
        """1 − α."""
        return 1.0 - self.weight(progress)

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Distance from the first teacher's states on the same inputs."""
        hidden = student["hidden"]
        value, dhidden = np.empty(hidden.shape[1]), np.empty_like(hidden)
        hidden_distance(hidden, teachers[0]["hidden"], value, dhidden)
        return TermResult(value, {"hidden": dhidden})
