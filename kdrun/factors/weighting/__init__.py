"""Weights of samples."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.core.softmax import log_softmax
from kdrun.core.valence import effective_sample_size, saliency, standard_scores
from kdrun.factors.contract import Array, Arrays, Context, Family, Weighting

FAMILY = Family(
    name="weighting",
    contract=Weighting,
    key="student.weighting",
    default=None,
    title="how much each sample counts",
)


class BySaliency(Weighting):
    """Weights from the saliency of each sample: what the first teacher predicts of its valence and classes."""

    teacher_want: ClassVar[frozenset[str]] = frozenset({"logits", "valence"})

    def scores(self, teachers: tuple[Arrays, ...]) -> Array:
        """z = (s − μ)/σ of the saliencies of a batch, float64 [B]."""
        logits, valence = teachers[0]["logits"], teachers[0]["valence"]
        rows = logits.reshape(-1, logits.shape[-1])
        p, log_p = np.empty_like(rows), np.empty_like(rows)
        log_softmax(rows, 1.0, p, log_p)
        s, z = np.empty(logits.shape[-2]), np.empty(logits.shape[-2])
        saliency(valence.reshape(-1, s.size), p, log_p, s)
        standard_scores(s, z)
        return z


def record_size(weights: Array, context: Context) -> None:
    """Keep the effective sample size in the run's history."""
    context.record("effective_sample_size", float(effective_sample_size(weights)))
