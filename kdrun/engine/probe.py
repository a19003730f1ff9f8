"""A task for gradient checks alone: several inputs and outputs, random targets, and a mask that leaves some out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from kdrun.core.random import Stream
from kdrun.factors.contract import Batch, Term
from kdrun.tasks.contract import Data, Evaluate, TrainingTask
from kdrun.tasks.losses import SquaredError

STEPS, BATCH, INPUTS, OUTPUTS = 6, 3, 3, 2
KEPT = 0.7


class Probe(TrainingTask):
    """What no task of the catalogue has all at once: D = 3, O = 2, and a mask."""

    name: ClassVar[str] = "masked probe"
    title: ClassVar[str] = "random sequences with a mask"
    source: ClassVar[str] = "the gradient check"
    responses: ClassVar[Mapping[str, str]] = {}

    @property
    def inputs(self) -> int:
        """D."""
        return INPUTS

    @property
    def outputs(self) -> int:
        """O."""
        return OUTPUTS

    def loss(self) -> Term:
        """Half the squared error over what the mask leaves."""
        return SquaredError()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """One random batch."""
        return _OneBatch(self.calibration_batch(stream, dtype))

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """Inputs and targets from U(−1, 1), and a mask that keeps seven steps in ten."""

        def drawn(name: str, *shape: int) -> np.ndarray:
            return stream(f"probe/{name}").uniform(0, shape, -1.0, 1.0, dtype)

        mask = (drawn("mask", STEPS, BATCH) < 2 * KEPT - 1).astype(dtype)
        return Batch(drawn("inputs", STEPS, BATCH, INPUTS), {"y": drawn("targets", STEPS, BATCH, OUTPUTS)}, mask)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """None."""
        return {}

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """None."""
        return {}


class _OneBatch:
    """Training data that is the same in every step."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batch(self, step: int) -> Batch:
        return self._batch
