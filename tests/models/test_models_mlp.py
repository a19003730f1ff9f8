"""The multilayer perceptron through its public interface."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.finite_differences import gradient_of, relative_error
from kdrun.core.random import Stream
from kdrun.models.mlp import Mlp
from tests.core.comparing import TOLERANCE, assert_bits, assert_gradient, unchanged
from tests.core.layers import automatic_gradients
from tests.naive import dense as naive

# Inputs [B, D] or [T, B, D], among them one row and more than fill a tile.
LEADING = [(1,), (7,), (1, 1), (5, 1), (3, 4)]
leading_axes = pytest.mark.parametrize("leading", LEADING, ids=str)
INPUTS = 3


class Case:
    """A perceptron with random weights, inputs, and gradients of its outputs."""

    def __init__(self, leading, dtype, layers=2, hidden=7, outputs=2, seed=4):
        rng = np.random.default_rng(seed)

        def numbers(shape, reach=1.0):
            return rng.uniform(-reach, reach, shape).astype(np.float32).astype(dtype)

        self.layers = layers
        self.network = Mlp(hidden=hidden, layers=layers).build(INPUTS, {"prediction": outputs}, 1.0, dtype)
        self.weights = {name: numbers(tensor.shape, 0.8) for name, tensor in self.network.tensors.items()}
        self.inputs = numbers((*leading, INPUTS))
        self.slopes = {name: numbers((*leading, *shape)) for name, shape in self.network.outputs.items()}

    def forward(self):
        """Copies of all outputs."""
        found = self.network.forward(self.weights, self.inputs, frozenset(self.network.outputs))
        return {name: array.copy() for name, array in found.items()}

    def backward(self):
        """Gradients of every weight, after a forward pass."""
        gradients = {name: np.full_like(array, np.nan) for name, array in self.weights.items()}
        self.network.backward(self.weights, self.inputs, self.slopes, gradients)
        return gradients

    def loss(self):
        """The scalar whose gradient `backward` gives."""
        return float(sum((self.slopes[name] * output).sum() for name, output in self.forward().items()))


@leading_axes
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("hidden", [1, 7, 16, 17])
def test_outputs_are_those_of_plain_loops(leading, layers, hidden, dtype):
    """Predictions and the last hidden layer equal explicit loops over rows."""
    case = Case(leading, dtype, layers, hidden)
    got = case.forward()
    y, h = naive.perceptron(case.weights, case.inputs.reshape(-1, INPUTS))
    for name, expected in (("prediction", y), ("hidden", h)):
        assert got[name].shape == (*leading, expected.shape[1])
        np.testing.assert_allclose(got[name].reshape(expected.shape), expected, rtol=0, atol=TOLERANCE[dtype])


@leading_axes
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("hidden", [1, 7, 17])
def test_gradients_are_those_of_automatic_differentiation(leading, layers, hidden, dtype):
    """Every gradient equals autograd's on the equations."""
    case = Case(leading, dtype, layers, hidden)
    case.forward()
    got = case.backward()
    slopes = (case.slopes[name].astype(float) for name in ("prediction", "hidden"))
    expected = automatic_gradients(case.weights, case.inputs, *slopes)
    assert set(got) == set(expected)
    for name, array in got.items():
        assert_gradient(array, expected[name], 1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("leading", [(4,), (2, 3)], ids=str)
@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_are_those_of_finite_differences(leading, layers):
    """Every gradient is the numeric slope of the network's own forward pass."""
    case = Case(leading, np.float64, layers, 4)
    case.forward()
    for name, got in case.backward().items():
        expected = gradient_of(case.loss, case.weights[name], 1e-2)
        assert np.linalg.norm(expected) > 0.0
        assert relative_error(got, expected).max() < 1e-6, name


@pytest.mark.parametrize("layers", [1, 3])
def test_a_backward_pass_leaves_nothing_for_the_next(layers, dtype):
    """Gradients by hidden values are added up within a pass: the second has the bits of the first, and no sum."""
    case = Case((5,), dtype, layers)
    case.forward()
    expected = case.backward()
    for name, got in case.backward().items():
        assert_bits(got, expected[name])


def test_time_is_one_more_row(dtype):
    """[T, B, D] and the same rows as [T·B, D] have the same bits: the network knows no time."""
    case = Case((3, 4), dtype)
    expected = case.forward()
    case.inputs = case.inputs.reshape(12, INPUTS)
    for name, got in case.forward().items():
        assert_bits(got, expected[name].reshape(12, -1))


@pytest.mark.parametrize("batch", [1, 4, 5, 6])
def test_a_row_has_the_same_bits_in_any_batch(batch, dtype):
    """What an example gives does not depend on those beside it."""
    case = Case((batch,), dtype, hidden=17)
    together, everything = case.forward(), case.inputs
    for b in range(batch):
        case.inputs = np.ascontiguousarray(everything[b : b + 1])
        for name, got in case.forward().items():
            assert_bits(got[0], together[name][b])


def test_passes_leave_their_arguments_alone(dtype):
    """Weights, flat inputs and gradients of outputs keep their bits."""
    case = Case((5,), dtype)
    unchanged({**case.weights, "x": case.inputs, **case.slopes}, lambda: (case.forward(), case.backward()))


@pytest.mark.parametrize("outputs", [15, 16, 17, 32])
def test_outputs_stay_as_they_are_until_the_next_pass(outputs, dtype):
    """A backward pass does not write over what the forward pass gave, at any width."""
    case = Case((5,), dtype, outputs=outputs)
    found = case.network.forward(case.weights, case.inputs, frozenset(case.network.outputs))
    unchanged(found, case.backward)


@pytest.mark.parametrize("layers", [1, 3])
def test_hidden_values_may_be_on_a_grid(layers, dtype):
    """Every hidden layer is rounded to sevenths before the next one reads it, and the readout reads the last."""
    case = Case((5,), dtype, layers)
    case.network.grid = 7
    got, h = case.forward(), case.inputs.astype(float)
    for number in range(1, layers + 1):
        h = np.round(7 * np.tanh(naive.dense(h, case.weights[f"w{number}"], case.weights[f"b{number}"]))) / 7
    y = naive.dense(h, case.weights[f"w{layers + 1}"], case.weights[f"b{layers + 1}"])
    np.testing.assert_allclose(got["hidden"], h, rtol=0, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(got["prediction"], y, rtol=0, atol=TOLERANCE[dtype])


def test_saturated_units_are_finite(dtype):
    """Inputs of ±1e4 drive units to ±1, and gradients through them to zero."""
    case = Case((2,), dtype)
    case.inputs[0], case.inputs[1] = 1e4, -1e4
    case.slopes["hidden"][...] = 0.0
    assert all(np.isfinite(array).all() for array in case.forward().values())
    got = case.backward()
    assert all(np.isfinite(array).all() for array in got.values())
    assert np.abs(got["w3"]).max() > 0.0
    assert not got["w1"].any()


def test_the_tensors_are_those_of_the_contract():
    """Matrices [fan_in, fan_out] are quantized and biases are not; the readout is the last layer."""
    got = Mlp(hidden=5, layers=2).build(3, {"prediction": 4}, 1.0, "float32").tensors
    assert {name: (tensor.shape, tensor.quantized) for name, tensor in got.items()} == {
        "w1": ((3, 5), True),
        "b1": ((5,), False),
        "w2": ((5, 5), True),
        "b2": ((5,), False),
        "w3": ((5, 4), True),
        "b3": ((4,), False),
    }


def test_initial_ranges_are_glorots():
    """W ~ U(−a, a) with a = √(6/(fan_in + fan_out)), b = 0."""
    got = Mlp(hidden=20, layers=1).build(4, {"prediction": 10}, 1.0, "float32").tensors
    assert (got["w1"].low, got["w1"].high) == (-0.5, 0.5)
    assert got["w2"].high == pytest.approx(math.sqrt(0.2))
    assert (got["b1"].low, got["b1"].high, got["b2"].low, got["b2"].high) == (0.0, 0.0, 0.0, 0.0)


def test_initial_tensors_come_from_streams_of_their_own():
    """A layer's initial values do not depend on how many follow it, and layers of one shape differ."""
    shallow, deep = (
        Mlp(hidden=4, layers=layers)
        .build(3, {"prediction": 2}, 1.0, "float32")
        .initial_parameters(Stream(1, 0, "init"), "float32")
        for layers in (1, 3)
    )
    assert_bits(shallow["w1"], deep["w1"])
    assert not np.array_equal(deep["w2"], deep["w3"])


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"layers": 0}, {"layers": 65}, {"hidden": 4097}, {"layers": 1.5}])
def test_impossible_sizes_are_refused(wrong):
    """At least one layer of one unit, at most 64 of 4,096, whole numbers only."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Mlp(**wrong)
