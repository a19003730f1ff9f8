"""One step ahead on a triangle wave of unknown phase: unlike a sine it has corners that no linear rule foresees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.losses import mean_of, squared_error
from kdrun.core.random import Stream
from kdrun.factors.contract import Array, Batch, Term
from kdrun.tasks.contract import Data, Evaluate, TrainingTask
from kdrun.tasks.losses import SquaredError


class Triangle(TrainingTask):
    """x(t) = 4·|u − ½| − 1, u the fractional part of φ + t/period; target x(t + 1). Phases are drawn in each epoch."""

    name: ClassVar[str] = "triangle"
    title: ClassVar[str] = "one step ahead on triangle waves of random phase"
    source: ClassVar[str] = "the example of docs/extending.md"
    responses: ClassVar[Mapping[str, str]] = {
        "train_mse": "mean squared error over the sequences of the last epoch, before its update",
        "eval_mse": "mean squared error over evenly spaced phases",
    }
    errors: ClassVar[frozenset[str]] = frozenset({"train_mse", "eval_mse"})
    ratios: ClassVar[tuple[str, ...]] = ("vs_float", "vs_baseline")

    steps: int = Field(32, ge=1, le=10_000, strict=True, description="T, steps of a sequence")
    sequences: int = Field(8, ge=1, le=10_000, strict=True, description="B, phases drawn in each epoch")
    period: int = Field(16, ge=2, le=10_000, strict=True, description="steps from one peak to the next")
    phases: int = Field(16, ge=1, le=10_000, strict=True, description="evenly spaced phases of the evaluation")

    @classmethod
    def example(cls) -> Triangle:
        """Three sequences of eight steps."""
        return cls(steps=8, sequences=3)

    @property
    def inputs(self) -> int:
        """One input: the wave now."""
        return 1

    @property
    def outputs(self) -> int:
        """One output: the wave at the next step."""
        return 1

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

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """`eval_mse` on phases that are the same in every replicate."""
        batch = self.waves(np.arange(self.phases).astype(dtype) / np.array(self.phases, dtype))
        prediction = forward(batch.inputs, frozenset({"prediction"}))["prediction"]
        value = np.empty(prediction.shape[1])
        squared_error(prediction, batch.targets["y"], value, np.empty_like(prediction))
        return {"eval_mse": 2.0 * mean_of(value)}

    def waves(self, phases: Array) -> Batch:
        """Waves of the given phases [B], in periods.

        Sums, products and roundings of IEEE numbers alone, one operation at a time: the same bits on every machine.
        """
        kind = phases.dtype.type
        times = np.arange(self.steps + 1).astype(phases.dtype) / kind(self.period)
        position = times[:, np.newaxis] + phases
        signal = kind(4) * np.abs(position - np.floor(position) - kind(0.5)) - kind(1)
        return Batch(signal[:-1, :, np.newaxis], {"y": signal[1:, :, np.newaxis]})


class _RandomPhases:
    """Training data: B phases from U(0, 1) in each epoch."""

    def __init__(self, task: Triangle, stream: Stream, dtype: DTypeLike) -> None:
        self._task, self._stream, self._dtype = task, stream, dtype

    def batch(self, step: int) -> Batch:
        """The waves of one epoch."""
        return self._task.waves(self._stream.uniform(step, (self._task.sequences,), 0.0, 1.0, self._dtype))
