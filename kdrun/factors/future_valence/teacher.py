"""Future valence as the teacher predicts it."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Array, Arrays, Batch
from kdrun.factors.future_valence import FutureValence


class Teacher(FutureValence):
    """The first teacher's valence is the target."""

    name: ClassVar[str] = "teacher"
    equation: ClassVar[str] = "L = λ4·(v_s − v_t)², mean over steps"
    source: ClassVar[str] = "the source on valence weighting: its L_valence_future"
    teacher_want: ClassVar[frozenset[str]] = frozenset({"valence"})

    def target(self, teachers: tuple[Arrays, ...], batch: Batch) -> Array:
        """The teacher's."""
        return teachers[0]["valence"]
