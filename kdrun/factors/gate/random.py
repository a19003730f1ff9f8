"""A gate that refuses blindly: the control for one that looks."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kdrun.factors.contract import Batch, Candidate, Context, Gate


class Random(Gate):
    """Refuses updates at random, as often as it is told."""

    name: ClassVar[str] = "random"
    equation: ClassVar[str] = "keep the update with probability 1 − rate"
    source: ClassVar[str] = "kdrun's catalogue: a control for the mercy gate"

    rate: float = Field(0.1, ge=0.0, le=1.0, description="probability of a refusal")

    def accept(self, before: Candidate, proposed: Candidate, batch: Batch, context: Context) -> bool:
        """A coin that knows nothing of the batch."""
        chance = context.stream.uniform(context.progress.step, (1,), 0.0, 1.0, "float64")[0]
        return bool(chance >= self.rate)
