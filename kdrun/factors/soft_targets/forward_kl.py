"""Hinton's soft targets: the student covers what the teacher thinks possible."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.jit import kernel
from kdrun.factors.contract import Array
from kdrun.factors.soft_targets import Divergence


@kernel
def forward_kl(p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
    """The Kullback-Leibler divergence from student to teacher.

    Equation
        rows = Σ_j p_j·(log p_j − log q_j)     du = q − p     da_j = p_j·(log p_j − log q_j − rows)
    Parameters
        p, log_p, q, log_q [N, K]: teacher and student. rows float64 [N], du, da [N, K]: overwritten.
    """
    for n in range(p.shape[0]):
        total = 0.0
        for j in range(p.shape[1]):
            total += np.float64(p[n, j] * (log_p[n, j] - log_q[n, j]))
        rows[n] = total
        mean = p.dtype.type(total)
        for j in range(p.shape[1]):
            du[n, j] = q[n, j] - p[n, j]
            da[n, j] = p[n, j] * (log_p[n, j] - log_q[n, j] - mean)


class ForwardKl(Divergence):
    """KL(p‖q): mean-seeking."""

    name: ClassVar[str] = "forward_kl"
    equation: ClassVar[str] = "L = T²·KL(p‖q), ∂L/∂z_s = T(q − p)"
    source: ClassVar[str] = "Hinton et al., Distilling the knowledge in a neural network, 2015 (arXiv 1503.02531)"

    t_squared: bool = Field(True, description="multiply by T², so that gradients do not fall with T")

    def divergence(self, p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
        """KL(p‖q)."""
        forward_kl(p, log_p, q, log_q, rows, du, da)
