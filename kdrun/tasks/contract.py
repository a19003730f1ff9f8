"""What a task is: data, a loss, and responses. One file per task; a new file is found without being listed.

A task that trains networks is a `TrainingTask`. Its parameters are the fields of the class, checked like every other
key of a study. All data comes from random streams of the replicate (or from files that the task names), so that the
treatments of one replicate see the same examples. An `ExternalTask` runs code of the user's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.random import Stream
from kdrun.factors.contract import Array, Arrays, Batch, Named, Term

Evaluate = Callable[[Array, frozenset[str]], Arrays]


# What the purpose of a random stream begins with that all roles of a replicate share.
SHARED = "task/"


def streams_of(seed: int, replicate: int, role: str) -> Callable[[str], Stream]:
    """The random streams of one role of a replicate by purpose; those of the task are the same in every role."""
    return lambda purpose: Stream(seed, replicate, purpose if purpose.startswith(SHARED) else f"{role}/{purpose}")


class Data(Protocol):
    """The training data of one run."""

    def batch(self, step: int) -> Batch:
        """The examples of one training step. Arrays are valid until the next call."""
        ...


@dataclass(frozen=True)
class Demonstration:
    """What one network does on one example, to be looked at; no response is computed from it.

    `time` [T] are the times that the other arrays speak of; `target` [T] is what should come; `one_step` [T] is what
    the network says when every input is true; `free` [T] is what it says when, after `given` steps of true input, its
    own answers are its inputs. The labels name what is on the axes, with the unit.
    """

    time_label: str
    value_label: str
    time: Array
    target: Array
    one_step: Array
    free: Array
    given: int


class Task(Named):
    """Anything that a study can be about. `responses` maps each measured response to what it is, in words.

    `errors` are those of them that are positive and skewed, as errors and losses are: where a study judges its first
    response on log10, means of those that it does not name are geometric too. Others are shown as they are.
    """

    title: ClassVar[str]
    responses: ClassVar[Mapping[str, str]]
    errors: ClassVar[frozenset[str]] = frozenset()
    ratios: ClassVar[tuple[str, ...]] = ()
    sections: ClassVar[frozenset[str]]

    def look(self, folder: Path) -> None:
        """Find what runs need from outside kdrun, seen from the study's folder; `RunFailed` says what is missing.

        It is asked before the first run, where runs are done; that of a training task runs no code of the user's own
        and is asked by `kdrun plan` too. Default: nothing is needed. Runs work in the study's folder.
        """

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The files that a run depends on, by the name that people know them by. Nothing of them is run."""
        return {}


class TrainingTask(Task):
    """A task whose runs train a network. `sections` are the parts of a study that it uses."""

    sections: ClassVar[frozenset[str]] = frozenset({"model", "teacher", "student"})

    @classmethod
    def example(cls) -> Self:
        """A small instance that stands for the task in gradient checks."""
        return cls()

    def small(self) -> Self:
        """What stands for this instance when a study's gradients are checked: it has time where this one has it."""
        return self.example()

    @property
    @abstractmethod
    def inputs(self) -> int:
        """D, the width of an input."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """O, the width of an output."""

    @property
    def heads(self) -> Mapping[str, int]:
        """What the network is asked for: the width of each output by name, O in all."""
        return {"prediction": self.outputs}

    @property
    def has_time(self) -> bool:
        """Whether inputs are sequences [T, B, D], or examples [B, D] without time."""
        return True

    @property
    def step_time(self) -> float:
        """Time between two steps of a sequence, for cells that know time."""
        return 1.0

    @abstractmethod
    def loss(self) -> Term:
        """The task's own loss, a per-sample term on outputs and targets alone."""

    def teacher_loss(self) -> Term:
        """What teachers are trained by, where that is more than the task's own loss."""
        return self.loss()

    @abstractmethod
    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """Data of one replicate; `stream(purpose)` gives its random streams.

        Each role (teacher, student, comparator) has streams of its own, but for purposes that begin with `task/`:
        those are one for all, so that a split into parts for training and for testing holds for everybody.
        """

    def teacher_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """What teachers are trained on, where that is other data than the students'."""
        return self.training_data(stream, dtype)

    @abstractmethod
    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """A fixed set drawn like training data, for comparators that search without training."""

    @abstractmethod
    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """Responses that come from the loss of the last training step, before its update."""

    def recorded_responses(self, recorded: Mapping[str, float], steps: int) -> Mapping[str, float]:
        """Responses that come from what was recorded in `steps` steps of training: the last value of each series.

        A series that counts (batches of a kind, refusals) ends with its sum.
        """
        return {}

    @abstractmethod
    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """Responses on data that is never used to train, to search or to pick a step."""

    def demonstrate(self, forward: Evaluate, dtype: DTypeLike) -> Demonstration | None:
        """What a network does on an example that a person can look at, the same for every run; None for no picture.

        `forward` runs whole sequences [T, B, D] from the start of time; what it returns is valid until its next call.
        It should take no longer than a twentieth of a second, for small networks.
        """
        return None


class RunFailed(Exception):
    """Code or a file of the user's own is not what its task asks of it; the text says why, without a traceback."""


class ExternalTask(Task):
    """A task whose runs are code of the user's own: kdrun hands it parameters and a seed, and reads responses.

    It has no network and no gradients. Which responses it measures only its runs can tell, so the study names those
    that it judges, and a run that lacks one of them has failed.
    """

    responses: ClassVar[Mapping[str, str]] = {}
    sections: ClassVar[frozenset[str]] = frozenset()

    params: dict[str, Any] = Field(default={}, description="what the code is given; factors set task.params.KEY")
    # It ends runs and changes none, so it is no part of what makes a run the same run.
    timeout: float | None = Field(
        None,
        gt=0,
        le=1e7,
        description="seconds that one run may take; a run that takes longer has failed",
        json_schema_extra={"identifies": False},
    )

    @abstractmethod
    def look(self, folder: Path) -> None:
        """Find the code, seen from the study's folder, without a run; `RunFailed` says what is missing."""

    @abstractmethod
    def measure(self, seed: int) -> Mapping[str, float]:
        """Do one run, 0 ≤ seed < 2³². `RunFailed`, or whatever the code raises, makes it a failed run."""

    @abstractmethod
    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The files of code that a run depends on, by the name that people know them by. Nothing of them is run."""
