"""The loss of students that stand side by side, have it in common and see the same batches, in one call for several.

It is `Objective.evaluate` for a loss that is terms of outputs and nothing besides, and comes to the same bits. Where
terms want more, or the network has no passes of several students, every student evaluates its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdrun.core.losses import mean_of_each
from kdrun.engine.objective import Losses, Objective
from kdrun.factors.contract import Array, Arrays, Batch, Progress
from kdrun.models.contract import Passes


def may_be_joint(objective: Objective) -> bool:
    """Whether a student's loss needs no more than its outputs, those of teachers, and its batch."""
    terms, recipe = objective.terms.values(), objective.recipe
    has_other_slots = recipe.slots.keys() != recipe.terms.keys() or recipe.remembering or recipe.with_own_loss
    if has_other_slots or any(objective.own.values()) or not objective.network.takes_several():
        return False
    outputs = [name for term in terms for name in term.want]
    return all(term.takes_several() for term in terms) and len(outputs) == len(set(outputs))


def evaluate_as_in_training(objective: Objective, batch: Batch, progress: Progress) -> None:
    """Fill the gradients of an objective in the way in which a run alone has them filled."""
    if may_be_joint(objective):
        JointLoss.of(objective).evaluate(batch, progress)
    else:
        objective.evaluate(batch, progress)


@dataclass(slots=True)
class _Part:
    """Students whose passes are made at once, over batches of one shape.

    `values` [K, M, B] are those of every term, the task's own first, `means` [K, M] their means; both begin at zero.
    """

    places: Sequence[int]
    passes: Passes
    values: Array
    means: Array

    @classmethod
    def of(cls, objective: Objective, places: Sequence[int], shape: tuple[int, ...]) -> _Part:
        """Students of one objective at some places, for batches of one shape."""
        passes = objective.network.passes(places, shape, objective.want)
        terms, samples = len(objective.terms), shape[-2]
        return cls(places, passes, np.zeros((terms, len(places), samples)), np.zeros((terms, len(places))))

    def losses(self, weights: Sequence[float]) -> dict[int, Losses]:
        """Σ weight·mean of the terms, and the mean of the task's own, by place."""
        means, found = self.means.tolist(), {}
        for student, place in enumerate(self.places):
            value = weights[0] * means[0][student]
            for number in range(1, len(weights)):
                value += weights[number] * means[number][student]
            found[place] = Losses(value, means[0][student])
        return found


class JointLoss:
    """A loss that students of a cohort have in common. They join before it is evaluated; `first` says what it is."""

    def __init__(self, first: Objective) -> None:
        self._objective, self._terms = first, tuple(first.terms.values())
        self._places: list[int] = []
        self._parts: dict[tuple[int, ...], list[_Part]] = {}
        self._losses: dict[int, Losses] = {}

    @classmethod
    def of(cls, objective: Objective) -> JointLoss:
        """That of one student."""
        joint = cls(objective)
        joint.join(objective.place)
        return joint

    def is_that_of(self, objective: Objective) -> bool:
        """Whether another student of the cohort, with the same batches and teachers, has this loss."""
        is_alike = self._objective.recipe.supervised_weight == objective.recipe.supervised_weight
        return is_alike and self._terms == tuple(objective.terms.values())

    def join(self, place: int) -> None:
        """Let the student at a place take part."""
        self._places.append(place)
        self._parts.clear()

    def leave(self, place: int) -> None:
        """Go on without the student at a place."""
        self._places.remove(place)
        self._parts.clear()

    def losses_of(self, place: int, batch: Batch, progress: Progress) -> Losses:
        """Those of one student; the gradients of the weights that run are in the cohort's."""
        self.evaluate(batch, progress)
        return self._losses[place]

    def evaluate(self, batch: Batch, progress: Progress) -> None:
        """Losses of all at their present weights, and the gradients of the weights that run."""
        teachers = self._objective.run_teachers(batch) if self._objective.teacher_want else ()
        weights = self._weights(progress)
        for part in self._parts.get(batch.inputs.shape) or self._parted(batch.inputs.shape):
            self._losses |= self._evaluated(part, teachers, batch, weights)

    def _parted(self, shape: tuple[int, ...]) -> list[_Part]:
        """All students, so many at once as is best for batches of this shape."""
        most, places = self._objective.network.most_at_once(shape), self._places
        parts = [places[first : first + most] for first in range(0, len(places), most)]
        return self._parts.setdefault(shape, [_Part.of(self._objective, few, shape) for few in parts])

    def _weights(self, progress: Progress) -> list[float]:
        """The coefficient of each term at a step."""
        weights = [term.weight(progress) for term in self._terms]
        weights[0] *= self._objective.recipe.share_of_task(progress)
        return weights

    def _evaluated(
        self, part: _Part, teachers: tuple[Arrays, ...], batch: Batch, weights: Sequence[float]
    ) -> dict[int, Losses]:
        """Losses of some students, and their gradients. Of terms without weight the task's own alone is evaluated."""
        passes, cohort = part.passes, self._objective.cohort
        passes.forward(cohort.weights, batch.inputs)
        for number, term in enumerate(self._terms):
            if number and not weights[number]:
                for name in term.want:
                    passes.slopes[name].fill(0.0)
            else:
                term.evaluate_each(passes.outputs, teachers, batch, weights[number], part.values[number], passes.slopes)
        mean_of_each(part.values, part.means)
        passes.backward(cohort.weights, cohort.gradient_arrays)
        return part.losses(weights)
