"""A training step of the source on valence weighting: its whole loss, and its eight steps in their order."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.factors.contract import Progress
from kdrun.factors.feature.hidden_mse import HiddenMse
from kdrun.factors.future_valence.teacher import Teacher
from kdrun.factors.future_valence.truth import Truth
from kdrun.factors.gate.mercy import Mercy
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.regularization.l2 import L2
from kdrun.factors.sequence.seq_kd import SeqKd
from kdrun.factors.soft_targets.forward_kl import ForwardKl
from kdrun.factors.weighting.mean_product import MeanProduct
from kdrun.factors.weighting.valence import Valence
from kdrun.models.cfc import Cfc
from kdrun.tasks.regimes import Regimes
from tests.core.comparing import assert_gradient
from tests.naive import cfc
from tests.naive import valence as naive

TASK = Regimes(regimes=3, emission=2, steps=6, sequences=5, horizon=3)
LAMBDAS = (0.7, 0.8, 0.4, 0.3, 0.6, 0.05)
SHARPNESS = 1.5
START = Progress(0, 10)


def stream(purpose):
    return Stream(3, 1, purpose)


def network(dtype="float64"):
    return Cfc(hidden=4).build(2, TASK.heads, 1.0, dtype)


def techniques(lambdas=LAMBDAS, weighting=None):
    """All terms of the source, with coefficients λ1 to λ5."""
    return {
        "soft_targets": ForwardKl(mix=False, kd_weight=lambdas[1]),
        "feature": HiddenMse(coefficient=lambdas[2]),
        "sequence": SeqKd(coefficient=lambdas[3]),
        "future_valence": Truth(coefficient=lambdas[4]),
        "regularization": L2(coefficient=lambdas[5]),
        "weighting": weighting or Valence(sharpness=SHARPNESS),
    }


def objective_with(lambdas=LAMBDAS, dtype="float64", **changed):
    """The student of a random teacher."""
    taught = network(dtype).initial_parameters(stream("teacher"), dtype)
    latent = network(dtype).initial_parameters(stream("student"), dtype)
    levels = {**techniques(lambdas), **changed}
    recipe = recipe_of(levels, lambdas[0])
    return Objective(network(dtype), latent, TASK.loss(), recipe, (TeacherModel(network(dtype), taught),), stream)


def total(objective, batch):
    """L_total: the weighted loss and the penalty."""
    value = objective.evaluate(batch, START).value
    return value + objective.finish(START)


def parts_of(objective, batch):
    """Weights [B], losses of each sample by term, λ0 to λ4 left out, and the square of all matrices, by plain code."""
    outputs = []
    for weights in (objective.latent, objective.teachers[0].weights):
        y, h = cfc.forward(weights, batch.inputs, 1.0)
        outputs.append({"logits": y[..., :3], "valence": y[..., 3:], "hidden": h})
    student, teacher = outputs
    z = naive.standard_scores(naive.saliency(teacher["valence"][..., 0], teacher["logits"]))
    losses = [
        naive.cross_entropy(student["logits"], batch.targets["label"]),
        naive.forward_kl(student["logits"], teacher["logits"]),
        naive.mean_square(student["hidden"], teacher["hidden"]),
        naive.cross_entropy(student["logits"], teacher["logits"].argmax(axis=-1)),
        naive.mean_square(student["valence"], batch.targets["valence"]),
    ]
    square = sum(float(np.square(objective.latent[name]).sum()) for name in ("w", "w_out"))
    return np.exp(SHARPNESS * z), losses, square


@pytest.fixture
def batch():
    return TASK.training_data(stream, "float64").batch(0)


def test_the_whole_loss_is_that_of_the_source(batch):
    """Σ_i w_i(λ0·CE + λ1·KL + λ2·features + λ3·sequence + λ4·valence)_i/N + λ5·‖w‖²."""
    objective = objective_with()
    weights, losses, square = parts_of(objective, batch)
    base = sum(one * loss for one, loss in zip(LAMBDAS, losses, strict=False))
    expected = (weights * base).mean() + LAMBDAS[5] * square
    assert total(objective, batch) == pytest.approx(expected, rel=1e-11)
    assert abs(expected - (base.mean() + LAMBDAS[5] * square)) > 0.01 * expected


def test_averages_first_are_another_loss(batch):
    """mean(w)·mean(L) + λ5·‖w‖²: no sample counts more than another."""
    objective = objective_with(weighting=MeanProduct(sharpness=SHARPNESS))
    weights, losses, square = parts_of(objective, batch)
    base = sum(one * loss for one, loss in zip(LAMBDAS, losses, strict=False))
    assert total(objective, batch) == pytest.approx(weights.mean() * base.mean() + LAMBDAS[5] * square, rel=1e-11)


@pytest.mark.parametrize("place", range(6))
def test_each_coefficient_scales_its_own_part(batch, place):
    """Twice λ adds the part once more; none leaves it out."""
    weights, losses, square = parts_of(objective_with(), batch)
    part = LAMBDAS[place] * (square if place == 5 else (weights * losses[place]).mean())
    once = total(objective_with(), batch)
    for factor in (0.0, 2.0):
        changed = tuple(one * factor if i == place else one for i, one in enumerate(LAMBDAS))
        assert total(objective_with(changed), batch) - once == pytest.approx((factor - 1) * part, rel=1e-8)
    assert abs(part) > 1e-4


def test_the_gradient_of_the_whole_loss_is_its_slope(batch):
    """By every parameter, with all coefficients at work."""
    objective = objective_with()
    total(objective, batch)
    for name, gradient in objective.gradients.latent.items():
        got, array = gradient.copy(), objective.latent[name]
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            middle = array[index]
            ends = []
            for move in (1e-5, -1e-5):
                array[index] = middle + move
                ends.append(total(objective, batch))
            array[index] = middle
            expected[index] = (ends[0] - ends[1]) / 2e-5
        total(objective, batch)
        assert_gradient(got, expected, 1e-6)


@pytest.mark.parametrize("place", range(5))
def test_a_sample_counts_by_its_own_weight(batch, place):
    """The gradient by the outputs is that without weights, times the weight of the sample."""
    only = tuple(1.0 if i == place else 0.0 for i in range(6))
    seen = []

    def spied(objective):
        objective.network.backward = lambda w, x, d_outputs, dw, place: seen.append(copy.deepcopy(d_outputs))
        return objective

    spied(objective_with(only)).evaluate(batch, START)
    spied(objective_with(only, weighting=Valence(sharpness=0.0))).evaluate(batch, START)
    weights = parts_of(objective_with(), batch)[0]
    found = 0
    for name, plain in seen[1].items():
        expected = plain * weights[np.newaxis, :, np.newaxis]
        np.testing.assert_allclose(seen[0][name], expected, rtol=1e-9, atol=1e-15)
        found += np.abs(expected).max() > 1e-6
    assert found == 1


# ------------------------------------------------------------------------------------------------ order of steps


class Steps:
    """A trainer of the source's loss that notes what is called, and in which order."""

    def __init__(self, accepts=True):
        self.calls = calls = []

        class Noted(Mercy):
            name: ClassVar[str] = "noted"

            def accept(self, before, proposed, batch, context):
                calls.append("gate")
                super().accept(before, proposed, batch, context)
                calls.append("judged")
                return accepts

        levels = {"gate": Noted(samples=2, steps=2), "future_valence": Teacher(coefficient=LAMBDAS[4])}
        self.objective = objective_with(dtype="float32", **levels)
        self.trainer = Trainer(self.objective, Adam(lr=1e-2), Constant())
        self._note(self.objective.network, "forward", "student")
        self._note(self.objective.network, "backward", "backward")
        self._note(self.objective.teachers[0].network, "run_only", "teacher")
        for name, term in self.objective.terms.items():
            self._note(term, "evaluate", f"term {name}")
        self._note(self.objective.recipe.weighting, "weights", "weights")
        self._note(self.trainer.optimizer, "update_inplace", "update")

    def _note(self, owner, method, text):
        original = getattr(owner, method)

        def noted(*arguments, **named):
            self.calls.append(text)
            return original(*arguments, **named)

        object.__setattr__(owner, method, noted)

    def take(self, number=0):
        """One step on a batch; what is prepared before it is noted by no one."""
        self.objective.prepare(Progress(number, 4))
        data = TASK.training_data(stream, "float32")
        return self.trainer._step(data.batch(number), Progress(number, 4), Series.of(4))


def test_the_steps_are_those_of_the_source_in_their_order():
    """Student, teacher, base loss, weights, weighted loss, backward, update, gate: the gate sees what is proposed."""
    steps = Steps()
    steps.take()
    terms = ["supervised", "feature", "future_valence", "sequence", "soft_targets"]
    expected = ["student", "teacher", *(f"term {name}" for name in terms), "weights", "backward", "update", "gate"]
    assert steps.calls[: len(expected)] == expected
    rolled = steps.calls[len(expected) : steps.calls.index("judged")]
    assert rolled == ["teacher"] * 2 + ["student"] * 2
    assert steps.calls[-1] == "judged"


def test_what_is_backpropagated_is_the_weighted_loss():
    """Weights are there before the backward pass, and its gradients are those of L_total."""
    steps = Steps()
    seen = []
    original = steps.objective.network.backward

    def spy(weights, inputs, d_outputs, gradients, place):
        seen.append(d_outputs["logits"].copy())
        original(weights, inputs, d_outputs, gradients, place)

    steps.objective.network.backward = spy
    weighting, weighed = steps.objective.recipe.weighting, []
    weights_of = weighting.weights
    object.__setattr__(weighting, "weights", lambda *of: weighed.append(weights_of(*of)) or weighed[-1])
    steps.take()
    ((weights, _),) = weighed
    batch = TASK.training_data(stream, "float64").batch(0)
    plain = []
    reference = objective_with(weighting=Valence(sharpness=0.0), future_valence=Teacher(coefficient=LAMBDAS[4]))
    reference.network.backward = lambda w, x, d_outputs, dw, place: plain.append(d_outputs["logits"].copy())
    reference.evaluate(batch, START)
    assert_gradient(seen[0], plain[0] * weights[np.newaxis, :, np.newaxis], 1e-5)


def test_teachers_are_run_and_never_trained():
    """Their weights keep their bits, and no backward pass goes through them."""
    steps = Steps()
    before = {name: array.tobytes() for name, array in steps.objective.teachers[0].weights.items()}
    steps._note(steps.objective.teachers[0].network, "backward", "teacher's backward")
    steps.take()
    assert {name: array.tobytes() for name, array in steps.objective.teachers[0].weights.items()} == before
    assert "teacher's backward" not in steps.calls


def memory_of(steps):
    """Parameters and moments of every group."""
    found = {name: group.parameters.flat.tobytes() for name, group in steps.trainer.groups.items()}
    for name, group in steps.trainer.groups.items():
        found |= {f"{name}/{part}": array.tobytes() for part, array in group.memory.items()}
    return found


def test_a_refusal_leaves_no_trace():
    """Zero gradients would move moments; here parameters and moments are the bits of before."""
    refused, kept = Steps(accepts=False), Steps()
    before = memory_of(refused)
    refused.take()
    kept.take()
    assert memory_of(refused) == before
    assert memory_of(kept) != before


def test_the_step_after_a_refusal_is_that_without_it():
    """The second step has the bits that it has where the first was never proposed."""
    refused, fresh = Steps(accepts=False), Steps()
    refused.take(0)
    got = refused.take(1)
    expected = fresh.take(1)
    assert got.value == expected.value
    for name, gradient in fresh.objective.gradients.latent.items():
        np.testing.assert_array_equal(refused.objective.gradients.latent[name], gradient)
