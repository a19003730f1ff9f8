"""Logits of a student and a teacher for soft targets and temperatures, and how they are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdrun.core.losses import mean_of
from kdrun.factors.contract import Batch, Context, Level, Progress, Temperature, TermResult
from kdrun.factors.discover import levels
from tests.factors.discovered import STREAM

SOFT_TARGETS: dict[str, Any] = {name: level() for name, level in levels("soft_targets").items()}
WITH_TEMPERATURE = {name: level for name, level in SOFT_TARGETS.items() if level.hyper_names}
# Outputs [B, K] and [T, B, K]: one row and several, two classes, fewer than a vector holds, and more.
SHAPES = ((1, 2), (5, 17), (1, 1, 2), (3, 4, 5), (2, 3, 17))


class Case:
    """A soft target on random logits, at a temperature, with a mask where one is asked for."""

    def __init__(
        self,
        level: Any,
        shape: tuple[int, ...] = (3, 4, 5),
        dtype: Any = "float64",
        temperature: Temperature = Temperature.fixed(1.5),  # noqa: B008
        masked: bool = False,
        seed: int = 1,
    ) -> None:
        rng = np.random.default_rng(seed)

        def logits() -> Any:
            return rng.uniform(-3.0, 3.0, shape).astype(np.float32).astype(dtype)

        self.level = level
        self.student, self.teacher = logits(), logits()
        self.mask = None
        if masked:
            self.mask = rng.choice([0.0, 0.5, 1.0], shape[:-1]).astype(dtype)
            self.mask.flat[0] = 1.0
        self.batch = Batch(np.zeros((*shape[:-1], 1), dtype), {}, self.mask)
        hyper = {"temperature": temperature} if level.hyper_names else {}
        self.context = Context({}, {}, Progress(0, 1), STREAM, hyper)

    @property
    def timed(self) -> tuple[Any, Any, Any]:
        """Student and teacher as [T, B, K], and the mask as [T, B] or None."""
        shape = self.student.shape if self.student.ndim == 3 else (1, *self.student.shape)
        mask = None if self.mask is None else self.mask.reshape(shape[:-1])
        return self.student.reshape(shape), self.teacher.reshape(shape), mask

    def evaluate(self) -> TermResult:
        """Value and gradients."""
        result: TermResult = self.level.evaluate(
            {"logits": self.student}, ({"logits": self.teacher},), self.batch, self.context
        )
        return result

    def value(self) -> float:
        """The mean over samples."""
        return float(mean_of(self.evaluate().value))

    def gradient(self) -> Any:
        """By the student's logits."""
        return self.evaluate().d_outputs["logits"]

    @property
    def is_smooth(self) -> bool:
        """Whether finite differences stay clear of kinks."""
        student, teachers = {"logits": self.student}, ({"logits": self.teacher},)
        return bool(self.level.is_smooth(student, teachers, self.batch, self.context))


def smooth_case(level: Level, **named: Any) -> Case:
    """The first case, by its seed, that finite differences can be taken of."""
    return next(case for seed in range(1, 2000) if (case := Case(level, seed=seed, **named)).is_smooth)
