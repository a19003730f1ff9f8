"""The same learning rate throughout."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import LearningRateSchedule, Progress


class Constant(LearningRateSchedule):
    """Factor 1."""

    name: ClassVar[str] = "constant"
    equation: ClassVar[str] = "lr(p) = lr"
    source: ClassVar[str] = "textbook"

    def factor(self, progress: Progress) -> float:
        """1."""
        return 1.0
