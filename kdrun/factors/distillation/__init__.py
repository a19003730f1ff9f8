"""Distillation of hidden states from the teacher."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.core.losses import hidden_distance, hidden_distance_of_each
from kdrun.factors.contract import Array, Arrays, Batch, Context, Family, Progress, Term, TermResult

FAMILY = Family(
    name="distillation",
    contract=Term,
    key="student.distillation",
    default=None,
    title="what the student learns from the teacher's hidden states",
)


class HiddenDistance(Term):
    """Half the mean squared distance from the first teacher's hidden states; shares the loss with the task by α.

    It averages over all times: a mask says where an output is judged, and leaves no hidden state out.
    """

    want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    same_width: ClassVar[frozenset[str]] = frozenset({"hidden"})

    start: float
    end: float

    def weight(self, progress: Progress) -> float:
        """α, linear in progress from `start` to `end`."""
        return self.start + (self.end - self.start) * progress.fraction

    def supervised_weight(self, progress: Progress) -> float:
        """1 − α."""
        return 1.0 - self.weight(progress)

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Distance from the first teacher's states on the same inputs."""
        hidden = student["hidden"]
        value, dhidden = np.empty(hidden.shape[1]), np.empty(hidden.shape, hidden.dtype)
        hidden_distance(hidden, teachers[0]["hidden"], 1.0, value, dhidden)
        return TermResult(value, {"hidden": dhidden})

    def evaluate_each(
        self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, weight: float, value: Array, slopes: Arrays
    ) -> None:
        """The same for students side by side."""
        hidden_distance_of_each(student["hidden"], teachers[0]["hidden"], weight, value, slopes["hidden"])
