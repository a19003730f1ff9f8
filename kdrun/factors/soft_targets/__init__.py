"""Soft targets: what the student learns from the teacher's distribution over classes."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from kdrun.core.losses import mean_of
from kdrun.core.softmax import log_softmax, mean_over_times, scale_rows_inplace, temperature_slope
from kdrun.factors.contract import (
    Array,
    Arrays,
    Batch,
    Context,
    Family,
    Progress,
    Temperature,
    Term,
    TermResult,
)

FAMILY = Family(
    name="soft_targets",
    contract=Term,
    key="student.soft_targets",
    default=None,
    title="what the student learns from the teacher's distribution over classes",
)


class SoftTargets(Term):
    """A term on the logits of student and first teacher, which shares the loss with the task by k, or adds to it."""

    want: ClassVar[frozenset[str]] = frozenset({"logits"})
    teacher_want: ClassVar[frozenset[str]] = frozenset({"logits"})

    kd_weight: float = Field(0.5, ge=0.0, le=1e3, description="k of the first step")
    kd_weight_end: float | None = Field(None, ge=0.0, le=1e3, description="k that the last step approaches; none: k")
    mix: bool = Field(True, description="(1 − k)·L_task + k·L_soft; if false, L_task + k·L_soft")

    @model_validator(mode="after")
    def _shares_are_not_negative(self) -> Self:
        for key in ("kd_weight", "kd_weight_end"):
            if self.mix and (getattr(self, key) or 0.0) > 1.0:
                raise ValueError(
                    f"{key} is {getattr(self, key):g}, which leaves the task's own loss a negative share; it must lie"
                    " in 0 … 1, or mix be false"
                )
        return self

    def weight(self, progress: Progress) -> float:
        """k, linear in progress."""
        end = self.kd_weight if self.kd_weight_end is None else self.kd_weight_end
        return self.kd_weight + (end - self.kd_weight) * progress.fraction

    def supervised_weight(self, progress: Progress) -> float:
        """1 − k, or 1 where the term is added."""
        return 1.0 - self.weight(progress) if self.mix else 1.0


class Divergence(SoftTargets):
    """A divergence D(p, q) of p = softmax(z_t/T), the teacher, and q = softmax(z_s/T), the student.

    A level says how D and its gradients by u = z_s/T and a = z_t/T follow from p and q; all the rest is the same.
    Distributions are computed in float64 whatever the logits are: where they agree, D is a small rest of large parts.
    """

    hyper_names: ClassVar[tuple[str, ...]] = ("temperature",)
    # Exponentials of exponentials: with the check's own step their sixth differences still show.
    check_step: ClassVar[float] = 0.3

    t_squared: bool = Field(description="multiply by T², so that gradients do not fall with T")

    def divergence(self, p: Array, log_p: Array, q: Array, log_q: Array, rows: Array, du: Array, da: Array) -> None:
        """Write D of each row, float64 [N], and its gradients by u and a [N, K], from distributions [N, K]."""
        raise NotImplementedError

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sample, and gradients of the logits and, where it is learned, of the temperature."""
        temperature = context.hyper.get("temperature", Temperature())
        factor = temperature.squared if self.t_squared else 1.0
        logits = student["logits"]
        z_s, z_t = (_in_double(found["logits"]) for found in (student, teachers[0]))
        rows, du, da = self._rows(z_s, z_t, temperature.value)
        value, shares = np.empty(logits.shape[-2]), batch.shares(len(rows))
        mean_over_times(rows, shares, value)
        d_hyper = {}
        if temperature.is_learned:
            slope = np.empty_like(rows)
            temperature_slope(du, da, z_s, z_t, temperature.value, slope)
            d_hyper["temperature"] = self._by_temperature(slope, shares, value, factor, context)
        scale_rows_inplace(du, shares * (factor / temperature.value))
        dlogits = du.reshape(logits.shape).astype(logits.dtype)
        return TermResult(value * factor, {"logits": dlogits}, d_hyper=d_hyper)

    def _rows(self, z_s: Array, z_t: Array, temperature: float) -> tuple[Array, Array, Array]:
        """D of each row and its gradients by u and a, without T²."""
        p, log_p, q, log_q, du, da = (np.empty_like(z_s) for _ in range(6))
        rows = np.empty(len(z_s))
        log_softmax(z_t, temperature, p, log_p)
        log_softmax(z_s, temperature, q, log_q)
        self.divergence(p, log_p, q, log_q, rows, du, da)
        return rows, du, da

    def _by_temperature(self, slope: Array, shares: Array, value: Array, factor: float, context: Context) -> Array:
        """Gradients of the weighted mean value by T with T² held, and by T² [2]."""
        slopes, weights = np.empty_like(value), context.sample_weights
        mean_over_times(slope, shares, slopes)
        if weights is not None:
            slopes, value = slopes * weights, value * weights
        return np.array([factor * mean_of(slopes), mean_of(value) if self.t_squared else 0.0])


def _in_double(logits: Array) -> Array:
    """Logits as rows [N, K] of float64."""
    return logits.reshape(-1, logits.shape[-1]).astype(np.float64)
