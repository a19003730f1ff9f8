"""A learning rate that drops by a constant factor at regular points of training."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.contract import LearningRateSchedule, Progress


class Step(LearningRateSchedule):
    """`drops` equal falls, evenly spaced."""

    name: ClassVar[str] = "step"
    equation: ClassVar[str] = "lr(p) = lr·ratio^floor(p·(drops + 1))"
    source: ClassVar[str] = "textbook"

    drops: int = Field(2, ge=1, le=1000, strict=True, description="how often the rate falls")
    ratio: float = Field(0.1, gt=0.0, le=1.0, description="what each fall leaves of the rate")

    def factor(self, progress: Progress) -> float:
        """A product, not a power, so that its bits are the same everywhere."""
        left = 1.0
        for _ in range((progress.step * (self.drops + 1)) // progress.steps):
            left *= self.ratio
        return left
