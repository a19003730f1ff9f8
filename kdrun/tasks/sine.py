"""One step ahead on a sine wave of unknown phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdrun.core.elementary import SINE_LIMIT
from kdrun.core.losses import mean_of, squared_error
from kdrun.core.random import Stream
from kdrun.core.signals import sine_wave_batches
from kdrun.factors.contract import Array, Batch, Term
from kdrun.tasks.contract import Data, Demonstration, Evaluate, TrainingTask
from kdrun.tasks.losses import SquaredError

TWO_PI = 6.283185307179586
# Two periods of a demonstration; the time to run freely grows with the square of the steps.
FEWEST_SHOWN, MOST_SHOWN = 16, 500
# Epochs whose waves are made in one call: as many as fit the second cache. It changes no bit.
MOST_AHEAD, NUMBERS_AHEAD = 100, 65_536


class SineEvaluation(BaseModel):
    """What evaluation runs on: evenly spaced phases, the same in every replicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phases: int = Field(32, ge=1, le=10_000, strict=True, description="number of phases 2πk/phases")
    steps: int = Field(100, ge=1, le=100_000, strict=True, description="steps of each sequence")


class Sine(TrainingTask):
    """x(t) = sin(t·dt + φ), target x(t + 1). Training draws phases; evaluation covers the circle evenly."""

    name: ClassVar[str] = "sine"
    title: ClassVar[str] = "one step ahead on sine waves of random phase"
    source: ClassVar[str] = "the sine study of kdrun, experiments/sine.yaml"
    responses: ClassVar[Mapping[str, str]] = {
        "train_mse": "mean squared error over the sequences of the last epoch, before its update",
        "eval_mse": "mean squared error over evaluation phases and times",
    }
    ratios: ClassVar[tuple[str, ...]] = ("vs_float", "vs_baseline")

    steps: int = Field(50, ge=1, le=100_000, strict=True, description="T, steps of a training sequence")
    sequences: int = Field(10, ge=1, le=100_000, strict=True, description="B, phases drawn in each epoch")
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
    def inputs(self) -> int:
        """One input: the wave now."""
        return 1

    @property
    def outputs(self) -> int:
        """One output: the wave at the next step."""
        return 1

    @property
    def step_time(self) -> float:
        """dt."""
        return self.dt

    def loss(self) -> Term:
        """Half the squared error."""
        return SquaredError()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """New phases in every epoch."""
        return _RandomPhases(self, stream("phases"), dtype)

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """Phases drawn like training data, from a stream of their own."""
        return _RandomPhases(self, stream("calibration"), dtype).batch(0)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """The loss is half the error."""
        return {"train_mse": 2.0 * last_loss}

    def evaluation_batch(self, dtype: DTypeLike) -> Batch:
        """The fixed phases 2πk/phases."""
        spacing = np.array(TWO_PI / self.eval.phases, dtype)
        phases = np.arange(self.eval.phases).astype(dtype) * spacing
        return self._batch(phases, self.eval.steps)

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """`eval_mse` on the fixed phases."""
        batch = self.evaluation_batch(dtype)
        prediction = forward(batch.inputs, frozenset({"prediction"}))["prediction"]
        value = np.empty(prediction.shape[1])
        squared_error(prediction, batch.targets["y"], value, np.empty_like(prediction))
        return {"eval_mse": 2.0 * mean_of(value)}

    def demonstrate(self, forward: Evaluate, dtype: DTypeLike) -> Demonstration | None:
        """Two periods from phase 0, after one of true input; None where that is too many steps to be run quickly."""
        given = max(FEWEST_SHOWN // 2, round(TWO_PI / self.dt))
        steps = 3 * given
        if steps > MOST_SHOWN:
            return None
        batch = self._batch(np.zeros(1, dtype), steps)
        return Demonstration(
            time_label="Time (radians)",
            value_label="Signal (amplitude 1)",
            time=np.arange(1 - given, steps - given + 1) * self.dt,
            target=batch.targets["y"].ravel(),
            one_step=_predicted(forward, batch.inputs),
            free=_free_run(forward, batch.inputs, given),
            given=given,
        )

    def _batch(self, phases: Array, steps: int) -> Batch:
        """Waves of the given phases [B]."""
        return _batch_of(self._signals(phases[np.newaxis], steps)[0])

    def _signals(self, phases: Array, steps: int) -> Array:
        """Waves [S, T+1, B, 1] of S batches of phases [S, B]."""
        signals = np.empty((len(phases), steps + 1, phases.shape[1], 1), phases.dtype)
        sine_wave_batches(phases, self.dt, signals[..., 0])
        return signals


def _batch_of(signal: Array) -> Batch:
    """Inputs and targets [T, B, 1] are one signal [T+1, B, 1], a step apart."""
    return Batch(signal[:-1], {"y": signal[1:]})


def _predicted(forward: Evaluate, inputs: Array) -> Array:
    """The prediction [T] for one sequence [T, 1, 1], in an array of its own."""
    return forward(inputs, frozenset({"prediction"}))["prediction"].flatten()


def _free_run(forward: Evaluate, inputs: Array, given: int) -> Array:
    """The prediction [T] where inputs [T, 1, 1] after the first `given` are the network's own predictions.

    Each step runs the whole sequence again, and at full length, so that the network makes its arrays once: a network
    does not look ahead, so what is not yet filled in does not matter.
    """
    own = inputs.copy()
    own[given:] = 0.0
    for step in range(given, len(own)):
        own[step] = _predicted(forward, own)[step - 1]
    return _predicted(forward, own)


class _RandomPhases:
    """Training data: B phases from U(0, 2π) in each epoch; the waves of several epochs are made at once."""

    def __init__(self, task: Sine, stream: Stream, dtype: Any) -> None:
        self._task, self._stream, self._dtype = task, stream, dtype
        self._ahead = max(1, min(MOST_AHEAD, NUMBERS_AHEAD // ((task.steps + 1) * task.sequences)))
        self._first, self._batches = 0, list[Batch]()

    def batch(self, step: int) -> Batch:
        place = step - self._first
        if not 0 <= place < len(self._batches):
            self._first, place = step, 0
            shape = (self._task.sequences,)
            phases = self._stream.uniform_steps(step, self._ahead, shape, 0.0, TWO_PI, self._dtype)
            self._batches = [_batch_of(signal) for signal in self._task._signals(phases, self._task.steps)]
        return self._batches[place]
