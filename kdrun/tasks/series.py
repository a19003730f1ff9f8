"""One step ahead on a column of the user's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field, field_validator

from kdrun.core.random import Stream
from kdrun.core.signals import standardise
from kdrun.factors.contract import Array, Batch, Term
from kdrun.tasks.contract import Data, Evaluate, RunFailed, TrainingTask
from kdrun.tasks.csv_column import read_column
from kdrun.tasks.losses import SquaredError
from kdrun.tasks.one_step import batch_of, mean_squared_error

# A random number has 24 bits, so that no more places can be drawn.
MOST_VALUES = 2**24
TAB = "tab"


@dataclass(frozen=True)
class Parts:
    """A series, standardised [n]: the first `known` values are there to train on, the others to be foreseen."""

    values: Array
    known: int


class Series(TrainingTask):
    """x(t), target x(t + 1), for one column of a CSV file whose lines are in the order of time.

    The first part of the file is trained on, in windows drawn at random; what comes after it is for evaluation alone.
    Both are standardised by mean and deviation of the first part. In evaluation the network is shown the last window of
    the training part, then the rest of the file, each value after it was to be foreseen.
    """

    name: ClassVar[str] = "series"
    title: ClassVar[str] = "one step ahead on a column of a CSV file of your own"
    source: ClassVar[str] = "docs/tasks.md"
    responses: ClassVar[Mapping[str, str]] = {
        "train_mse": "mean squared error over the windows of the last epoch, before its update, in squared deviations",
        "eval_mse": "mean squared error over the evaluation part, in squared deviations of the training part",
        "vs_persistence": "eval_mse over the error of answering the last value: below 1 is better than that",
    }
    errors: ClassVar[frozenset[str]] = frozenset({"train_mse", "eval_mse", "vs_persistence"})
    ratios: ClassVar[tuple[str, ...]] = ("vs_float", "vs_baseline")

    file: str = Field(min_length=1, description="CSV file in UTF-8 with a header, seen from the study's folder")
    column: str = Field(min_length=1, description="name of the column; its numbers are in the order of time")
    delimiter: str = Field(",", description="what stands between fields: one character, or tab")
    train_share: float = Field(0.8, gt=0, lt=1, description="the share of the file that is trained on, from its start")
    steps: int = Field(50, ge=1, le=100_000, strict=True, description="T, steps of a window")
    sequences: int = Field(10, ge=1, le=100_000, strict=True, description="B, windows drawn in each epoch")
    dt: float = Field(0.1, gt=0, le=100, description="time between two lines, for cells that know time")

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, text: str) -> str:
        if text == TAB or (len(text) == 1 and not text.isalnum() and text not in "\"'.+-\r\n "):
            return text
        raise ValueError(f"found {text[:20]!r}; one character such as ';', or tab, is allowed")

    @classmethod
    def example(cls) -> Series:
        """Three windows of six steps over numbers that stand in this file."""
        return _Inline(file="none", column="none", steps=6, sequences=3)

    @property
    def inputs(self) -> int:
        """One input: the value now."""
        return 1

    @property
    def outputs(self) -> int:
        """One output: the value at the next line."""
        return 1

    @property
    def step_time(self) -> float:
        """dt."""
        return self.dt

    def look(self, folder: Path) -> None:
        """Read the file, and see that both parts can be used."""
        self.parts(folder)

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The file: runs on other numbers are other runs."""
        return {self.file: folder / self.file}

    def loss(self) -> Term:
        """Half the squared error."""
        return SquaredError()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """New windows in every epoch."""
        return _RandomWindows(self, self.parts(), stream("windows"), dtype)

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """Windows drawn like training data, from a stream of their own."""
        return _RandomWindows(self, self.parts(), stream("calibration"), dtype).batch(0)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """The loss is half the error."""
        return {"train_mse": 2.0 * last_loss}

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """Errors over the evaluation part, whose first value is foreseen from the last one of the training part."""
        batch, first = self.evaluation_batch(dtype)
        prediction = forward(batch.inputs, frozenset({"prediction"}))["prediction"]
        error = mean_squared_error(prediction[first:], batch.targets["y"][first:])
        persistence = mean_squared_error(batch.inputs[first:], batch.targets["y"][first:])
        return {"eval_mse": error, "vs_persistence": error / persistence}

    def evaluation_batch(self, dtype: DTypeLike) -> tuple[Batch, int]:
        """One sequence, from the last window of the training part to the end, and the step of the first that counts."""
        parts = self.parts()
        signal = parts.values[parts.known - self.steps :].astype(dtype)
        return batch_of(signal[:, np.newaxis, np.newaxis]), self.steps - 1

    def parts(self, folder: Path = Path()) -> Parts:
        """The series, standardised; `RunFailed` where it cannot be used. Runs work in the folder of their study."""
        values = self.numbers(folder)
        known = int(len(values) * self.train_share)
        self._refuse_short(len(values), known)
        training, later = values[:known], values[known - 1 :]
        for part, name in ((training, "training"), (later, "evaluation")):
            if (part == part[0]).all():
                raise RunFailed(
                    f"{self._where}: the {name} part is {part[0]:g} throughout; there is nothing to foresee"
                )
        standard = np.empty(len(values))
        standardise(values, known, standard)
        # Squares that are too large make every value 0, squares that are too small make it infinite.
        if not standard[:known].any() or not (np.abs(standard) < np.finfo(np.float32).max).all():
            raise RunFailed(f"{self._where}: the numbers are too large, or too far apart, to be standardised")
        return Parts(standard, known)

    def numbers(self, folder: Path) -> Array:
        """The column as it stands in the file, float64 [n]."""
        delimiter = "\t" if self.delimiter == TAB else self.delimiter
        return read_column(folder / self.file, self.file, self.column, delimiter)

    @property
    def _where(self) -> str:
        return f"{self.file}, column {self.column!r}"

    def _refuse_short(self, count: int, known: int) -> None:
        if count > MOST_VALUES:
            raise RunFailed(f"{self._where}: found {count:,} values; at most {MOST_VALUES:,} are used")
        if known <= self.steps:
            raise RunFailed(
                f"{self._where}: found {count} values, of which train_share {self.train_share:g} leaves {known} to"
                f" train on; a window of {self.steps} steps needs {self.steps + 1}. Give a longer file, or fewer steps"
            )


class _Inline(Series):
    """The example: numbers without a file."""

    def look(self, folder: Path) -> None:
        """Nothing is needed."""

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """None."""
        return {}

    def numbers(self, folder: Path) -> Array:
        """Forty numbers without a pattern that could be seen at once."""
        return np.array([float((7 * t * t + 3 * t) % 31) for t in range(40)])


class _RandomWindows:
    """Training data: windows of the training part that begin anywhere in it."""

    def __init__(self, task: Series, parts: Parts, stream: Stream, dtype: Any) -> None:
        self._values = parts.values[: parts.known].astype(dtype)
        self._stream, self._sequences = stream, task.sequences
        self._window = np.arange(task.steps + 1)[:, np.newaxis]
        self._starts = parts.known - task.steps

    def batch(self, step: int) -> Batch:
        drawn = self._stream.uniform(step, (self._sequences,), 0.0, self._starts, "float64")
        windows = self._values[self._window + drawn.astype(np.int64)]
        return batch_of(windows[:, :, np.newaxis])
