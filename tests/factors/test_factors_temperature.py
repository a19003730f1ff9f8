"""Temperatures: what they provide, and how a learned one plays against the student."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.finite_differences import partial_derivative
from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.engine.gradcheck import Combination, check
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import recipe_of
from kdrun.engine.train import Series, Trainer
from kdrun.factors.contract import Batch, Context, HyperParameter, Progress, Shapes, Temperature
from kdrun.factors.discover import levels
from kdrun.factors.lr_schedule.constant import Constant
from kdrun.factors.optimizer.adam import Adam
from kdrun.factors.soft_targets.forward_kl import ForwardKl
from kdrun.factors.soft_targets.js import Js
from kdrun.factors.soft_targets.logit_mse import LogitMse
from kdrun.factors.temperature.ctkd import Ctkd
from kdrun.factors.temperature.fixed import Fixed
from kdrun.factors.temperature.rising import Rising
from kdrun.models.mlp import Mlp
from kdrun.tasks.digits import Digits
from tests.core.comparing import assert_bits, too_slow_without_jit
from tests.engine.throwaway import ExponentialWeights, Refusing
from tests.factors.discovered import START, STREAM
from tests.factors.soft import WITH_TEMPERATURE

TEMPERATURES: dict[str, Any] = {name: level() for name, level in levels("temperature").items()}
every_level = pytest.mark.parametrize("level", TEMPERATURES.values(), ids=TEMPERATURES)
bounds = pytest.mark.parametrize("bounded", ["sigmoid", "log_clamp"])
NO_BATCH = Batch(np.zeros((1, 1)), {})


def context_of(level, progress=START, dtype="float64", record=None):
    """What a temperature is handed at some point of training."""
    own, state = level.init(STREAM, Shapes({}, (), {}, np.dtype(dtype)))
    found = Context(ParameterSet.of(own, dtype), dict(state), progress, STREAM)
    if record is not None:
        found.record = record
    return found


def value_of(level, context):
    """What a temperature provides."""
    return level.value((), NO_BATCH, context)


def at(level, theta, dtype="float64"):
    """A context in which θ has a value."""
    context = context_of(level, dtype=dtype)
    context.own["theta"][...] = theta
    return context


# ------------------------------------------------------------------------------------------------ battery


@every_level
@pytest.mark.parametrize("step", [0, 1, 50, 99])
def test_a_temperature_is_positive_and_comes_with_its_square(level, step, dtype):
    """Every level provides T > 0 and, by default, T² as it is at the step."""
    got = value_of(level, context_of(level, Progress(step, 100), dtype))
    assert isinstance(level, HyperParameter)
    assert level.provides == "temperature"
    assert isinstance(got, Temperature)
    assert got.value > 0.0
    assert got.squared == pytest.approx(got.value**2, rel=1e-15)


@every_level
def test_only_a_temperature_with_arrays_is_learned(level):
    """`is_learned` says whether terms are to compute gradients that somebody uses."""
    context = context_of(level)
    assert value_of(level, context).is_learned == bool(len(context.own))


@every_level
def test_asking_for_a_temperature_changes_nothing(level):
    """The same comes again, and neither arrays nor memory move."""
    context = context_of(level, Progress(1, 2))
    before = {name: array.copy() for name, array in {**context.own, **context.state}.items()}
    first = value_of(level, context)
    assert value_of(level, context) == first
    for name, array in {**context.own, **context.state}.items():
        assert_bits(array, before[name])


# ------------------------------------------------------------------------------------------------ fixed and rising


def test_fixed_is_what_the_study_says():
    """T = 3 and T² = 9 from the first step to the last."""
    got = [value_of(Fixed(at=3.0), context_of(Fixed(), Progress(step, 4))) for step in range(4)]
    assert got == [Temperature(3.0, 9.0)] * 4


def test_rising_by_hand():
    """From 1 to 5 in four steps: 1, 2, 3, 4; 5 would be the step after the last. Each is recorded."""
    recorded = []
    level = Rising(low=1.0, high=5.0)
    contexts = [
        context_of(level, Progress(step, 4), record=lambda name, value: recorded.append((name, value)))
        for step in range(5)
    ]
    got = [value_of(level, context) for context in contexts]
    assert got == [Temperature(t, t * t) for t in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert recorded == [("temperature", t) for t in (1.0, 2.0, 3.0, 4.0, 5.0)]


def test_rising_may_fall():
    """A high end below the low one is annealing, which a study may compare with."""
    got = value_of(Rising(low=4.0, high=2.0), context_of(Rising(), Progress(1, 2)))
    assert got.value == 3.0


@pytest.mark.parametrize("wrong", [{"at": 0.0}, {"at": -1.0}, {"at": 1e4}])
def test_an_impossible_temperature_is_refused(wrong):
    """From 0.05 to 1,000."""
    with pytest.raises(ValidationError, match="at"):
        Fixed(**wrong)


# ------------------------------------------------------------------------------------------------ ctkd by itself


@bounds
@pytest.mark.parametrize("start", [1.001, 2.0, 9.5])
def test_ctkd_starts_where_it_says(bounded, start, dtype):
    """T of the first step is `start`, and so is the one that is remembered of the step before."""
    level = Ctkd(start=start, bounded=bounded)
    context = context_of(level, dtype=dtype)
    assert value_of(level, context).value == pytest.approx(start, rel=1e-6 if dtype == np.float32 else 1e-14)
    assert context.state["before"][0] == start


@bounds
def test_ctkd_stays_within_its_bounds(bounded, dtype):
    """Whatever θ is, T lies in 1 … 21, or in 1 … 10 where it is clamped, and never falls as θ grows."""
    level = Ctkd(bounded=bounded)
    got = [value_of(level, at(level, theta, dtype)).value for theta in np.linspace(-60.0, 60.0, 121)]
    high = 21.0 if bounded == "sigmoid" else 10.0
    assert min(got) >= 1.0
    assert max(got) <= high
    assert got == sorted(got)
    assert got[0] == pytest.approx(1.0)
    assert got[-1] == pytest.approx(high)


def test_the_middle_of_the_sigmoid_is_eleven():
    """T = 1 + 20·sigmoid(0)."""
    assert value_of(Ctkd(), at(Ctkd(), 0.0)).value == 11.0


def test_the_clamped_one_is_an_exponential():
    """T = exp θ between the clamps."""
    level = Ctkd(bounded="log_clamp")
    assert value_of(level, at(level, math.log(7.0))).value == pytest.approx(7.0, rel=1e-15)


@bounds
@pytest.mark.parametrize("t_squared", ["inside", "outside"])
@pytest.mark.parametrize("theta", [0.3, 1.0, 2.0])
def test_gradients_of_theta_are_those_of_finite_differences(bounded, t_squared, theta):
    """From gradients by T and by T² that of θ follows; T² counts where it is inside alone."""
    level = Ctkd(bounded=bounded, t_squared=t_squared)
    context = at(level, theta)
    d_value = np.array([0.7, -0.2])

    def value():
        found = value_of(level, context)
        return float(d_value @ [found.value, found.squared])

    expected = partial_derivative(value, context.own["theta"], (0,), 1e-3)
    assert expected != 0.0
    assert level.backward(d_value, context)["theta"][0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("theta", [-0.5, 2.4])
def test_beyond_the_clamps_nothing_moves_theta(theta):
    """Where T is clamped neither the loss nor the anchor has a gradient."""
    level = Ctkd(bounded="log_clamp", anchor=1.0, anchor_at=5.0)
    context = at(level, theta)
    assert value_of(level, context).value in (1.0, 10.0)
    assert level.backward(np.array([1.0, 1.0]), context)["theta"][0] == 0.0
    assert level.own_loss(context)[1]["theta"][0] == 0.0


@bounds
def test_the_anchor_is_subtracted(bounded):
    """The loss of θ's own is −anchor·(T − anchor_at)², with its numeric slope: what ascends is drawn to the anchor."""
    level = Ctkd(bounded=bounded, anchor=0.3, anchor_at=4.0)
    context = at(level, 0.9)
    value, gradients = level.own_loss(context)
    temperature = value_of(level, context).value
    assert value == pytest.approx(-0.3 * (temperature - 4.0) ** 2, rel=1e-14)
    expected = partial_derivative(lambda: level.own_loss(context)[0], context.own["theta"], (0,), 1e-3)
    assert gradients["theta"][0] == pytest.approx(expected, rel=1e-9)
    assert np.sign(expected) == np.sign(4.0 - temperature)


def test_strength_grows_as_a_cosine():
    """Gradients are reversed; the learning rate of θ is 0 at first, half in the middle and full at the end."""
    level = Ctkd(lr=8.0)
    got = [level.group(Progress(step, 4)) for step in range(5)]
    assert {settings.sign for settings in got} == {-1.0}
    expected = [8.0 * (1 - math.cos(math.pi * p / 4)) / 2 for p in range(5)]
    assert [settings.lr for settings in got] == pytest.approx(expected, abs=1e-14)
    assert got[0].lr == 0.0


def test_outside_the_square_is_that_of_the_step_before():
    """T² is a constant to θ: the start's at first, then that of the step that was remembered."""
    level = Ctkd(t_squared="outside", start=3.0)
    context = at(level, 0.0)
    assert value_of(level, context) == Temperature(11.0, 9.0, is_learned=True)
    level.remember({}, (), NO_BATCH, context)
    context.own["theta"][...] = -1.0
    got = value_of(level, context)
    assert got.squared == 121.0
    assert got.value != 11.0


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"start": 1.0}, "greater than 1"),
        ({"start": 21.0}, "less than 21"),
        ({"start": 10.0, "bounded": "log_clamp"}, "start is 10; with log_clamp it must lie below 10"),
        ({"anchor_at": 0.5}, "greater than or equal to 1"),
        ({"anchor": -0.1}, "greater than or equal to 0"),
        ({"bounded": "tanh"}, "'sigmoid' or 'log_clamp'"),
    ],
)
def test_what_no_temperature_could_be_is_refused(wrong, text):
    """Starts and anchors lie within the bounds."""
    with pytest.raises(ValidationError, match=text):
        Ctkd(**wrong)


# ------------------------------------------------------------------------------------------------ recipes


@every_level
@pytest.mark.parametrize("techniques", [{}, {"soft_targets": LogitMse()}], ids=["no term", "logit_mse"])
def test_a_temperature_that_no_term_reads_is_left_out(level, techniques):
    """It has no arrays, no history and no cost."""
    assert recipe_of({"temperature": level, **techniques}).hyper == {}


@every_level
@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_a_temperature_that_a_term_reads_is_there(level, name):
    """Every divergence reads it."""
    found = recipe_of({"temperature": level, "soft_targets": WITH_TEMPERATURE[name]})
    assert found.hyper == {"temperature": level}


# ------------------------------------------------------------------------------------------------ in training

TASK = Digits(batch=16, train_size=64)
MODEL = Mlp(hidden=8)


def stream(purpose):
    return Stream(3, 1, purpose)


def network(dtype="float32"):
    return MODEL.build(TASK.inputs, TASK.heads, TASK.step_time, dtype)


def trainer_with(temperature, term=None, lr=1e-2, gate=None, sharpness=4.0):
    """A student of random weights, taught by a teacher of other ones that are so much larger."""
    taught = network().initial_parameters(stream("teacher"), "float32")
    taught.flat[:] *= np.float32(sharpness)
    techniques = {"temperature": temperature, "soft_targets": term or ForwardKl()}
    if gate is not None:
        techniques["gate"] = gate
    latent = network().initial_parameters(stream("init"), "float32")
    teachers = (TeacherModel(network(), taught),)
    objective = Objective(network(), latent, TASK.loss(), recipe_of(techniques), teachers, stream)
    return Trainer(objective, Adam(lr=lr), Constant())


def train(trainer, steps):
    series = Series.of(steps)
    trainer.train(TASK.training_data(stream, "float32"), steps, series)
    return series


def temperatures_of(trainer, steps=200):
    """T over a training."""
    return [value for _, value in train(trainer, steps).points["temperature"]]


def theta_of(trainer):
    return float(trainer.objective.own["temperature"]["theta"][0])


@pytest.mark.parametrize("t_squared", ["inside", "outside"])
@pytest.mark.parametrize("term", [ForwardKl(), Js()], ids=["forward_kl", "js"])
def test_theta_climbs_what_the_student_descends(t_squared, term):
    """After an update of θ alone the soft loss of the same batch is larger."""
    trainer = trainer_with(Ctkd(anchor=0.0, t_squared=t_squared), term)
    objective, progress = trainer.objective, Progress(1, 2)
    batch = TASK.training_data(stream, "float32").batch(0)
    objective.prepare(progress)
    before, weights = objective.evaluate(batch, progress), objective.latent.copy()
    objective.finish(progress)
    theta = theta_of(trainer)
    trainer._update(progress)
    assert theta_of(trainer) != theta
    objective.latent.assign(weights)
    objective.prepare(progress)
    after = objective.evaluate(batch, progress)
    assert after.results["soft_targets"].mean > before.results["soft_targets"].mean
    assert after.supervised == before.supervised


def test_the_first_step_leaves_theta_alone():
    """Strength is zero at the start: one step of a training moves the student, and no bit of θ."""
    trainer = trainer_with(Ctkd())
    theta, weights = trainer.objective.own["temperature"].flat.copy(), trainer.objective.latent.flat.copy()
    train(trainer, 1)
    assert_bits(trainer.objective.own["temperature"].flat, theta)
    assert not np.array_equal(trainer.objective.latent.flat, weights)


def test_strength_scales_the_step_and_not_the_gradient():
    """Adam's first step is as long as the learning rate, so that half the strength is half the way."""
    for fraction, strength in ((0.25, (1 - math.cos(math.pi / 4)) / 2), (0.5, 0.5), (0.75, 0.853553)):
        trainer = trainer_with(Ctkd(lr=10.0), lr=1e-2)
        progress = Progress(int(4 * fraction), 4)
        trainer.objective.prepare(progress)
        theta = theta_of(trainer)
        trainer._step(TASK.training_data(stream, "float32").batch(0), progress, Series.of(4))
        assert abs(theta_of(trainer) - theta) == pytest.approx(0.1 * strength, rel=1e-3)


@too_slow_without_jit
def test_the_temperature_is_in_the_history():
    """Every step's T, from where it starts, within its bounds."""
    got = temperatures_of(trainer_with(Ctkd(start=3.0)), 20)
    assert len(got) == 20
    assert got[0] == pytest.approx(3.0, rel=1e-6)
    assert all(1.0 <= t <= 21.0 for t in got)


@too_slow_without_jit
def test_without_an_anchor_it_runs_away_upwards_with_its_square_inside():
    """Against a teacher that is sharper than the student T²·KL grows with T: θ climbs to the upper bound."""
    assert temperatures_of(trainer_with(Ctkd(anchor=0.0, lr=60.0, t_squared="inside")), 300)[-1] > 19.0


@too_slow_without_jit
def test_against_a_teacher_that_is_no_sharper_it_runs_away_downwards_whatever_its_square():
    """T²·KL falls with T where the teacher's logits are as small as the student's: θ falls to the lower bound."""
    assert temperatures_of(trainer_with(Ctkd(anchor=0.0, lr=60.0, t_squared="inside"), sharpness=1.0))[-1] < 1.1


@too_slow_without_jit
def test_without_an_anchor_it_runs_away_downwards_with_its_square_outside():
    """KL alone falls with T: θ falls to the lower bound."""
    assert temperatures_of(trainer_with(Ctkd(anchor=0.0, start=5.0, lr=60.0, t_squared="outside")))[-1] < 1.1


@too_slow_without_jit
def test_without_t_squared_in_the_loss_it_runs_away_downwards_too():
    """What the term is not scaled by cannot be climbed by."""
    trainer = trainer_with(Ctkd(anchor=0.0, start=5.0, lr=60.0), ForwardKl(t_squared=False))
    assert temperatures_of(trainer)[-1] < 1.1


@too_slow_without_jit
@bounds
@pytest.mark.parametrize("start", [1.5, 8.0])
def test_a_strong_anchor_holds_it(bounded, start):
    """From below and from above T ends at anchor_at."""
    got = temperatures_of(trainer_with(Ctkd(start=start, bounded=bounded, anchor=100.0, anchor_at=4.0)))
    assert got[-1] == pytest.approx(4.0, abs=0.2)


@too_slow_without_jit
@pytest.mark.parametrize(("t_squared", "anchor"), [("inside", 0.1), ("outside", 1.0)])
def test_an_anchor_keeps_it_from_the_bounds(t_squared, anchor):
    """Near the anchor it comes to rest; with T² outside, where the loss pulls harder, that takes a stronger one."""
    got = temperatures_of(trainer_with(Ctkd(t_squared=t_squared, anchor=anchor)))
    assert 1.7 < got[-1] < 3.0
    assert np.ptp(got[-30:]) < 0.1


@too_slow_without_jit
def test_the_clamped_one_stops_at_its_clamp():
    """Without an anchor exp θ grows until it is clamped, and T is ten from then on."""
    got = temperatures_of(trainer_with(Ctkd(anchor=0.0, bounded="log_clamp", lr=30.0)))
    assert got[-1] == 10.0
    first = got.index(10.0)
    assert set(got[first + 20 :]) == {10.0}


class KeepsLooking(Refusing):
    """A gate for logits: refuses steps, and looks at nothing."""

    def accept(self, before, proposed, batch, context):
        return context.progress.step not in self.refused


@pytest.mark.parametrize("t_squared", ["inside", "outside"])
def test_a_refused_step_leaves_the_temperature_as_it_was(t_squared):
    """θ, its optimizer, and the temperature that is remembered are put back to the bit; an accepted step moves them."""
    trainer = trainer_with(Ctkd(t_squared=t_squared), gate=KeepsLooking(refused=(2,)))
    data, found = TASK.training_data(stream, "float32"), []

    def everything():
        group, context = trainer.groups["temperature"], trainer.objective.contexts["temperature"]
        arrays = {"theta": group.parameters.flat, **group.memory, **context.state}
        return {name: array.tobytes() for name, array in arrays.items()}

    for step in range(4):
        progress = Progress(step, 4)
        trainer.objective.prepare(progress)
        found.append(everything())
        trainer._step(data.batch(step), progress, Series.of(4))
    found.append(everything())
    assert found[3] == found[2]
    assert found[2]["theta"] != found[1]["theta"]
    assert found[4]["theta"] != found[3]["theta"]
    assert found[4]["before"] != found[3]["before"]


# ------------------------------------------------------------------------------------------------ the gradient check


@too_slow_without_jit
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "temperature",
    [Ctkd(), Ctkd(t_squared="outside"), Ctkd(bounded="log_clamp", start=4.0, anchor=0.0), Rising(high=6.0)],
    ids=["ctkd", "outside", "log_clamp", "rising"],
)
@pytest.mark.parametrize("name", ["forward_kl", "js"])
def test_gradients_of_the_whole_are_those_of_finite_differences(name, temperature, weighted):
    """Network, θ and weights of samples together, in both precisions and at both ends of training."""
    techniques = {"soft_targets": WITH_TEMPERATURE[name], "temperature": temperature}
    if weighted:
        techniques["weighting"] = ExponentialWeights()
    rows = list(check([Combination(Digits.example(), Mlp(hidden=3), techniques)]))
    assert len(rows) == 4
    assert [row for row in rows if not row.passed] == []
