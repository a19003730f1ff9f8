"""Runs that train in step: what their batches are, and what a teacher says of each, is computed once for all of them.

Students of one replicate that learn from one teacher see the same batches, and their networks have the same sizes. Each
takes a step in turn; what is shared changes no bit of any, only how often it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, islice

import numpy as np

from kdrun.engine.objective import TeacherModel
from kdrun.engine.sources import is_of_kdrun
from kdrun.factors.contract import Array, Arrays, Batch
from kdrun.models.contract import Network
from kdrun.records import Run
from kdrun.study.plain import canonical
from kdrun.tasks.contract import Data

# Their networks are in memory at the same time.
MOST_TOGETHER = 8
NO_BATCH = Batch(np.empty(0), {})


def companies(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Neighbours that may train in step, together; every other run alone.

    Code of the user's own runs alone: where it prints, fails or ends its process, it is known which run that was.
    """
    for key, group in groupby(runs, _company_of):
        while members := list(islice(group, 1 if key is None else MOST_TOGETHER)):
            yield members


def _company_of(run: Run) -> Hashable:
    """Equal for runs that see the same batches and teachers; None for one that has nothing to share."""
    if run.kind != "treatment" or "student" not in run.spec or not is_of_kdrun(run.spec):
        return None
    return run.spec["seed"], run.replicate, run.needs, canonical(run.spec["task"])


class Company:
    """What runs that train in step share, made when the first of them asks for it."""

    def __init__(self) -> None:
        self._data: Data | None = None
        self._teachers: dict[str, _SharedTeacher] = {}
        self._networks: dict[Hashable, Network] = {}

    def data(self, make: Callable[[], Data]) -> Data:
        """Training data."""
        if self._data is None:
            self._data = _SharedData(make(), self._forget)
        return self._data

    def teacher(self, run_id: str, make: Callable[[], TeacherModel]) -> TeacherModel:
        """The teacher that a run has trained."""
        if run_id not in self._teachers:
            self._teachers[run_id] = _SharedTeacher(make())
        return self._teachers[run_id]

    def network(self, kind: Hashable, make: Callable[[], Network]) -> Network:
        """The network of a kind: its working space is that of one step at a time."""
        if kind not in self._networks:
            self._networks[kind] = make()
        return self._networks[kind]

    def _forget(self) -> None:
        for teacher in self._teachers.values():
            teacher.forget()


class _SharedData:
    """Training data that remember the batch of the last step. `changing` is called before there is another."""

    def __init__(self, data: Data, changing: Callable[[], None]) -> None:
        self._data, self._changing = data, changing
        self._step, self._batch = -1, NO_BATCH

    def batch(self, step: int) -> Batch:
        if step != self._step:
            self._changing()
            self._step, self._batch = step, self._data.batch(step)
        return self._batch


class _SharedTeacher(TeacherModel):
    """A teacher that remembers what it said last, until the batch changes."""

    def __init__(self, teacher: TeacherModel) -> None:
        super().__init__(teacher.network, teacher.weights)
        self.forget()

    def forget(self) -> None:
        """Compute anew whatever is asked next."""
        self._asked: tuple[Array | None, frozenset[str]] = None, frozenset()
        self._said: Arrays = {}

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Its outputs, which are not computed again where nothing else was asked meanwhile."""
        last, wanted = self._asked
        if inputs is not last or want != wanted:
            self._asked, self._said = (inputs, want), super().forward(inputs, want)
        return self._said
