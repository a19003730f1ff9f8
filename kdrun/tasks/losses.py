"""Losses that tasks share, as terms."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.core.losses import masked_squared_error, squared_error
from kdrun.core.softmax import cross_entropy, log_softmax, mean_over_times, scale_rows_inplace
from kdrun.factors.contract import Arrays, Batch, Context, Term, TermResult


class SquaredError(Term):
    """Half the squared error of the prediction, averaged over sequences and times, or over what the mask leaves."""

    name: ClassVar[str] = "squared_error"
    source: ClassVar[str] = "textbook"
    equation: ClassVar[str] = "L = mean over b, t of ½ Σ_o (y − y*)²"
    want: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sequence and gradient of the prediction."""
        prediction = student["prediction"]
        value, dprediction = np.empty(prediction.shape[1]), np.empty(prediction.shape, prediction.dtype)
        if batch.mask is None:
            squared_error(prediction, batch.targets["y"], value, dprediction)
        else:
            masked_squared_error(prediction, batch.targets["y"], batch.mask, value, dprediction)
        return TermResult(value, {"prediction": dprediction})


class CrossEntropy(Term):
    """Minus the log-probability of the right class, averaged over samples and times, or over what the mask leaves."""

    name: ClassVar[str] = "cross_entropy"
    source: ClassVar[str] = "textbook"
    equation: ClassVar[str] = "L = mean over b, t of −log softmax(logits)[label]"
    want: ClassVar[frozenset[str]] = frozenset({"logits"})

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample and gradient of the logits."""
        logits = student["logits"]
        rows_of = logits.reshape(-1, logits.shape[-1])
        p, log_p, dlogits = np.empty_like(rows_of), np.empty_like(rows_of), np.empty_like(rows_of)
        rows, value, shares = np.empty(len(rows_of)), np.empty(logits.shape[-2]), batch.shares(len(rows_of))
        log_softmax(rows_of, 1.0, p, log_p)
        cross_entropy(p, log_p, batch.targets["label"].reshape(-1), rows, dlogits)
        mean_over_times(rows, shares, value)
        scale_rows_inplace(dlogits, shares)
        return TermResult(value, {"logits": dlogits.reshape(logits.shape)})
