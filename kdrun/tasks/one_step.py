"""What tasks share whose networks see a signal and say what it is one step later."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.losses import mean_of, squared_error
from kdrun.core.random import Stream
from kdrun.factors.contract import Array, Batch, Term
from kdrun.tasks.contract import Data, Demonstration, Evaluate, TrainingTask
from kdrun.tasks.losses import SquaredError

# The time that a demonstration takes grows with the square of its steps.
MOST_SHOWN = 500
# Epochs whose signals are made in one call: as many as fit the second cache. It changes no bit.
MOST_AHEAD, NUMBERS_AHEAD = 100, 65_536


class OneStepAhead(TrainingTask):
    """x(t), target x(t + 1), for signals of O numbers that begin anywhere: a phase [...] is where one begins.

    Training draws new phases in every epoch; evaluation has phases of its own, the same in every replicate.
    """

    responses: ClassVar[Mapping[str, str]] = {
        "train_mse": "mean squared error over the sequences of the last epoch, before its update",
        "eval_mse": "mean squared error over evaluation phases and times",
    }
    errors: ClassVar[frozenset[str]] = frozenset({"train_mse", "eval_mse"})
    ratios: ClassVar[tuple[str, ...]] = ("vs_float", "vs_baseline")
    time_label: ClassVar[str]
    value_label: ClassVar[str]

    steps: int = Field(50, ge=1, le=100_000, strict=True, description="T, steps of a training sequence")
    sequences: int = Field(10, ge=1, le=100_000, strict=True, description="B, sequences drawn in each epoch")

    @property
    def inputs(self) -> int:
        """The signal now."""
        return self.outputs

    @property
    def outputs(self) -> int:
        """The signal at the next step: one number, where a task does not say otherwise."""
        return 1

    @abstractmethod
    def drawn_phases(self, stream: Stream, first: int, epochs: int, dtype: DTypeLike) -> Array:
        """Phases [S, B, ...] of consecutive epochs from `first` on."""

    @abstractmethod
    def evaluation_phases(self, dtype: DTypeLike) -> Array:
        """Phases [B, ...] of the evaluation."""

    @property
    @abstractmethod
    def evaluation_steps(self) -> int:
        """Steps of each sequence of the evaluation."""

    @abstractmethod
    def signals(self, phases: Array, steps: int, dtype: DTypeLike) -> Array:
        """Signals [S, T+1, B, O] of S batches of phases [S, B, ...]."""

    @abstractmethod
    def shown(self, dtype: DTypeLike) -> tuple[Array, int, int]:
        """What a demonstration shows: its phase [1, ...], how many steps, and how many of them have true input."""

    def loss(self) -> Term:
        """Half the squared error."""
        return SquaredError()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """New phases in every epoch."""
        return _DrawnSignals(self, stream("phases"), dtype)

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """Phases drawn like training data, from a stream of their own."""
        return _DrawnSignals(self, stream("calibration"), dtype).batch(0)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """The loss is half the error."""
        return {"train_mse": 2.0 * last_loss}

    def evaluation_batch(self, dtype: DTypeLike) -> Batch:
        """The sequences of the evaluation."""
        return self._batch(self.evaluation_phases(dtype), self.evaluation_steps, dtype)

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """`eval_mse` on the fixed phases."""
        batch = self.evaluation_batch(dtype)
        prediction = forward(batch.inputs, frozenset({"prediction"}))["prediction"]
        return {"eval_mse": mean_squared_error(prediction, batch.targets["y"])}

    def demonstrate(self, forward: Evaluate, dtype: DTypeLike) -> Demonstration | None:
        """The first number of one signal; None where it has too many steps to be run quickly."""
        phase, steps, given = self.shown(dtype)
        if steps > MOST_SHOWN:
            return None
        batch = self._batch(phase, steps, dtype)
        return Demonstration(
            time_label=self.time_label,
            value_label=self.value_label,
            time=np.arange(1 - given, steps - given + 1) * self.step_time,
            target=batch.targets["y"][:, 0, 0].copy(),
            one_step=_predicted(forward, batch.inputs)[:, 0, 0],
            free=_free_run(forward, batch.inputs, given)[:, 0, 0],
            given=given,
        )

    def _batch(self, phases: Array, steps: int, dtype: DTypeLike) -> Batch:
        """Signals of the given phases [B, ...]."""
        return batch_of(self.signals(phases[np.newaxis], steps, dtype)[0])


def mean_squared_error(prediction: Array, target: Array) -> float:
    """The mean over sequences and times of the squared error [T, B, O], which is summed over outputs."""
    value = np.empty(prediction.shape[1])
    squared_error(prediction, target, value, np.empty_like(prediction))
    return float(2.0 * mean_of(value))


def batch_of(signal: Array) -> Batch:
    """Inputs and targets [T, B, O] are one signal [T+1, B, O], a step apart."""
    return Batch(signal[:-1], {"y": signal[1:]})


def _predicted(forward: Evaluate, inputs: Array) -> Array:
    """The prediction for one sequence [T, 1, O], in an array of its own."""
    return forward(inputs, frozenset({"prediction"}))["prediction"].copy()


def _free_run(forward: Evaluate, inputs: Array, given: int) -> Array:
    """The prediction where inputs [T, 1, O] after the first `given` are the network's own predictions.

    Each step runs the whole sequence again, and at full length, so that the network makes its arrays once: a network
    does not look ahead, so what is not yet filled in does not matter.
    """
    own = inputs.copy()
    own[given:] = 0.0
    for step in range(given, len(own)):
        own[step] = _predicted(forward, own)[step - 1]
    return _predicted(forward, own)


class _DrawnSignals:
    """Training data: B phases in each epoch; the signals of several epochs are made at once."""

    def __init__(self, task: OneStepAhead, stream: Stream, dtype: DTypeLike) -> None:
        self._task, self._stream, self._dtype = task, stream, dtype
        numbers = (task.steps + 1) * task.sequences * task.outputs
        self._ahead = max(1, min(MOST_AHEAD, NUMBERS_AHEAD // numbers))
        self._first, self._batches = 0, list[Batch]()

    def batch(self, step: int) -> Batch:
        place = step - self._first
        if not 0 <= place < len(self._batches):
            self._first, place = step, 0
            phases = self._task.drawn_phases(self._stream, step, self._ahead, self._dtype)
            self._batches = [batch_of(signal) for signal in self._task.signals(phases, self._task.steps, self._dtype)]
        return self._batches[place]
