"""Future valence: what the student learns of the worth of coming steps."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.core.losses import squared_distance
from kdrun.factors.contract import Array, Arrays, Batch, Context, Family, Progress, Term, TermResult

FAMILY = Family(
    name="future_valence",
    contract=Term,
    key="student.future_valence",
    default=None,
    title="what the student learns of the worth of coming steps",
)


class FutureValence(Term):
    """The squared error of the student's valence, averaged over steps. A level says from whom it learns."""

    want: ClassVar[frozenset[str]] = frozenset({"valence"})

    coefficient: float = Field(0.6, ge=0.0, le=1e3, description="λ4, its coefficient in the loss")

    def weight(self, progress: Progress) -> float:
        """λ4."""
        return self.coefficient

    def target(self, teachers: tuple[Arrays, ...], batch: Batch) -> Array:
        """Valences to learn [T, B, 1]."""
        raise NotImplementedError

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample and gradient 2(v − v*) of the valence."""
        value, dvalence = squared_distance(student["valence"], self.target(teachers, batch))
        return TermResult(value, {"valence": dvalence})
