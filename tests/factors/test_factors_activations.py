"""Rounded hidden values: on a grid in forward passes of students alone, and taken for the identity going back."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.objective import Objective, TeacherModel
from kdrun.engine.recipe import Recipe, recipe_of
from kdrun.engine.run import DTYPE, Finished, execute
from kdrun.engine.trained import forward_of
from kdrun.factors.activations.int8 import Int8
from kdrun.factors.contract import Activations, Progress
from kdrun.factors.distillation.trajectory import Trajectory
from kdrun.models.cfc import Cfc
from kdrun.models.mlp import Mlp
from kdrun.study.load import read_study
from kdrun.study.plan import plan
from kdrun.tasks.sine import Sine
from tests.core.comparing import assert_gradient, too_slow_without_jit
from tests.factors.discovered import battery
from tests.naive import cfc

TASK = Sine(steps=6, sequences=3)
BOTH = frozenset({"prediction", "hidden"})
every_model = pytest.mark.parametrize("model", [Cfc(hidden=5), Cfc(hidden=17), Mlp(hidden=5, layers=2)], ids=repr)


def stream(purpose):
    return Stream(3, 1, purpose)


def network(model, dtype="float64", grid=0):
    """A network with values around zero, large enough to fill the range of tanh."""
    built = model.build(1, {"prediction": 1}, 1.0, dtype)
    built.grid = grid
    weights = built.initial_parameters(stream("weights"), dtype)
    for array in weights.values():
        array[...] = 2 * array if array.ndim == 2 else array + 0.3
    return built, weights


def inputs(dtype="float64"):
    return stream("inputs").uniform(0, (6, 3, 1), -2.0, 2.0, dtype)


def assert_on_grid(values, grid):
    """Multiples of 1/grid in [−1, 1], not all of them one."""
    codes = np.asarray(values, float) * grid
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-4)
    assert (np.abs(codes) < grid + 0.5).all()
    assert len(np.unique(np.round(codes))) > 5


@every_model
def test_hidden_values_are_multiples_of_one_over_127(model, dtype):
    """Of both networks; without a grid they are not."""
    built, weights = network(model, dtype)
    plain = built.forward(weights, inputs(dtype), BOTH)["hidden"].copy()
    built.grid = 127
    got = built.forward(weights, inputs(dtype), BOTH)["hidden"]
    assert_on_grid(got, 127)
    assert np.abs(plain * 127 - np.round(plain * 127)).max() > 0.2
    assert 0 < np.abs(got - plain).max() < 0.1


@battery(Activations)
def test_the_student_is_rounded_and_its_teacher_is_not(level):
    """An objective with this technique sets its own network's grid alone."""
    model = Cfc(hidden=5)
    taught = TeacherModel(*network(model, "float32"))
    built, latent = network(model, "float32")
    recipe = recipe_of({"activations": level, "distillation": Trajectory()})
    objective = Objective(built, latent, TASK.loss(), recipe, (taught,), stream)
    batch = TASK.training_data(stream, "float32").batch(0)
    found = objective.evaluate(batch, Progress(0, 1))
    assert_on_grid(found.student["hidden"], level.grid)
    reference = found.teachers[0]["hidden"] * level.grid
    assert np.abs(reference - np.round(reference)).max() > 0.2
    assert (objective.network.grid, taught.network.grid) == (level.grid, 0)


def test_without_the_technique_nothing_is_rounded():
    """A recipe without activations has no grid, and takes one away that a network had."""
    built, latent = network(Cfc(hidden=5), "float32", grid=127)
    objective = Objective(built, latent, TASK.loss(), Recipe(), (), stream)
    assert objective.network.grid == 0


def test_eight_bits_hold_the_grid():
    """Codes from −127 to 127."""
    assert Int8().grid == 127


def rounded(value):
    """To the nearest multiple of 1/127, ties to even."""
    return round(value * 127) / 127


def rounded_forward(weights, x):
    """A CfC whose states are rounded as soon as they are there, one number at a time."""
    steps, samples, _ = x.shape
    units = weights["w_out"].shape[0]
    h = np.zeros((steps, samples, units))
    for b in range(samples):
        state = [0.0] * units
        for t in range(steps):
            operand = [*map(float, x[t, b]), *state]
            state = [rounded(cfc._next_state(weights, operand, state, unit, 1.0)) for unit in range(units)]
            h[t, b] = state
    return h @ weights["w_out"] + weights["b_out"], h


def test_a_rounded_cell_is_that_of_plain_loops():
    """Each state is rounded before the next step reads it, and before it is read out."""
    built, weights = network(Cfc(hidden=5), grid=127)
    got = built.forward(weights, inputs(), BOTH)
    y, h = rounded_forward(weights, inputs())
    np.testing.assert_allclose(got["hidden"], h, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got["prediction"], y, rtol=1e-11, atol=1e-12)


def test_a_rounded_perceptron_is_that_of_plain_numpy():
    """Each layer reads the rounded values of the one below."""
    built, weights = network(Mlp(hidden=5, layers=2), grid=127)
    got = built.forward(weights, inputs(), BOTH)
    first = np.round(np.tanh(inputs() @ weights["w1"] + weights["b1"]) * 127) / 127
    second = np.round(np.tanh(first @ weights["w2"] + weights["b2"]) * 127) / 127
    np.testing.assert_allclose(got["hidden"], second, rtol=1e-12)
    np.testing.assert_allclose(got["prediction"], second @ weights["w3"] + weights["b3"], rtol=1e-11)


def straight_through(weights, x, d_outputs):
    """Gradients of a CfC as if rounding were the identity, at the rounded states, by the equations, in plain numpy."""
    w, tau, (steps, samples, _) = weights["w"], weights["tau"], x.shape
    h, units = rounded_forward(weights, x)[1], tau.size
    floored = np.abs(tau) + 1e-6
    decay = np.exp(-1.0 / floored)
    found = {name: np.zeros_like(array) for name, array in weights.items()}
    carry = np.zeros((samples, units))
    for t in range(steps - 1, -1, -1):
        before = h[t - 1] if t else np.zeros((samples, units))
        operand = np.concatenate([x[t], before], axis=1)
        a = operand @ w + weights["b"]
        gate, cand = 1 / (1 + np.exp(-a[:, :units])), np.tanh(a[:, units:])
        dy = d_outputs["prediction"][t]
        found["w_out"] += h[t].T @ dy
        found["b_out"] += dy.sum(axis=0)
        dh = carry + d_outputs["hidden"][t] + dy @ weights["w_out"].T
        da = np.concatenate([dh * (cand - decay * before) * gate * (1 - gate), dh * gate * (1 - cand**2)], axis=1)
        found["w"] += operand.T @ da
        found["b"] += da.sum(axis=0)
        found["tau"] += (dh * (1 - gate) * before).sum(axis=0) * decay * np.sign(tau) / floored**2
        carry = dh * (1 - gate) * decay + (da @ w.T)[:, x.shape[2] :]
    return found


def test_the_way_back_through_a_cell_is_that_of_the_unrounded_rule_at_rounded_states():
    """Straight through: rounding has slope 1, and everything else is evaluated where the forward pass was."""
    built, weights = network(Cfc(hidden=5), grid=127)
    built.forward(weights, inputs(), BOTH)
    d_outputs = {"prediction": stream("dy").uniform(0, (6, 3, 1), -1.0, 1.0, "float64")}
    d_outputs["hidden"] = stream("dh").uniform(0, (6, 3, 5), -1.0, 1.0, "float64")
    gradients = weights.like()
    built.backward(weights, inputs(), d_outputs, gradients)
    for name, expected in straight_through(weights, inputs(), d_outputs).items():
        assert_gradient(gradients[name], expected, 1e-10)


def test_the_way_back_through_a_perceptron_is_that_of_tanh_at_rounded_values():
    """1 − h² of the rounded h of every layer."""
    built, weights = network(Mlp(hidden=5, layers=2), grid=127)
    x = inputs()
    built.forward(weights, x, BOTH)
    dy = stream("dy").uniform(0, (6, 3, 1), -1.0, 1.0, "float64")
    gradients = weights.like()
    built.backward(weights, x, {"prediction": dy}, gradients)
    first = np.round(np.tanh(x @ weights["w1"] + weights["b1"]) * 127) / 127
    second = np.round(np.tanh(first @ weights["w2"] + weights["b2"]) * 127) / 127
    d2 = dy @ weights["w3"].T * (1 - second**2)
    d1 = d2 @ weights["w2"].T * (1 - first**2)
    assert_gradient(gradients["w3"], np.einsum("tbi,tbo->io", second, dy), 1e-10)
    assert_gradient(gradients["w2"], np.einsum("tbi,tbo->io", first, d2), 1e-10)
    assert_gradient(gradients["w1"], np.einsum("tbi,tbo->io", x, d1), 1e-10)
    assert_gradient(gradients["b1"], d1.sum(axis=(0, 1)), 1e-10)


# ------------------------------------------------------------------------------------------------ finished runs

STUDY = {
    "schema": 1,
    "study": "rounded",
    "task": {"name": "sine", "steps": 8, "sequences": 3, "eval": {"phases": 4, "steps": 8}},
    "model": {"cell": "cfc", "hidden": 5},
    "teacher": {"epochs": 3},
    "student": {"epochs": 3, "quantizer": "int8"},
    "factors": {"activations": ["int8", "none"]},
    "replicates": 1,
    "responses": [{"name": "eval_mse", "scale": "log10", "better": "lower"}],
    "comparators": ["coordinate_search", "post_training", "post_training_search"],
}


@pytest.fixture(scope="module")
def finished():
    """Every run of one replicate: a teacher, a student with rounded states and one without, and three comparators."""
    done = {}
    for run in plan(read_study(STUDY)).replicate(1):
        with np.errstate(all="ignore"):
            outcome = execute(run, tuple(done[need] for need in run.needs))
        assert outcome.status == "done", outcome.error
        done[run.run_id] = Finished(run, outcome)
    return list(done.values())


def hidden_of(item):
    """States of a finished run's network on some inputs."""
    return forward_of(item.run, item.outcome.parameters)(inputs("float32"), frozenset({"hidden"}))["hidden"].copy()


@too_slow_without_jit
def test_a_finished_student_rounds_again_and_its_teacher_does_not(finished):
    """What is run to be looked at is what was trained."""
    for item in finished:
        codes = hidden_of(item) * 127
        distance = np.abs(codes - np.round(codes)).max()
        is_rounded = item.run.kind == "comparator" or item.run.levels.get("activations") == "int8"
        assert bool(distance < 1e-3) == is_rounded, item.run.title


@too_slow_without_jit
def test_comparators_are_measured_with_rounded_states(finished):
    """Their response is that of their own weights on a rounding network, and it differs from that without."""
    comparators = [item for item in finished if item.run.kind == "comparator"]
    assert len(comparators) == 3
    for item in comparators:
        task = Sine(**{name: value for name, value in item.run.spec["task"].items() if name != "name"})
        rounds = forward_of(item.run, item.outcome.parameters)
        got = task.evaluate(rounds, stream, DTYPE)["eval_mse"]
        assert got == item.outcome.responses["eval_mse"]
        plain = {**item.run.spec, "student": {**item.run.spec["student"], "activations": None}}
        again = forward_of(type(item.run)(item.run.run_id, "comparator", 1, plain), item.outcome.parameters)
        assert task.evaluate(again, stream, DTYPE)["eval_mse"] != got
