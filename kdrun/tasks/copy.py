"""Signs to be remembered over blanks and repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field

from kdrun.core.losses import masked_squared_error, mean_of
from kdrun.core.random import Stream
from kdrun.factors.contract import Array, Batch, Term
from kdrun.tasks.contract import Data, Evaluate, TrainingTask
from kdrun.tasks.losses import SquaredError


class CopyEvaluation(BaseModel):
    """What evaluation runs on: sequences of their own, the same for all runs of a replicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequences: int = Field(200, ge=1, le=100_000, strict=True, description="number of sequences")


class Copy(TrainingTask):
    """Random signs, blanks, then as many steps in which the signs are to be repeated in their order.

    Two inputs: the sign, 0 where there is none; and 1 in the steps of recall, else 0. One output: the sign, counting
    in the steps of recall alone. A network that remembers nothing has an error of 1, and half of the signs right.
    """

    name: ClassVar[str] = "copy"
    title: ClassVar[str] = "remember random signs over blanks and repeat them"
    source: ClassVar[str] = (
        "the copying problem of Arjovsky, Shah and Bengio, arXiv:1511.06464, after Hochreiter and"
        " Schmidhuber, 1997; here with signs for letters, a call in every step of recall, and the squared error"
    )
    responses: ClassVar[Mapping[str, str]] = {
        "train_mse": "mean squared error of the signs to repeat in the last epoch, before its update",
        "eval_mse": "mean squared error of the signs to repeat, over evaluation sequences",
        "accuracy": "share of the signs to repeat whose prediction has the right sign; higher is better",
    }
    errors: ClassVar[frozenset[str]] = frozenset({"train_mse", "eval_mse"})
    ratios: ClassVar[tuple[str, ...]] = ("vs_float", "vs_baseline")

    symbols: int = Field(8, ge=1, le=10_000, strict=True, description="signs to remember")
    blanks: int = Field(20, ge=0, le=100_000, strict=True, description="steps between the last sign and the recall")
    sequences: int = Field(64, ge=1, le=100_000, strict=True, description="B, sequences drawn in each epoch")
    # With steps as long as a CfC's first time constants nothing would be left of a sign when it is asked for.
    dt: float = Field(0.01, gt=0, le=100, description="time between two steps, for cells that know time")
    eval: CopyEvaluation = CopyEvaluation()

    @classmethod
    def example(cls) -> Copy:
        """Three sequences of two signs and three blanks."""
        return cls(symbols=2, blanks=3, sequences=3, eval=CopyEvaluation(sequences=5))

    @property
    def inputs(self) -> int:
        """The sign, and whether it is time to repeat."""
        return 2

    @property
    def outputs(self) -> int:
        """The sign to repeat."""
        return 1

    @property
    def step_time(self) -> float:
        """dt."""
        return self.dt

    def loss(self) -> Term:
        """Half the squared error in the steps of recall."""
        return SquaredError()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """New signs in every epoch."""
        return _RandomSigns(self, stream("signs"), dtype)

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """Signs drawn like training data, from a stream of their own."""
        return _RandomSigns(self, stream("calibration"), dtype).batch(0)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """The loss is half the error."""
        return {"train_mse": 2.0 * last_loss}

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """`eval_mse` and `accuracy` on sequences that all runs of a replicate share."""
        batch = self.drawn(stream("task/evaluation"), 0, self.eval.sequences, dtype)
        prediction, target = forward(batch.inputs, frozenset({"prediction"}))["prediction"], batch.targets["y"]
        value = np.empty(self.eval.sequences)
        assert batch.mask is not None
        masked_squared_error(prediction, target, batch.mask, value, np.empty_like(prediction))
        right = np.count_nonzero(prediction[-self.symbols :] * target[-self.symbols :] > 0.0)
        return {"eval_mse": 2.0 * mean_of(value), "accuracy": right / (self.symbols * self.eval.sequences)}

    def drawn(self, stream: Stream, step: int, sequences: int, dtype: DTypeLike) -> Batch:
        """Sequences with the signs that one step of a stream gives."""
        drawn = stream.uniform(step, (self.symbols, sequences), -1.0, 1.0, dtype)
        return self.batch(np.where(drawn < 0.0, -1.0, 1.0).astype(dtype))

    def batch(self, signs: Array) -> Batch:
        """Sequences [T, B, 2] of given signs [symbols, B]; T = symbols + blanks + symbols."""
        recall = self.symbols + self.blanks
        steps, sequences = recall + self.symbols, signs.shape[1]
        inputs, target = np.zeros((steps, sequences, 2), signs.dtype), np.zeros((steps, sequences, 1), signs.dtype)
        inputs[: self.symbols, :, 0] = signs
        inputs[recall:, :, 1] = 1.0
        target[recall:, :, 0] = signs
        mask = inputs[:, :, 1].copy()
        return Batch(inputs, {"y": target}, mask)


class _RandomSigns:
    """Training data: sequences of new signs in each epoch."""

    def __init__(self, task: Copy, stream: Stream, dtype: DTypeLike) -> None:
        self._task, self._stream, self._dtype = task, stream, dtype

    def batch(self, step: int) -> Batch:
        return self._task.drawn(self._stream, step, self._task.sequences, self._dtype)
