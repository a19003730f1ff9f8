"""Runs that train in step: what their batches are, and what a teacher says of each, is computed once for all of them.

Students of one replicate that learn from one teacher see the same batches, and their networks have the same sizes. Each
takes a step in turn; what is shared changes no bit of any, only how often it is computed. Those that are quantized and
updated alike stand side by side in a cohort.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.engine.cohort import Cohort, Slopes
from kdrun.engine.objective import TeacherModel
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import Recipe
from kdrun.engine.sources import is_of_kdrun
from kdrun.factors.contract import Array, Arrays, Batch, GradientShape, Optimizer, Progress
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


def by_company(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that may train in step together, wherever they stand, and every other run alone; in order of the first."""
    found: list[list[Run]] = []
    latest: dict[Hashable, list[Run]] = {}
    for run in runs:
        key = _company_of(run)
        members = latest.get(key, [])
        if key is None or not 0 < len(members) < MOST_TOGETHER:
            members = latest[key] = []
            found.append(members)
        members.append(run)
    return found


def _company_of(run: Run) -> Hashable:
    """Equal for runs that see the same batches and teachers; None for one that has nothing to share."""
    if run.kind != "treatment" or "student" not in run.spec or not is_of_kdrun(run.spec):
        return None
    return run.spec["seed"], run.replicate, run.needs, canonical(run.spec["task"])


@dataclass
class Ledger:
    """Whose step it is, the number of the batch, and the seconds that count for runs beside those of the clock.

    What one run made and others were given counts for each of them; what was done to all of them at once is shared out.
    """

    stepping: int = 0
    batch: int = 0
    spared: float = 0.0


class Company:
    """What runs that train in step share, made when the first of them asks for it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._made: dict[Hashable, _Remembered] = {}
        self._standing: dict[Hashable, list[int]] = {}

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

    def place(self, kind: Hashable | None) -> int:
        """A place beside the students of a kind, before any of them asks for their cohort; None is of its own kind."""
        if kind is None:
            return 0
        standing = self._standing.setdefault(kind, [])
        standing.append(self.ledger.stepping)
        return len(standing) - 1

    def cohort(self, kind: Hashable | None, network: Network, latent: ParameterSet, recipe: Recipe) -> Cohort:
        """Where the students of a kind keep their parameters; for one alone, `latent` themselves."""
        members, ledger = self._standing.get(kind, [self.ledger.stepping]), self.ledger
        if len(members) == 1:
            return Cohort(network, latent, recipe)
        cohort: Cohort = self._once(("cohort", kind), lambda: _SharedCohort(network, recipe, members, ledger))
        return cohort

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key in self._made:
            return self._made[key].give()
        made = _Remembered(self.ledger)
        value = made.make(make)
        self._made[key] = made
        return value


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


class _SharedCohort(Cohort):
    """A cohort in which the first student of a step has done for all what all are about to ask for.

    What that takes is shared out equally, and what a shape of gradients takes to those that have it.
    """

    def __init__(self, network: Network, recipe: Recipe, members: Sequence[int], ledger: Ledger) -> None:
        students = len(members)
        super().__init__(network, Cohort.room(network, students), recipe, students)
        self._members, self._preparing, self._updating = members, _Turn(ledger, students), _Turn(ledger, students)

    def prepare(self, progress: Progress) -> None:
        self._preparing.take(progress.step, Cohort.prepare, self, progress)

    def start(self, optimizer: Optimizer) -> None:
        if not self.groups:
            super().start(optimizer)

    def update(self, optimizer: Optimizer, lr: float, progress: Progress, penalties: Slopes) -> None:
        self._updating.take(progress.step, Cohort.update, self, optimizer, lr, progress, penalties)

    def shape_inplace(
        self, quantized: QuantizedParameters, shape: GradientShape, places: Array, progress: Progress
    ) -> None:
        members = [self._members[place] for place in places]
        self._updating.for_some(members, Cohort.shape_inplace, self, quantized, shape, places, progress)


class _Turn:
    """Something that is done once in every step, for all students; each has a share of what it takes.

    Where it fails it has failed for all of them: nobody knows how much of it was done.
    """

    def __init__(self, ledger: Ledger, students: int) -> None:
        self._ledger, self._students, self._step, self._share = ledger, students, -1, 0.0
        self._own: dict[int, float] = {}
        self._failure: BaseException | None = None

    def take(self, step: int, do: Callable[..., None], *arguments: Any) -> None:
        """Do it, where that was not done in this step."""
        if step != self._step:
            self._do(step, do, *arguments)
        elif self._failure is not None:
            raise self._failure
        self._ledger.spared += self._share + self._own.get(self._ledger.stepping, 0.0)

    def _do(self, step: int, do: Callable[..., None], *arguments: Any) -> None:
        start = time.perf_counter()
        self._step, self._own = step, {}
        try:
            do(*arguments)
        except BaseException as failure:
            self._failure = failure
            raise
        apart = sum(self._own.values())
        seconds = time.perf_counter() - start
        self._share = (seconds - apart) / self._students
        self._ledger.spared -= seconds

    def for_some(self, members: Sequence[int], do: Callable[..., None], *arguments: Any) -> None:
        """Do a part of it that counts for some members alone."""
        start = time.perf_counter()
        do(*arguments)
        share = (time.perf_counter() - start) / len(members)
        for member in members:
            self._own[member] = self._own.get(member, 0.0) + share
