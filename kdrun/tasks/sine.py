"""One step ahead on a sine wave of unknown phase."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdrun.core.elementary import SINE_LIMIT
from kdrun.core.random import Stream
from kdrun.core.signals import sine_wave_batches
from kdrun.factors.contract import Array
from kdrun.tasks.one_step import OneStepAhead

TWO_PI = 6.283185307179586
# Two periods of a demonstration.
FEWEST_SHOWN = 16


class SineEvaluation(BaseModel):
    """What evaluation runs on: evenly spaced phases, the same in every replicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phases: int = Field(32, ge=1, le=10_000, strict=True, description="number of phases 2πk/phases")
    steps: int = Field(100, ge=1, le=100_000, strict=True, description="steps of each sequence")


class Sine(OneStepAhead):
    """x(t) = sin(t·dt + φ), target x(t + 1). Training draws phases; evaluation covers the circle evenly."""

    name: ClassVar[str] = "sine"
    title: ClassVar[str] = "one step ahead on sine waves of random phase"
    source: ClassVar[str] = "the sine study of kdrun, experiments/sine.yaml"
    time_label: ClassVar[str] = "Time (radians)"
    value_label: ClassVar[str] = "Signal (amplitude 1)"

    dt: float = Field(0.1, gt=0, le=100, description="time between two steps, in radians")
    eval: SineEvaluation = SineEvaluation()

    @classmethod
    def example(cls) -> Sine:
        """Three sequences of ten steps."""
        return cls(steps=10, sequences=3)

    @model_validator(mode="after")
    def _angles_within_reach(self) -> Sine:
        largest = (max(self.steps, self.eval.steps) + 1) * self.dt + TWO_PI
        if largest > SINE_LIMIT:
            raise ValueError(f"steps·dt reaches {largest:.6g}, but sin is computed up to {SINE_LIMIT:.0f}")
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
        """φ from U(0, 2π)."""
        return stream.uniform_steps(first, epochs, (self.sequences,), 0.0, TWO_PI, dtype)

    def evaluation_phases(self, dtype: DTypeLike) -> Array:
        """The fixed phases 2πk/phases."""
        spacing = np.array(TWO_PI / self.eval.phases, dtype)
        return np.asarray(np.arange(self.eval.phases).astype(dtype) * spacing)

    def signals(self, phases: Array, steps: int, dtype: DTypeLike) -> Array:
        """Waves, computed in the dtype."""
        signals = np.empty((len(phases), steps + 1, phases.shape[1], 1), dtype)
        sine_wave_batches(phases, self.dt, signals[..., 0])
        return signals

    def shown(self, dtype: DTypeLike) -> tuple[Array, int, int]:
        """Two periods from phase 0, after one of true input."""
        given = max(FEWEST_SHOWN // 2, round(TWO_PI / self.dt))
        return np.zeros(1, dtype), 3 * given, given
