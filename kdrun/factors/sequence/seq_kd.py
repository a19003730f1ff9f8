"""The teacher's own answers as labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.softmax import class_loss, highest_class
from kdrun.factors.contract import Arrays, Batch, Context, Progress, Term, TermResult


class SeqKd(Term):
    """Cross-entropy against the class that the teacher finds likeliest at each step."""

    name: ClassVar[str] = "seq_kd"
    equation: ClassVar[str] = "L = −λ3·log softmax(z_s)[argmax z_t]"
    source: ClassVar[str] = (
        "Kim and Rush, Sequence-level knowledge distillation, 2016 (arXiv 1606.07947); the teacher's answer is found"
        " step by step, which is its likeliest sequence where steps do not hang together"
    )
    want: ClassVar[frozenset[str]] = frozenset({"logits"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"logits"})

    coefficient: float = Field(1.0, ge=0.0, le=1e3, description="λ3, its coefficient in the loss")

    def weight(self, progress: Progress) -> float:
        """λ3."""
        return self.coefficient

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample and gradient of the logits."""
        logits, taught = student["logits"], teachers[0]["logits"]
        answers = np.empty(logits.shape[:-1], np.int64)
        highest_class(taught.reshape(-1, taught.shape[-1]), answers.reshape(-1))
        value, dlogits = class_loss(logits, answers, batch.shares(answers.size))
        return TermResult(value, {"logits": dlogits})
