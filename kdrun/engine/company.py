"""Runs that train in step: what their batches are, and what a teacher says of each, is computed once for all of them.

Students of one replicate that learn from one teacher see the same batches, and their networks have the same sizes. Each
takes a step in turn; what is shared changes no bit of any, only how often it is computed. Those that are quantized and
updated alike stand side by side in a cohort, with those of other replicates too where runs are short; those that have
one loss evaluate it together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.engine.cohort import Cohort, Slopes
from kdrun.engine.joint import JointLoss
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import Recipe
from kdrun.engine.seconds import Ledger, Meter
from kdrun.engine.sources import is_of_kdrun
from kdrun.factors.contract import Array, Arrays, Batch, GradientShape, Optimizer, Progress
from kdrun.models.contract import Network
from kdrun.records import Run
from kdrun.study.plain import canonical
from kdrun.tasks.contract import Data

# Their networks are in memory at the same time.
MOST_TOGETHER = 8


def companies(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Neighbours that may train in step, together; every other run alone. They may be of several replicates.

    Code of the user's own runs alone: where it prints, fails or ends its process, it is known which run that was.
    """
    members: list[Run] = []
    for group in _of_one_replicate(runs):
        if members and not (_kin(members[0], group) and len(members) + len(group) <= MOST_TOGETHER):
            yield members
            members = []
        members = members + group
    if members:
        yield members


def _of_one_replicate(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Neighbours that see the same batches and teachers, together; every other run alone."""
    for key, group in groupby(runs, _company_of):
        while members := list(islice(group, 1 if key is None else MOST_TOGETHER)):
            yield members


def _kin(run: Run, group: Sequence[Run]) -> bool:
    """Whether others, whose batches are not the run's, may stand beside it: their networks are of its kind."""
    if _company_of(run) is None:
        return False
    return all(_company_of(other) is not None and _setting_of(other) == _setting_of(run) for other in group)


def _setting_of(run: Run) -> Hashable:
    return run.spec["seed"], canonical(run.spec["task"]), canonical(run.spec["model"])


def by_company(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of one replicate that may train in step, wherever they stand, every other run alone; in order of the first.

    What is handed out in one batch is put together further, by `companies`.
    """
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


class Company:
    """What runs that train in step share, made when the first of them asks for it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._made: dict[Hashable, Any] = {}
        self._standing: dict[Hashable, list[int]] = {}
        # How many batches have been made of the data of each replicate.
        self._batches: Counter[int] = Counter()

    def data(self, replicate: int, make: Callable[[], Data]) -> Data:
        """Training data of a replicate."""
        key, batches, ledger = ("data", replicate), self._batches, self.ledger
        data: _SharedData = self._once(key, lambda: _SharedData(make(), replicate, batches, Meter(ledger)))
        data.meter.runs.add(self.ledger.stepping)
        return data

    def teacher(self, replicate: int, run: Run, make: Callable[[], TeacherModel]) -> TeacherModel:
        """The teacher that a run has trained, for students of a replicate."""
        key, batches = ("teacher", replicate, run.run_id), self._batches
        teacher: TeacherModel = self._once(key, lambda: _SharedTeacher(make(), replicate, batches))
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
        runs, ledger = self._standing.get(kind, [self.ledger.stepping]), self.ledger
        if len(runs) == 1:
            return Cohort(network, latent, recipe)
        cohort: Cohort = self._once(("cohort", kind), lambda: _SharedCohort(network, recipe, runs, ledger))
        return cohort

    def joint(self, replicate: int, objective: Objective) -> JointLoss:
        """A loss that students of one cohort, replicate and teachers have in common, of which this one is another."""
        key = "joint", id(objective.cohort), replicate, tuple(id(teacher) for teacher in objective.teachers)
        known: list[JointLoss] = self._once(key, list)
        found = next((joint for joint in known if joint.is_that_of(objective)), None)
        if found is None:
            found = _SharedJoint(objective, self.ledger)
            known.append(found)
        found.join(objective.place)
        return found

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class _SharedData:
    """Training data that remember the batch of the last step, and count in `batches` those of their replicate."""

    def __init__(self, data: Data, replicate: int, batches: Counter[int], meter: Meter) -> None:
        self._data, self._replicate, self._batches, self.meter = data, replicate, batches, meter
        self._step, self._last = -1, Batch(np.empty(0), {})

    def batch(self, step: int) -> Batch:
        if step != self._step:
            self.meter.time(self._make, step)
        return self._last

    def _make(self, step: int) -> None:
        self._step, self._last = step, self._data.batch(step)
        self._batches[self._replicate] += 1


class _SharedTeacher(TeacherModel):
    """A teacher that remembers what it said last, until there is another batch: its arrays may be the same."""

    def __init__(self, teacher: TeacherModel, replicate: int, batches: Counter[int]) -> None:
        super().__init__(teacher.network, teacher.weights)
        self._replicate, self._batches, self._said = replicate, batches, dict[str, Array]()
        self._batch, self._inputs, self._want = -1, np.empty(0), frozenset[str]()

    def forward(self, inputs: Array, want: frozenset[str]) -> Arrays:
        """Its outputs, which are not computed again where nothing else was asked meanwhile."""
        batch = self._batches[self._replicate]
        if not (inputs is self._inputs and want == self._want and batch == self._batch):
            self._said = dict(super().forward(inputs, want))
            self._batch, self._inputs, self._want = batch, inputs, want
        return self._said


class _SharedCohort(Cohort):
    """A cohort in which the first student of a step has done for all what all are about to ask for.

    Each of the runs has an equal share of what that takes, and of a shape of gradients those that have it.
    """

    def __init__(self, network: Network, recipe: Recipe, runs: Sequence[int], ledger: Ledger) -> None:
        super().__init__(network, Cohort.room(network, len(runs)), recipe, len(runs))
        self._runs, self._ledger, self._shaping = runs, ledger, dict[bytes, Meter]()
        self._preparing, self._flipping, self._updating = (_Turn(Meter(ledger, runs)) for _ in range(3))

    def prepare(self, progress: Progress) -> None:
        self._preparing.take(progress.step, super().prepare, progress)

    def flips(self, step: int) -> Array | None:
        self._flipping.take(step, super().flips, step)
        return super().flips(step)

    def start(self, optimizer: Optimizer) -> None:
        if not self.groups:
            super().start(optimizer)

    def update(self, optimizer: Optimizer, lr: float, progress: Progress, penalties: Slopes) -> None:
        self._updating.take(progress.step, super().update, optimizer, lr, progress, penalties)

    def shape_inplace(self, shape: GradientShape, places: Array, progress: Progress) -> None:
        meter = self._shaping.get(places.tobytes())
        if meter is None:
            meter = Meter(self._ledger, (self._runs[place] for place in places))
            self._shaping[places.tobytes()] = meter
        meter.time(super().shape_inplace, shape, places, progress)


class _SharedJoint(JointLoss):
    """A joint loss that the first student of a step evaluates for all; each has an equal share of what that takes."""

    def __init__(self, first: Objective, ledger: Ledger) -> None:
        super().__init__(first)
        self._ledger, self._evaluating = ledger, _Turn(Meter(ledger))

    def join(self, place: int) -> None:
        super().join(place)
        self._evaluating.meter.runs.add(self._ledger.stepping)

    def evaluate(self, batch: Batch, progress: Progress) -> None:
        self._evaluating.take(progress.step, super().evaluate, batch, progress)


class _Turn:
    """Something that is done once in every step, for all students.

    Where it fails it has failed for all of them: nobody knows how much of it was done.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter, self._step = meter, -1
        self._failure: BaseException | None = None

    def take(self, step: int, do: Callable[..., Any], *arguments: Any) -> None:
        """Do it, where that was not done in this step."""
        if step == self._step:
            if self._failure is not None:
                raise self._failure
            return
        self._step = step
        try:
            self.meter.time(do, *arguments)
        except BaseException as failure:
            self._failure = failure
            raise
