"""Half a cosine from the full learning rate down to a part of it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.elementary import cos_array
from kdrun.factors.contract import LearningRateSchedule, Progress

PI = 3.141592653589793


class Cosine(LearningRateSchedule):
    """A smooth fall over the whole of training."""

    name: ClassVar[str] = "cosine"
    equation: ClassVar[str] = "lr(p) = lr·(final + (1 − final)·(1 + cos πp)/2)"
    source: ClassVar[str] = "Loshchilov and Hutter, SGDR, 2017 (arXiv 1608.03983), without restarts"

    final: float = Field(0.1, ge=0.0, le=1.0, description="part of the learning rate that is left at the end")

    def factor(self, progress: Progress) -> float:
        """From 1 to `final`; the cosine is the core's, whose bits are the same everywhere."""
        angle, cosine = np.array([PI * progress.fraction]), np.empty(1)
        cos_array(angle, cosine)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + float(cosine[0]))
