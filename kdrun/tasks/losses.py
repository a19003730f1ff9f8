"""Losses that tasks share, as terms."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.core.losses import (
    masked_squared_error,
    masked_squared_error_of_each,
    squared_error,
    squared_error_of_each,
)
from kdrun.core.softmax import class_loss
from kdrun.factors.contract import Array, Arrays, Batch, Context, Term, TermResult


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

    def evaluate_each(
        self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, weight: float, value: Array, slopes: Arrays
    ) -> None:
        """The same for students side by side."""
        prediction, target, dprediction = student["prediction"], batch.targets["y"], slopes["prediction"]
        if batch.mask is None:
            squared_error_of_each(prediction, target, weight, value, dprediction)
        else:
            masked_squared_error_of_each(prediction, target, batch.mask, weight, value, dprediction)


class CrossEntropy(Term):
    """Minus the log-probability of the right class, averaged over samples and times, or over what the mask leaves."""

    name: ClassVar[str] = "cross_entropy"
    source: ClassVar[str] = "textbook"
    equation: ClassVar[str] = "L = mean over b, t of −log softmax(logits)[label]"
    want: ClassVar[frozenset[str]] = frozenset({"logits"})

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample and gradient of the logits."""
        logits = student["logits"]
        value, dlogits = class_loss(logits, batch.targets["label"], batch.shares(logits[..., 0].size))
        return TermResult(value, {"logits": dlogits})
