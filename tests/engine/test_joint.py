"""A loss that students have in common: what it comes to, and when there is one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.cohort import Cohort
from kdrun.engine.joint import JointLoss, may_be_joint
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import Recipe, recipe_of
from kdrun.factors.contract import Batch, Progress
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.factors.distillation.trajectory_decaying import TrajectoryDecaying
from kdrun.factors.feature.hidden_mse import HiddenMse
from kdrun.factors.gate.random import Random
from kdrun.factors.regularization.l2 import L2
from kdrun.factors.temperature.fixed import Fixed
from kdrun.factors.weighting.uniform import Uniform
from kdrun.models.cfc import Cfc
from kdrun.models.mlp import Mlp
from kdrun.tasks.sine import Sine
from tests.core.comparing import assert_bits
from tests.engine.throwaway import SmallTau

TASK = Sine(steps=7, sequences=3)
STUDENTS, STEPS = 3, 4


class Now(Trajectory):
    """It counts in every other step."""

    def weight(self, progress: Progress) -> float:
        return 0.4 * (progress.step % 2)


class Remembering(Trajectory):
    """It looks at every step."""

    def remember(self, student, teachers, batch, context):
        context.record("seen", 1.0)


class Training(Trajectory):
    """It has an array of its own."""

    def init(self, stream, shapes):
        return {"own": np.zeros(1, shapes.dtype)}, {}


class Anchored(Trajectory):
    """It adds to the loss."""

    def own_loss(self, context):
        return 2.0, {}


class OfTheBatch(Trajectory):
    """It has one value for all samples."""

    per_sample: ClassVar[bool] = False


class AtTheSame(Trajectory):
    """Another term that looks at hidden states, and may be evaluated for several students."""


def stream(purpose: str) -> Stream:
    return Stream(5, 1, purpose)


def network(model=Cfc(hidden=6)):  # noqa: B008 (a model does not change)
    return model.build(1, {"prediction": 1}, TASK.dt, "float32")


def parameters(purpose: str):
    return network().initial_parameters(stream(purpose), "float32")


def objectives(recipes: list[Recipe]) -> list[Objective]:
    """Students side by side, each with weights of its own; they have one teacher."""
    built, teachers = network(), (TeacherModel(network(), parameters("teacher")),)
    cohort = Cohort(built, Cohort.room(built, len(recipes)), Recipe(), len(recipes))
    return [
        Objective(built, parameters(f"student {place}"), TASK.loss(), recipe, teachers, stream, cohort, place)
        for place, recipe in enumerate(recipes)
    ]


def batch(step: int) -> Batch:
    return TASK.training_data(stream, "float32").batch(step)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(supervised_weight=0.0),
        Recipe(supervised_weight=0.3, terms={"distillation": Trajectory()}),
        Recipe(terms={"distillation": Trajectory(start=0.0)}),
        Recipe(terms={"distillation": Now()}),
    ],
    ids=["task", "no task", "shared", "nothing at first", "every other step"],
)
def test_it_comes_to_the_bits_of_each_students_own(recipe):
    """Values, the task's part of them, and gradients in the columns of each, step after step."""
    together, apart = objectives([recipe] * STUDENTS), objectives([recipe] * STUDENTS)
    joint = JointLoss(together[0])
    for place in (2, 0, 1):
        joint.join(place)
    for step in range(STEPS):
        progress = Progress(step, STEPS)
        joint.evaluate(batch(step), progress)
        for own in apart:
            found, losses = own.evaluate(batch(step), progress), joint.losses_of(own.place, batch(step), progress)
            assert losses == (found.value, found.supervised)
        assert_bits(together[0].gradients.latent.flat, apart[0].gradients.latent.flat)
        assert np.any(apart[0].gradients.latent.flat) == bool(recipe.supervised_weight or recipe.terms)


def test_a_loss_is_that_of_another_student_where_nothing_in_it_differs():
    recipes = [
        Recipe(terms={"distillation": Trajectory()}),
        Recipe(terms={"distillation": Trajectory()}),
        Recipe(terms={"distillation": Trajectory(end=0.7)}),
        Recipe(terms={"distillation": TrajectoryDecaying(start=0.3, end=0.8)}),
        Recipe(terms={"distillation": Trajectory()}, supervised_weight=0.5),
        Recipe(),
    ]
    first, *others = objectives(recipes)
    assert [JointLoss.of(first).is_that_of(other) for other in others] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("techniques", "may"),
    [
        ({}, True),
        ({"distillation": Trajectory()}, True),
        ({"distillation": Remembering()}, False),
        ({"distillation": Training()}, False),
        ({"distillation": Anchored()}, False),
        ({"distillation": OfTheBatch()}, False),
        ({"feature": HiddenMse()}, False),
        ({"distillation": Trajectory(), "feature": AtTheSame()}, False),
        ({"weighting": Uniform()}, False),
        ({"regularization": L2()}, False),
        ({"gate": Random()}, False),
        ({"projection": SmallTau()}, False),
        ({"distillation": Now(), "temperature": Fixed()}, True),
    ],
    ids=lambda value: "-".join(type(level).__name__ for level in value.values()) if isinstance(value, dict) else "",
)
def test_it_is_for_terms_of_outputs_and_nothing_besides(techniques, may):
    """Each output has the gradient of one of them."""
    (objective,) = objectives([recipe_of(techniques)])
    assert may_be_joint(objective) == may


def test_a_network_without_passes_of_several_students_has_none():
    built = network(Mlp(hidden=4))
    latent = built.initial_parameters(stream("student"), "float32")
    assert not may_be_joint(Objective(built, latent, TASK.loss(), Recipe(), (), stream))
