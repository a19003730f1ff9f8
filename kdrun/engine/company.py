"""Runs that train in step: what their batches are, and what a teacher says of each, is computed once for all of them.

Students of one replicate that learn from one teacher see the same batches, and their networks have the same sizes. Each
takes a step in turn; what is shared changes no bit of any, only how often it is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

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


def _company_of(run: Run) -> Hashable:
    """Equal for runs that see the same batches and teachers; None for one that has nothing to share."""
    if run.kind != "treatment" or "student" not in run.spec or not is_of_kdrun(run.spec):
        return None
    return run.spec["seed"], run.replicate, run.needs, canonical(run.spec["task"])


class Company:
    """What runs that train in step share, made when the first of them asks for it.

    `stepping` is whose step it is. `spared` are the seconds that it took to make what was then given to others: what a
    run takes by itself is its own time and what it was spared.
    """

    def __init__(self) -> None:
        self.stepping: Hashable = None
        self.spared = 0.0
        self._data: _SharedData | None = None
        self._teachers: dict[str, _SharedTeacher] = {}
        self._networks: dict[Hashable, Network] = {}

    def data(self, make: Callable[[], Data]) -> Data:
        """Training data."""
        if self._data is None:
            self._data = _SharedData(make(), self)
        return self._data

    def teacher(self, run_id: str, make: Callable[[], TeacherModel]) -> TeacherModel:
        """The teacher that a run has trained."""
        if run_id not in self._teachers:
            self._teachers[run_id] = _SharedTeacher(make(), self)
        return self._teachers[run_id]

    def network(self, kind: Hashable, make: Callable[[], Network]) -> Network:
        """The network of a kind: its working space is that of one step at a time."""
        if kind not in self._networks:
            self._networks[kind] = make()
        return self._networks[kind]

    def forget(self) -> None:
        """The batch changes: no teacher has said anything of it yet."""
        for teacher in self._teachers.values():
            teacher.forget()


class _Remembered:
    """Something that one run had made, what that took, and who has it by now."""

    def __init__(self, company: Company) -> None:
        self._company, self._seconds, self._known_to = company, 0.0, set[Hashable]()
        self.value: Any = None

    def make(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Make it anew, for whose step it is."""
        start = time.perf_counter()
        self.value = make(*arguments)
        self._seconds, self._known_to = time.perf_counter() - start, {self._company.stepping}
        return self.value

    def give(self) -> Any:
        """Give it to whose step it is, who is spared to make it."""
        if self._company.stepping not in self._known_to:
            self._known_to.add(self._company.stepping)
            self._company.spared += self._seconds
        return self.value


class _SharedData:
    """Training data that remember the batch of the last step."""

    def __init__(self, data: Data, company: Company) -> None:
        self._data, self._company = data, company
        self._step, self._last = -1, _Remembered(company)

    def batch(self, step: int) -> Batch:
        batch: Batch
        if step == self._step:
            batch = self._last.give()
        else:
            self._company.forget()
            self._step, batch = step, self._last.make(self._data.batch, step)
        return batch


class _SharedTeacher(TeacherModel):
    """A teacher that remembers what it said last, until the batch changes."""

    def __init__(self, teacher: TeacherModel, company: Company) -> None:
        super().__init__(teacher.network, teacher.weights)
        self._said = _Remembered(company)
        self.forget()

    def forget(self) -> None:
        """Compute anew whatever is asked next."""
        self._asked: tuple[Array | None, frozenset[str]] = None, frozenset()

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Its outputs, which are not computed again where nothing else was asked meanwhile."""
        last, wanted = self._asked
        outputs: Arrays
        if inputs is last and want == wanted:
            outputs = self._said.give()
        else:
            self._asked, outputs = (inputs, want), self._said.make(super().forward, inputs, want)
        return outputs
