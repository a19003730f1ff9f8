"""The training loop: slots 0 and 6 to 8 around an objective. It knows slots, never a level."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace

import numpy as np

from kdrun.core.clipping import add_squared_norms
from kdrun.core.parameters import ParameterSet
from kdrun.engine.cohort import Group, Slopes
from kdrun.engine.joint import JointLoss
from kdrun.engine.objective import SUPERVISED, Losses, Objective
from kdrun.engine.recipe import quantizer_like
from kdrun.factors.contract import (
    Array,
    Arrays,
    Batch,
    Candidate,
    Curriculum,
    GroupSettings,
    LearningRateSchedule,
    Optimizer,
    Progress,
    QuantizationSchedule,
)
from kdrun.records import History
from kdrun.tasks.contract import Data

HISTORY_POINTS = 200
FLIPS = "code_flips"


class Diverged(Exception):
    """The loss is no longer a number."""


@dataclass
class Series:
    """Histories that grow during training: at most `HISTORY_POINTS` evenly spaced steps, and the last."""

    stride: int
    last: int
    step: int = 0
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, steps: int) -> Series:
        """Series for a training of so many steps."""
        return cls(stride=-(-steps // HISTORY_POINTS), last=steps - 1)

    @property
    def is_kept(self) -> bool:
        """Whether values of the present step are kept."""
        return self.step % self.stride == 0 or self.step == self.last

    def add(self, name: str, value: float, count: bool = False) -> None:
        """Record a value of the present step where that is one that is kept; with `count` the sum so far."""
        if count:
            value = self.sums[name] = self.sums.get(name, 0.0) + value
        if self.is_kept:
            self.points.setdefault(name, []).append((self.step, value))

    def last_values(self) -> dict[str, float]:
        """The last value of each series that was kept: of a count the sum."""
        return {name: points[-1][1] for name, points in self._ended().items()}

    def histories(self) -> dict[str, History]:
        """What was recorded."""
        return {
            name: History(np.array([step for step, _ in points], np.int64), np.array([value for _, value in points]))
            for name, points in self._ended().items()
        }

    def _ended(self) -> dict[str, list[tuple[int, float]]]:
        """The points, and of each count its sum at the last step: what is counted seldom falls on no step kept."""
        ended = dict(self.points)
        for name, total in self.sums.items():
            kept = ended.get(name, [])
            if not kept or kept[-1][0] != self.last:
                ended[name] = [*kept, (self.last, total)]
        return ended


class Trainer:
    """Steps an objective along its gradients, which are those of a joint loss where it takes part in one."""

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        schedule: LearningRateSchedule,
        joint: JointLoss | None = None,
    ) -> None:
        self.objective, self.optimizer, self.schedule, self.joint = objective, optimizer, schedule, joint
        self.cohort = objective.cohort
        self.cohort.start(optimizer)
        self.own_groups = {
            name: Group.started(optimizer, own, objective.gradients.own[name])
            for name, own in objective.own.items()
            if len(own)
        }
        self._stage, self._stage_start, self._last_value = 0, 0, math.nan
        self._final_quantizer = objective.recipe.quantizer
        self._own_levels = {name: level for name, level in objective.recipe.slots.items() if name in self.own_groups}

    @property
    def groups(self) -> dict[str, Group]:
        """All groups, by name: those of the network, and each slot's own."""
        return self.cohort.groups | self.own_groups

    def train(self, data: Data, steps: int, series: Series) -> Losses:
        """Take `steps` steps. Returns the losses that the last one was taken from."""
        training = self.stepwise(data, steps, series)
        while True:
            try:
                next(training)
            except StopIteration as end:
                losses: Losses = end.value
                return losses

    def stepwise(self, data: Data, steps: int, series: Series) -> Generator[None, None, Losses]:
        """`train`, which others may do something in the midst of: in every step it waits once to be asked to go on.

        What networks and teachers have said is not needed any more by then. A student alone waits when its step is
        done, one beside others when it has its gradients, for all of them are updated together.
        """
        schedule, curriculum = self.objective.recipe.schedule, self.objective.recipe.curriculum
        for context in self.objective.contexts.values():
            context.record = series.add
        for step in range(steps):
            series.step = step
            progress = Progress(step, steps, self._stage, step - self._stage_start)
            if curriculum is not None:
                progress = self._enter_stage(curriculum, progress)
            if schedule is not None:
                self._switch_quantizer(schedule, progress)
            self.objective.prepare(progress)
            if series.is_kept:
                self._record_flips(series)
            batch = data.batch(step) if curriculum is None else self._chosen_batch(curriculum, data)
            if self.cohort.students == 1:
                losses = self._step(batch, progress, series)
                yield
            else:
                losses, _ = self._evaluate(batch, progress, series)
                yield
                self._update(progress)
        # What is left is what runs from now on: a schedule may ask for another quantizer at the very end.
        end = Progress(steps, steps, self._stage)
        if schedule is not None:
            self._switch_quantizer(schedule, end)
        self.objective.prepare(end)
        return losses

    def leave(self) -> None:
        """Have a loss in common go on without this student."""
        if self.joint is not None:
            self.joint.leave(self.objective.place)

    def _record_flips(self, series: Series) -> None:
        """The share of codes that are not what they were at the step recorded before."""
        shares = self.cohort.flips(series.step)
        if shares is not None:
            series.add(FLIPS, float(shares[self.objective.place]))

    def _enter_stage(self, curriculum: Curriculum, progress: Progress) -> Progress:
        """Slot 0: the progress of a step in the stage that the curriculum asks for."""
        context = self.objective.contexts["batch"]
        context.progress = progress
        stage = curriculum.stage(context, self._last_value)
        if stage != self._stage:
            self._stage, self._stage_start = stage, progress.step
        return progress._replace(stage=stage, stage_step=progress.step - self._stage_start)

    def _chosen_batch(self, curriculum: Curriculum, data: Data) -> Batch:
        """Slot 0: the examples that the curriculum chooses."""
        return curriculum.batch(self.objective.contexts["batch"], self.objective.forward, data)

    def _switch_quantizer(self, schedule: QuantizationSchedule, progress: Progress) -> None:
        """Slot 1's schedule: another quantizer starts with scales of its own; the optimizer remembers nothing."""
        recipe = self.objective.recipe
        final = self._final_quantizer
        if recipe.quantizer is None or final is None:
            return
        name = schedule.quantizer_name(progress, final.name)
        if name == recipe.quantizer.name:
            return
        self.objective.switch(replace(recipe, quantizer=quantizer_like(final, name)))
        self.cohort.start(self.optimizer)

    def _step(self, batch: Batch, progress: Progress, series: Series) -> Losses:
        """A whole step of a student alone."""
        objective = self.objective
        snapshot = self._snapshot() if objective.recipe.gate is not None else None
        losses, penalties = self._evaluate(batch, progress, series)
        self._update(progress, penalties)
        for name, projection in objective.recipe.projections.items():
            projection.project_inplace(self.cohort.latent, objective.contexts[name])
        if snapshot is not None:
            self._judge(snapshot, batch, progress, series)
        return losses

    def _evaluate(self, batch: Batch, progress: Progress, series: Series) -> tuple[Losses, Slopes]:
        """Slots 2 to 4: the loss and its gradients, recorded; those of penalties are given."""
        slopes: Slopes = ()
        if self.joint is None:
            losses, slopes = self._evaluate_alone(batch, progress)
        else:
            losses = self.joint.losses_of(self.objective.place, batch, progress)
        value = self._last_value = losses.value
        if not math.isfinite(value):
            raise Diverged(f"the loss of epoch {progress.step} is {value}")
        series.add("loss", value)
        series.add(SUPERVISED, losses.supervised)
        if batch.kind:
            series.add(batch.kind, 1.0, count=True)
        return losses, slopes

    def _evaluate_alone(self, batch: Batch, progress: Progress) -> tuple[Losses, Slopes]:
        """Slots 2 to 4 of one student, whatever fills them."""
        objective = self.objective
        evaluation = objective.evaluate(batch, progress)
        penalty, slopes = objective.penalty() if objective.recipe.penalties else (0.0, ())
        losses = Losses(evaluation.value + penalty, evaluation.supervised)
        # Outputs are overwritten by the next forward pass, which may be the gate's: slots look at them before.
        if objective.recipe.remembering and math.isfinite(losses.value):
            objective.remember(evaluation, batch)
        return losses, slopes

    def _update(self, progress: Progress, penalties: Slopes = ()) -> None:
        """Slots 5 to 7: the step that follows from the gradients."""
        lr = self.optimizer.lr * self.schedule.factor(progress)
        self.cohort.update(self.optimizer, lr, progress, penalties)
        for name, level in self._own_levels.items():
            self._update_own(self.own_groups[name], level.group(progress), lr)

    def _update_own(self, group: Group, settings: GroupSettings, lr: float) -> None:
        factor = settings.sign * _clip_factor(group, settings.clip)
        self.optimizer.update_inplace(
            group.parameters.flat, group.gradient.flat, group.memory, factor, lr * settings.lr
        )

    def _snapshot(self) -> _Snapshot:
        return _Snapshot(
            flats={name: group.parameters.flat.copy() for name, group in self.groups.items()},
            memories={name: _copied(group.memory) for name, group in self.groups.items()},
            states={name: _copied(context.state) for name, context in self.objective.contexts.items()},
            before=self.cohort.latent.copy(),
        )

    def _judge(self, snapshot: _Snapshot, batch: Batch, progress: Progress, series: Series) -> None:
        """Slot 8. A refusal puts back every bit that the step has changed."""
        objective = self.objective
        gate = objective.recipe.gate
        assert gate is not None
        before = Candidate(snapshot.before, lambda inputs, want: self._forward_as(snapshot.flats, inputs, want))
        present = {name: group.parameters.flat.copy() for name, group in self.groups.items()}
        proposed = Candidate(self.cohort.latent, lambda inputs, want: self._forward_as(present, inputs, want))
        accepted = gate.accept(before, proposed, batch, objective.contexts["gate"])
        self._set_flats(present)
        _count_refusal(series, batch.kind, refused=not accepted)
        if not accepted:
            self._restore(snapshot)

    def _forward_as(self, flats: dict[str, Array], inputs: Array, want: frozenset[str]) -> Arrays:
        """Run the student with other values of everything that is trained."""
        self._set_flats(flats)
        if self.objective.in_force is not None:
            self.objective.in_force.update()
        return self.objective.forward(inputs, want)

    def _set_flats(self, flats: dict[str, Array]) -> None:
        for name, group in self.groups.items():
            group.parameters.flat[:] = flats[name]

    def _restore(self, snapshot: _Snapshot) -> None:
        self._set_flats(snapshot.flats)
        for name, group in self.groups.items():
            group.memory = snapshot.memories[name]
        for name, context in self.objective.contexts.items():
            context.state = snapshot.states[name]


@dataclass(frozen=True)
class _Snapshot:
    """Everything that a step may change, as it was before."""

    flats: dict[str, Array]
    memories: dict[str, dict[str, Array]]
    states: dict[str, dict[str, Array]]
    before: ParameterSet


def _count_refusal(series: Series, kind: str, refused: bool) -> None:
    """Count updates that the gate refused: all, and those on batches of a kind."""
    series.add("blocked", float(refused), count=True)
    if kind:
        series.add(f"blocked_{kind}", float(refused), count=True)


def _copied(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _clip_factor(group: Group, clip: float | None) -> float:
    """What clipping to a norm leaves of a group's gradient."""
    if clip is None:
        return 1.0
    norm = math.sqrt(add_squared_norms(group.gradient.flat, group.layout, np.zeros(1)))
    return clip / norm if norm > clip else 1.0
