"""The mercy gate: an update after which the student expects too little good of what comes is undone."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kdrun.core.losses import mean_of
from kdrun.core.softmax import log_softmax
from kdrun.core.valence import expected_rows
from kdrun.factors.contract import Array, Batch, Candidate, Context, Forward, Gate

OUTPUTS = frozenset({"logits", "valence"})


class Mercy(Gate):
    """The student is rolled forward from the end of the batch, each input what it expects the next regime to emit.

    Its mean valence on the way must be at least `threshold` times the teacher's, rolled forward in the same way, or
    that of the student before the update.
    """

    name: ClassVar[str] = "mercy"
    equation: ClassVar[str] = "keep the update if mean v(rolled `steps` ahead) ≥ threshold·mean v(reference, rolled)"
    source: ClassVar[str] = (
        "the source on valence weighting, section 5; undone after the update, not during the gradient"
    )
    want: ClassVar[frozenset[str]] = OUTPUTS

    threshold: float = Field(0.9, ge=0.0, le=2.0, description="least part of the reference's mean valence")
    steps: int = Field(10, ge=1, le=1000, strict=True, description="steps to roll forward")
    reference: Literal["teacher", "before"] = Field("teacher", description="the teacher, or the student before")
    warmup: float = Field(0.0, ge=0.0, le=1.0, description="part of training in which every update is kept")
    samples: int = Field(8, ge=1, le=10_000, strict=True, description="sequences of the batch that are rolled forward")

    def accept(self, before: Candidate, proposed: Candidate, batch: Batch, context: Context) -> bool:
        """Compare mean valences of what lies ahead."""
        if context.progress.fraction < self.warmup:
            return True
        reference = context.teachers[0] if self.reference == "teacher" else before.forward
        inputs = np.ascontiguousarray(batch.inputs[:, : self.samples])
        emissions = batch.targets["emissions"]
        floor = self.threshold * rolled_valence(reference, inputs, emissions, self.steps)
        found = rolled_valence(proposed.forward, inputs, emissions, self.steps)
        context.record("rolled_valence", found)
        return found >= floor


def rolled_valence(forward: Forward, inputs: Array, emissions: Array, steps: int) -> float:
    """Mean valence over `steps` steps after the inputs [T, B, D], each fed with the expected emission of the next."""
    length, samples, width = inputs.shape
    sequence = np.empty((length + steps, samples, width), inputs.dtype)
    sequence[:length] = inputs
    valences = np.empty((steps, samples))
    for step in range(steps):
        found = forward(sequence[: length + step], OUTPUTS)
        valences[step] = found["valence"][-1, :, 0]
        logits = np.ascontiguousarray(found["logits"][-1])
        p = np.empty_like(logits)
        log_softmax(logits, 1.0, p, np.empty_like(logits))
        expected_rows(p, emissions, sequence[length + step])
    return float(mean_of(valences.reshape(-1)))
