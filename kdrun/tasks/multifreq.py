"""One step ahead on a sum of three sines whose frequencies have no common period."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdrun.core.elementary import SINE_LIMIT
from kdrun.core.random import Stream
from kdrun.core.signals import sine_sum_batches
from kdrun.factors.contract import Array
from kdrun.tasks.one_step import OneStepAhead

# 1, √2, π.
FREQUENCIES = (1.0, 1.4142135623730951, 3.141592653589793)
# A demonstration shows two periods of the slowest sine.
SHOWN_PERIOD = 6.283185307179586
FEWEST_GIVEN = 8


class MultifreqEvaluation(BaseModel):
    """What evaluation runs on: evenly spaced start times, the same in every replicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    starts: int = Field(32, ge=1, le=10_000, strict=True, description="number of start times span·k/starts")
    steps: int = Field(100, ge=1, le=100_000, strict=True, description="steps of each sequence")


class Multifreq(OneStepAhead):
    """x(t) = sin t + sin √2·t + sin π·t, target x(t + dt). Training draws start times; evaluation spaces them evenly.

    The signal never repeats, so a start time says more than a phase: the three sines are at an angle of their own each.
    It is computed in double precision and then rounded, so that both precisions see the same signal.
    """

    name: ClassVar[str] = "multifreq"
    title: ClassVar[str] = "one step ahead on sin t + sin √2·t + sin π·t from a random start time"
    source: ClassVar[str] = "kdrun, docs/tasks.md"
    time_label: ClassVar[str] = "Time (radians of the slowest sine)"
    value_label: ClassVar[str] = "Signal (three sines of amplitude 1)"

    dt: float = Field(0.1, gt=0, le=100, description="time between two steps")
    span: float = Field(1000.0, ge=0, le=1e4, description="start times lie between 0 and this")
    eval: MultifreqEvaluation = MultifreqEvaluation()

    @classmethod
    def example(cls) -> Multifreq:
        """Three sequences of ten steps."""
        return cls(steps=10, sequences=3)

    @model_validator(mode="after")
    def _angles_within_reach(self) -> Multifreq:
        end = self.span + (max(self.steps, self.eval.steps) + 1) * self.dt
        if max(FREQUENCIES) * end > SINE_LIMIT:
            most = SINE_LIMIT / max(FREQUENCIES)
            raise ValueError(f"span + steps·dt reaches {end:.6g}, but sin π·t is computed up to t = {most:.6g}")
        return self

    @property
    def step_time(self) -> float:
        """dt."""
        return self.dt

    @property
    def evaluation_steps(self) -> int:
        """eval.steps."""
        return self.eval.steps

    def drawn_phases(self, stream: Stream, first: int, epochs: int, dtype: DTypeLike) -> Array:
        """Start times from U(0, span), in double precision; all 0 where the span is."""
        return stream.uniform_steps(first, epochs, (self.sequences,), 0.0, self.span, "float64")

    def evaluation_phases(self, dtype: DTypeLike) -> Array:
        """The fixed start times span·k/starts."""
        return np.arange(self.eval.starts) * np.float64(self.span / self.eval.starts)

    def signals(self, phases: Array, steps: int, dtype: DTypeLike) -> Array:
        """Sums of sines, rounded to the dtype."""
        signals = np.empty((len(phases), steps + 1, phases.shape[1], 1))
        sine_sum_batches(phases, self.dt, np.array(FREQUENCIES), signals[..., 0])
        return signals.astype(dtype)

    def shown(self, dtype: DTypeLike) -> tuple[Array, int, int]:
        """Two periods of the slowest sine from time 0, after one of true input."""
        given = max(FEWEST_GIVEN, round(SHOWN_PERIOD / self.dt))
        return np.zeros(1), 3 * given, given
