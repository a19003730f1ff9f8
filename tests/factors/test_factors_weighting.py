"""Weights of samples: every level against plain code, the gradient of a learned sharpness, and where it goes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.finite_differences import gradient_of
from kdrun.core.losses import mean_of
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.factors.contract import Batch, Shapes, Weighting
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.weighting.mean_product import MeanProduct
from kdrun.factors.weighting.uniform import Uniform
from kdrun.factors.weighting.valence import Valence
from kdrun.factors.weighting.valence_learned import ValenceLearned
from kdrun.models.cfc import Cfc
from kdrun.tasks.losses import CrossEntropy
from kdrun.tasks.regimes import Regimes
from tests.core.comparing import assert_bits, assert_gradient, unchanged
from tests.factors.discovered import START, STREAM, battery, context, draw
from tests.naive import valence as naive

STEPS, BATCH, CLASSES = 4, 6, 3
LEARNED = [ValenceLearned(update=update, start=2.0) for update in ("descent", "ascent", "normalised")]
every_update = pytest.mark.parametrize("level", LEARNED, ids=lambda level: level.update)


class Case:
    """A teacher's outputs, values of samples, and what a level records and owns."""

    def __init__(self, level, dtype="float64"):
        self.level, self.dtype, self.recorded = level, np.dtype(dtype), {}
        self.teacher = {
            "logits": 2 * draw("logits", (STEPS, BATCH, CLASSES), dtype=dtype),
            "valence": draw("valence", (STEPS, BATCH, 1), 0.0, 1.0, dtype=dtype),
        }
        self.value = draw("value", (BATCH,), 0.1, 2.0)
        own, state = level.init(STREAM, Shapes({}, (), {}, self.dtype))
        self.context = context(START, own, state)
        self.context.record = self._record

    def _record(self, name, value, count=False):
        self.recorded[name] = value

    def weights(self):
        """Weights and gradients of the level's own."""
        return self.level.weights(self.value, (self.teacher, {}), Batch(np.empty(0), {}), self.context)

    @property
    def z(self):
        """Standard scores by plain code."""
        return naive.standard_scores(naive.saliency(self.teacher["valence"][..., 0], self.teacher["logits"]))


@battery(Weighting)
def test_there_is_a_positive_weight_for_every_sample(level, dtype):
    """Finite float64, whatever precision the teacher has; evaluating twice gives the same bits and changes nothing."""
    case = Case(level, dtype)
    got = case.weights()[0]
    assert (got.shape, got.dtype) == ((BATCH,), np.float64)
    assert (np.isfinite(got) & (got > 0)).all()
    unchanged({**case.teacher, "value": case.value, **case.context.own}, case.weights)
    assert_bits(case.weights()[0], got)


@battery(Weighting)
def test_the_effective_sample_size_is_recorded(level):
    """(Σw)²/Σw² of the weights that were given."""
    case = Case(level)
    weights = case.weights()[0]
    assert case.recorded["effective_sample_size"] == pytest.approx(naive.effective_sample_size(weights), rel=1e-12)


@battery(Weighting)
def test_equal_samples_have_equal_weights(level):
    """Where the teacher expects the same of all, every weight is 1."""
    case = Case(level)
    case.teacher = {name: np.repeat(array[:, :1], BATCH, axis=1) for name, array in case.teacher.items()}
    np.testing.assert_array_equal(case.weights()[0], np.ones(BATCH))


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 6.0])
def test_valence_weights_are_those_of_plain_code(sharpness):
    """exp(λ(s − μ)/σ), sample by sample."""
    case = Case(Valence(sharpness=sharpness))
    got, own = case.weights()
    np.testing.assert_allclose(got, np.exp(sharpness * case.z), rtol=1e-10)
    assert own == {}


def test_the_default_sharpness_is_six():
    """As the source has it."""
    assert Valence().sharpness == MeanProduct().sharpness == ValenceLearned().start == 6.0


def test_uniform_weights_are_ones():
    """No teacher is asked."""
    got, own = Uniform().weights(np.ones(5), (), Batch(np.empty(0), {}), context())
    np.testing.assert_array_equal(got, np.ones(5))
    assert own == {}
    assert not Uniform().teacher_want


def test_a_mean_product_is_one_size_for_all():
    """Every weight is the mean of the exponentials, so that the loss is mean(L)·mean(w)."""
    case = Case(MeanProduct(sharpness=2.0))
    got = case.weights()[0]
    expected = np.exp(2.0 * case.z).mean()
    np.testing.assert_allclose(got, np.full(BATCH, expected), rtol=1e-10)
    assert mean_of(got * case.value) == pytest.approx(case.value.mean() * expected, rel=1e-10)
    assert case.recorded["effective_sample_size"] == pytest.approx(BATCH)


def test_only_the_first_teacher_is_asked():
    """The second teacher above is empty; here it contradicts."""
    case = Case(Valence())
    expected = case.weights()[0]
    other = {"logits": case.teacher["logits"][:, ::-1].copy(), "valence": case.teacher["valence"][:, ::-1].copy()}
    got = case.level.weights(case.value, (case.teacher, other), Batch(np.empty(0), {}), case.context)[0]
    assert_bits(got, expected)


# ------------------------------------------------------------------------------------------------ learned


@every_update
def test_learned_weights_are_those_of_their_sharpness(level):
    """λ = highest·sigmoid(θ) begins at `start`; normalised weights have mean 1."""
    case = Case(level)
    got = case.weights()[0]
    expected = np.exp(2.0 * case.z)
    if level.update == "normalised":
        expected /= expected.mean()
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    assert case.recorded["sharpness"] == pytest.approx(2.0, rel=1e-12)


@every_update
@pytest.mark.parametrize("theta", [-3.0, -1.0, 0.4, 2.0])
def test_the_gradient_of_the_sharpness_is_the_slope_of_the_weighted_loss(level, theta):
    """∂/∂θ of Σ w_i·L_i/N, with λ's bound inside."""
    case = Case(level)
    case.context.own["theta"][:] = theta
    got = case.weights()[1]["theta"].copy()
    expected = gradient_of(lambda: mean_of(case.weights()[0] * case.value), case.context.own["theta"], 1e-2)
    assert_gradient(got, expected, 1e-8)


def test_the_gradient_by_the_equation():
    """Σ L_i·w_i·z_i/N for the plain weights; normalised, the covariance of z and L under the weights."""
    slope = 2.0 * (1 - 2.0 / 10.0)
    case = Case(LEARNED[0])
    w = np.exp(2.0 * case.z)
    expected = slope * (case.value * w * case.z).mean()
    assert case.weights()[1]["theta"][0] == pytest.approx(expected, rel=1e-10)
    normalised = Case(LEARNED[2])
    share = w / w.sum()
    covariance = (share * case.z * case.value).sum() - (share * case.z).sum() * (share * case.value).sum()
    assert normalised.weights()[1]["theta"][0] == pytest.approx(slope * covariance, rel=1e-10)


@pytest.mark.parametrize("level", LEARNED, ids=lambda level: level.update)
def test_where_all_losses_are_equal_only_normalised_weights_do_not_care(level):
    """The slope is positive though no sample is worse, but for weights over their mean, where it is nothing."""
    case = Case(level)
    case.value = np.full(BATCH, 0.7)
    got = case.weights()[1]["theta"][0]
    if level.update == "normalised":
        assert abs(got) < 1e-14
    else:
        assert got > 0.1


@pytest.mark.parametrize(("update", "sign"), [("descent", 1.0), ("ascent", -1.0), ("normalised", 1.0)])
def test_ascent_alone_reverses_the_gradient(update, sign):
    """And all follow it at their own rate."""
    got = ValenceLearned(update=update, lr=3.0).group(START)
    assert (got.sign, got.lr) == (sign, 3.0)


@pytest.mark.parametrize(
    "parameters", [{"start": 10.0}, {"start": 11.0}, {"start": 5.0, "highest": 5.0}, {"start": 0.0}, {"highest": 20.1}]
)
def test_a_start_that_the_bound_does_not_allow_is_refused(parameters):
    """λ lies between nothing and `highest`, neither reached."""
    with pytest.raises(ValidationError):
        ValenceLearned(**parameters)


class EqualLosses(CrossEntropy):
    """The task's loss, with values that say that all samples are as good."""

    name: ClassVar[str] = "equal_losses"

    def evaluate(self, student, teachers, batch, context):
        result = super().evaluate(student, teachers, batch, context)
        return result._replace(value=np.full_like(result.value, 0.7))


TASK = Regimes(regimes=3, emission=2, steps=5, sequences=8, horizon=3)


def sharpness_after(level, steps, loss=None):
    """λ at each step of a training."""

    def stream(purpose):
        return STREAM.child(purpose)

    def network():
        return Cfc(hidden=4).build(2, TASK.heads, 1.0, "float32")

    teacher = TeacherModel(network(), network().initial_parameters(stream("teacher"), "float32"))
    latent = network().initial_parameters(stream("student"), "float32")
    recipe = recipe_of({"weighting": level})
    objective = Objective(network(), latent, loss or TASK.loss(), recipe, (teacher,), stream)
    series = Series.of(steps)
    Trainer(objective, Adam(lr=1e-2), Constant()).train(TASK.training_data(stream, "float32"), steps, series)
    return np.array([value for _, value in series.points["sharpness"]])


def test_descent_lowers_the_sharpness_though_all_losses_are_equal():
    """λ falls in every step: Σ w grows with it."""
    got = sharpness_after(ValenceLearned(update="descent"), 40, EqualLosses())
    assert (np.diff(got) < 0).all()
    assert got[-1] < 3.0


def test_ascent_raises_the_sharpness_and_the_bound_holds_it():
    """λ rises in every step and stays below `highest`."""
    got = sharpness_after(ValenceLearned(update="ascent", highest=8.0), 60, EqualLosses())
    assert (np.diff(got) > 0).all()
    assert 7.5 < got[-1] < 8.0


def test_normalised_weights_leave_the_sharpness_where_all_losses_are_equal():
    """The gradient is a rounding error, which the optimizer's own division could make large; it does not."""
    got = sharpness_after(ValenceLearned(update="normalised"), 20, EqualLosses())
    np.testing.assert_allclose(got, 6.0, atol=0.05)
