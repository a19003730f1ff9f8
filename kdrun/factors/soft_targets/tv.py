"""Total variation: half the absolute difference of probabilities."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.jit import kernel
from kdrun.core.softmax import log_softmax
from kdrun.factors.contract import Array, Arrays, Batch, Context, Temperature
from kdrun.factors.soft_targets import Divergence

# How far a logit may move in the steps of the gradient check: q_j then moves by less than q_j times that, over T.
REACH = 0.04


@kernel
def tv(p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
    """Half the sum of absolute differences.

    Equation
        rows = ½Σ_j |q_j − p_j|     σ_j = sign(q_j − p_j)
        du_j = ½q_j·(σ_j − Σ_i q_i·σ_i)     da_j = −½p_j·(σ_j − Σ_i p_i·σ_i)
    Parameters
        p, log_p, q, log_q [N, K]: teacher and student. rows float64 [N], du, da [N, K]: overwritten.
    """
    half, one, zero = p.dtype.type(0.5), p.dtype.type(1.0), p.dtype.type(0.0)
    for n in range(p.shape[0]):
        total, mean_q, mean_p = zero, zero, zero
        for j in range(p.shape[1]):
            difference = q[n, j] - p[n, j]
            sign = one if difference > zero else (-one if difference < zero else zero)
            total += sign * difference
            mean_q += q[n, j] * sign
            mean_p += p[n, j] * sign
            du[n, j] = sign
        rows[n] = 0.5 * np.float64(total)
        for j in range(p.shape[1]):
            sign = du[n, j]
            du[n, j] = half * q[n, j] * (sign - mean_q)
            da[n, j] = -half * p[n, j] * (sign - mean_p)


class Tv(Divergence):
    """Total variation: what speculative decoding accepts by."""

    name: ClassVar[str] = "tv"
    equation: ClassVar[str] = "L = ½Σ|q_j − p_j|, ∂L/∂z_j = ½q_j(σ_j − Σqσ)/T, σ = sign(q − p)"
    source: ClassVar[str] = (
        "Wen et al., f-divergence minimization for sequence-level knowledge distillation, 2023 (arXiv 2307.15190); as"
        " a distance of distributions in Zhou et al., DistillSpec, 2024 (arXiv 2310.08461)"
    )

    check_step: ClassVar[float] = 0.1

    t_squared: bool = Field(False, description="multiply by T², so that gradients do not fall with T")

    def divergence(self, p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
        """Total variation."""
        tv(p, log_p, q, log_q, rows, du, da)

    def is_smooth(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> bool:
        """Whether no probability that counts is near the teacher's, where its sign changes."""
        temperature, found = context.hyper.get("temperature", Temperature()).value, []
        for outputs in (student, teachers[0]):
            logits = outputs["logits"].reshape(-1, outputs["logits"].shape[-1])
            probabilities = np.empty_like(logits)
            log_softmax(logits, temperature, probabilities, np.empty_like(logits))
            found.append(probabilities)
        q, p = found
        counts = batch.shares(len(q)) > 0.0
        return bool((np.abs(q - p) > REACH / temperature * q)[counts].all())
