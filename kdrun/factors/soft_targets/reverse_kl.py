"""The other direction of the Kullback-Leibler divergence: the student keeps to one mode of the teacher."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.jit import kernel
from kdrun.factors.contract import Array
from kdrun.factors.soft_targets import Divergence


@kernel
def reverse_kl(p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
    """The Kullback-Leibler divergence from teacher to student.

    Equation
        rows = Σ_j q_j·(log q_j − log p_j)     du_j = q_j·(log q_j − log p_j − rows)     da = p − q
    Parameters
        p, log_p, q, log_q [N, K]: teacher and student. rows float64 [N], du, da [N, K]: overwritten.
    """
    for n in range(p.shape[0]):
        total = 0.0
        for j in range(p.shape[1]):
            total += np.float64(q[n, j] * (log_q[n, j] - log_p[n, j]))
        rows[n] = total
        mean = p.dtype.type(total)
        for j in range(p.shape[1]):
            du[n, j] = q[n, j] * (log_q[n, j] - log_p[n, j] - mean)
            da[n, j] = p[n, j] - q[n, j]


class ReverseKl(Divergence):
    """KL(q‖p): mode-seeking."""

    name: ClassVar[str] = "reverse_kl"
    equation: ClassVar[str] = "L = T²·KL(q‖p), ∂L/∂z_j = T·q_j[log(q_j/p_j) − KL]"
    source: ClassVar[str] = (
        "Gu et al., MiniLLM: knowledge distillation of large language models, 2024 (arXiv 2306.08543), here on classes"
    )

    t_squared: bool = Field(True, description="multiply by T², so that gradients do not fall with T")

    def divergence(self, p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
        """KL(q‖p)."""
        reverse_kl(p, log_p, q, log_q, rows, du, da)
