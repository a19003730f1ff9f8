"""Runs that train in step: what their batches are, and what a teacher says of each, is computed once for all of them.

Students of one replicate that learn from one teacher see the same batches, and their networks have the same sizes. Each
takes a step in turn; what is shared changes no bit of any, only how often it is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

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


def companies(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Neighbours that may train in step, together; every other run alone.

    Code of the user's own runs alone: where it prints, fails or ends its process, it is known which run that was.
    """
    for key, group in groupby(runs, _company_of):
        while members := list(islice(group, 1 if key is None else MOST_TOGETHER)):
            yield members


def by_company(runs: Sequence[Run]) -> list[Run]:
    """Runs in their order, but behind the first of each company its other members."""
    first: dict[Hashable, int] = {}
    places = [
        index if key is None else first.setdefault(key, index) for index, key in enumerate(map(_company_of, runs))
    ]
    return [runs[index] for index in sorted(range(len(runs)), key=places.__getitem__)]


def _company_of(run: Run) -> Hashable:
    """Equal for runs that see the same batches and teachers; None for one that has nothing to share."""
    if run.kind != "treatment" or "student" not in run.spec or not is_of_kdrun(run.spec):
        return None
    return run.spec["seed"], run.replicate, run.needs, canonical(run.spec["task"])


@dataclass
class Ledger:
    """Whose step it is, the number of the batch, and the seconds that it took to make what was then given to others.

    What a run takes by itself is its own time and what it was spared.
    """

    stepping: int = 0
    batch: int = 0
    spared: float = 0.0


class Company:
    """What runs that train in step share, made when the first of them asks for it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._made: dict[Hashable, _Remembered] = {}

    def data(self, make: Callable[[], Data]) -> Data:
        """Training data."""
        data: Data = self._once("data", lambda: _SharedData(make(), self.ledger))
        return data

    def teacher(self, run_id: str, make: Callable[[], TeacherModel]) -> TeacherModel:
        """The teacher that a run has trained."""
        teacher: TeacherModel = self._once(("teacher", run_id), lambda: _SharedTeacher(make(), self.ledger))
        return teacher

    def network(self, kind: Hashable, make: Callable[[], Network]) -> Network:
        """The network of a kind: its working space is that of one step at a time."""
        network: Network = self._once(("network", kind), make)
        return network

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key in self._made:
            return self._made[key].give()
        made = self._made[key] = _Remembered(self.ledger)
        return made.make(make)


class _Remembered:
    """Something that one run had made, what that took, and who has it by now."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._seconds, self._known_to = ledger, 0.0, set[int]()
        self.value: Any = None

    def make(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Make it anew, for whose step it is."""
        start = time.perf_counter()
        self.value = make(*arguments)
        self._seconds, self._known_to = time.perf_counter() - start, {self._ledger.stepping}
        return self.value

    def give(self) -> Any:
        """Give it to whose step it is, who is spared to make it."""
        if self._ledger.stepping not in self._known_to:
            self._known_to.add(self._ledger.stepping)
            self._ledger.spared += self._seconds
        return self.value


class _SharedData:
    """Training data that remember the batch of the last step."""

    def __init__(self, data: Data, ledger: Ledger) -> None:
        self._data, self._ledger = data, ledger
        self._step, self._last = -1, _Remembered(ledger)

    def batch(self, step: int) -> Batch:
        batch: Batch
        if step == self._step:
            batch = self._last.give()
        else:
            self._ledger.batch += 1
            self._step, batch = step, self._last.make(self._data.batch, step)
        return batch


class _SharedTeacher(TeacherModel):
    """A teacher that remembers what it said last, until there is another batch: its arrays may be the same."""

    def __init__(self, teacher: TeacherModel, ledger: Ledger) -> None:
        super().__init__(teacher.network, teacher.weights)
        self._ledger, self._said = ledger, _Remembered(ledger)
        self._batch, self._inputs, self._want = -1, np.empty(0), frozenset[str]()

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Its outputs, which are not computed again where nothing else was asked meanwhile."""
        outputs: Arrays
        if inputs is self._inputs and want == self._want and self._ledger.batch == self._batch:
            outputs = self._said.give()
        else:
            self._batch, self._inputs, self._want = self._ledger.batch, inputs, want
            outputs = self._said.make(super().forward, inputs, want)
        return outputs
