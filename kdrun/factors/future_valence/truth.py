"""Future valence as it comes."""

from __future__ import annotations

from typing import ClassVar

from kdrun.factors.contract import Array, Arrays, Batch
from kdrun.factors.future_valence import FutureValence


class Truth(FutureValence):
    """The batch's own valence is the target."""

    name: ClassVar[str] = "truth"
    equation: ClassVar[str] = "L = λ4·(v_s − v*)², mean over steps"
    source: ClassVar[str] = "kdrun's catalogue: the other reading of the loss of future valence"

    def target(self, teachers: tuple[Arrays, ...], batch: Batch) -> Array:
        """What the task says."""
        return batch.targets["valence"]
