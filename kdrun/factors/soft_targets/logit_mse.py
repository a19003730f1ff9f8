"""Matching logits themselves: what soft targets tend to as the temperature grows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kdrun.core.jit import kernel
from kdrun.core.softmax import mean_over_times, scale_rows_inplace
from kdrun.factors.contract import Array, Arrays, Batch, Context, TermResult
from kdrun.factors.soft_targets import SoftTargets


@kernel
def centred_distance(student: Array, teacher: Array, rows: Array, dlogits: Array) -> None:
    """Half the mean square of the difference of logits, each centred on its mean over classes.

    Equation
        d_j = s_j − t_j − (1/K) Σ_i (s_i − t_i)     rows = (1/2K) Σ_j d_j²     dlogits = d/K
    Parameters
        student, teacher, dlogits [N, K]; rows float64 [N]. The last two are overwritten.
    """
    classes = student.shape[1]
    share = student.dtype.type(1.0 / classes)
    for n in range(student.shape[0]):
        mean = student.dtype.type(0.0)
        for j in range(classes):
            dlogits[n, j] = student[n, j] - teacher[n, j]
            mean += dlogits[n, j]
        mean *= share
        total = 0.0
        for j in range(classes):
            distance = dlogits[n, j] - mean
            total += np.float64(distance) * np.float64(distance)
            dlogits[n, j] = distance * share
        rows[n] = 0.5 * total / classes


class LogitMse(SoftTargets):
    """The squared distance of centred logits; no temperature acts on it."""

    name: ClassVar[str] = "logit_mse"
    equation: ClassVar[str] = "L = (1/2K) Σ_j d_j², d = z_s − z_t less its mean over classes, ∂L/∂z_s = d/K"
    source: ClassVar[str] = (
        "Ba and Caruana, Do deep nets really need to be deep?, 2014 (arXiv 1312.6184); centred, as T²·KL is for T → ∞"
    )

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample and gradient of the logits."""
        logits = student["logits"]
        z_s, z_t = (found["logits"].reshape(-1, logits.shape[-1]) for found in (student, teachers[0]))
        rows, value, dlogits = np.empty(len(z_s)), np.empty(logits.shape[-2]), np.empty_like(z_s)
        shares = batch.shares(len(rows))
        centred_distance(z_s, z_t, rows, dlogits)
        mean_over_times(rows, shares, value)
        scale_rows_inplace(dlogits, shares)
        return TermResult(value, {"logits": dlogits.reshape(logits.shape)})
