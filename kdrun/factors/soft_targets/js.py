"""The Jensen-Shannon divergence: bounded, and the same in both directions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from kdrun.core.elementary import log, smallest_normal
from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, load_part, select, splat_like, store_part
from kdrun.factors.contract import Array
from kdrun.factors.soft_targets import Divergence


@kernel
def js(p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
    """The mean of the divergences of both distributions from their mean.

    Equation
        m = (p + q)/2     rows = ½Σ_j p_j·log(p_j/m_j) + ½Σ_j q_j·log(q_j/m_j)
        du_j = ½q_j·(log(q_j/m_j) − KL(q‖m))     da_j = ½p_j·(log(p_j/m_j) − KL(p‖m))
    Parameters
        p, log_p, q, log_q [N, K]: teacher and student. rows float64 [N], du, da [N, K]: overwritten.
    """
    half = p.dtype.type(0.5)
    for n in range(p.shape[0]):
        for j in range(0, p.shape[1], LANES):
            count = min(LANES, p.shape[1] - j)
            mean = splat_like(0.5, p) * (load_part(p, (n, j), count) + load_part(q, (n, j), count))
            # A class that neither finds possible counts nothing, whatever its logarithm.
            log_m = log(select(mean < smallest_normal(mean), smallest_normal(mean), mean))
            store_part(du, (n, j), load_part(log_q, (n, j), count) - log_m, count)
            store_part(da, (n, j), load_part(log_p, (n, j), count) - log_m, count)
        from_q, from_p = 0.0, 0.0
        for j in range(p.shape[1]):
            from_q += np.float64(q[n, j] * du[n, j])
            from_p += np.float64(p[n, j] * da[n, j])
        rows[n] = 0.5 * from_q + 0.5 * from_p
        mean_q, mean_p = p.dtype.type(from_q), p.dtype.type(from_p)
        for j in range(p.shape[1]):
            du[n, j] = half * q[n, j] * (du[n, j] - mean_q)
            da[n, j] = half * p[n, j] * (da[n, j] - mean_p)


class Js(Divergence):
    """The Jensen-Shannon divergence."""

    name: ClassVar[str] = "js"
    equation: ClassVar[str] = "L = ½KL(p‖m) + ½KL(q‖m), m = (p + q)/2, ∂L/∂z_j = ½q_j[log(q_j/m_j) − KL(q‖m)]/T"
    source: ClassVar[str] = (
        "Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37(1), 1991"
    )

    t_squared: bool = Field(False, description="multiply by T², so that gradients do not fall with T")

    def divergence(self, p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
        """The Jensen-Shannon divergence."""
        js(p, log_p, q, log_q, rows, du, da)
