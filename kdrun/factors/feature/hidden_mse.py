"""Hidden values of the teacher, matched one by one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.losses import hidden_distance
from kdrun.factors.contract import Arrays, Batch, Context, Progress, Term, TermResult


class HiddenMse(Term):
    """The mean squared distance from the first teacher's hidden values, which must be as many."""

    name: ClassVar[str] = "hidden_mse"
    equation: ClassVar[str] = "L = λ2·(1/H) Σ_i (h_i − h_i^teacher)²"
    source: ClassVar[str] = "the source on valence weighting: its L_KD_feature, of the one hidden layer that a CfC has"
    want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"hidden"})
    same_width: ClassVar[frozenset[str]] = frozenset({"hidden"})

    coefficient: float = Field(0.4, ge=0.0, le=1e3, description="λ2, its coefficient in the loss")

    def weight(self, progress: Progress) -> float:
        """λ2."""
        return self.coefficient

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample and gradient 2(h − h_teacher)/H."""
        hidden, reference = student["hidden"], teachers[0]["hidden"]
        samples, units = hidden.shape[-2:]
        value, dhidden = np.empty(samples), np.empty_like(hidden)
        over_time = (-1, samples, units)
        hidden_distance(hidden.reshape(over_time), reference.reshape(over_time), 2.0, value, dhidden.reshape(over_time))
        return TermResult(2.0 * value, {"hidden": dhidden})
