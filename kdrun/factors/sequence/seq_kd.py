"""The teacher's own answers as labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.softmax import cross_entropy, highest_class, log_softmax, mean_over_times, scale_rows_inplace
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
        logits = student["logits"]
        rows_of = logits.reshape(-1, logits.shape[-1])
        answers = np.empty(len(rows_of), np.int64)
        highest_class(teachers[0]["logits"].reshape(rows_of.shape), answers)
        p, log_p, dlogits = (np.empty_like(rows_of) for _ in range(3))
        rows, value, shares = np.empty(len(rows_of)), np.empty(logits.shape[-2]), batch.shares(len(rows_of))
        log_softmax(rows_of, 1.0, p, log_p)
        cross_entropy(p, log_p, answers, rows, dlogits)
        mean_over_times(rows, shares, value)
        scale_rows_inplace(dlogits, shares)
        return TermResult(value, {"logits": dlogits.reshape(logits.shape)})
