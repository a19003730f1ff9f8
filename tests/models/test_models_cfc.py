"""The CfC network through its public interface."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import Stream
from kdrun.models.cfc import Cfc
from tests.core.cells import SIZES, automatic_gradients, random_inputs, random_slopes, random_weights
from tests.core.comparing import TOLERANCE, assert_bits, assert_gradient
from tests.naive import cfc as naive

all_sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)
STEP_TIME = 0.25
EVERYTHING = frozenset({"prediction", "hidden"})


def network_of(sizes, dtype):
    """A CfC of some sizes."""
    return Cfc(hidden=sizes.hidden).build(sizes.inputs, sizes.outputs, STEP_TIME, dtype)


@all_sizes
def test_outputs_are_those_of_the_equations(sizes, dtype):
    """Predictions and hidden states equal those of explicit loops."""
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    got = network_of(sizes, dtype).forward(weights, x, EVERYTHING)
    prediction, hidden = naive.forward(weights, x, STEP_TIME)
    np.testing.assert_allclose(got["prediction"], prediction, rtol=0, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(got["hidden"], hidden, rtol=0, atol=TOLERANCE[dtype])


@all_sizes
def test_gradients_are_those_of_automatic_differentiation(sizes, dtype):
    """Every gradient equals that of autograd on the equations."""
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    dy, dhidden = random_slopes(sizes, dtype)
    network = network_of(sizes, dtype)
    network.forward(weights, x, EVERYTHING)
    got = {name: np.full_like(array, np.nan) for name, array in weights.items()}
    network.backward(weights, x, {"prediction": dy, "hidden": dhidden}, got)
    expected = automatic_gradients(weights, x, dy, dhidden, STEP_TIME)
    for name, array in got.items():
        if name == "tau" and sizes.steps == 1:
            assert not array.any()
        else:
            assert_gradient(array, expected[name], 2e-4 if dtype == np.float32 else 1e-11)


def test_the_tensors_are_those_of_the_contract():
    """w [D+H, 2H] and w_out [H, O] are quantized; b, tau and b_out are not."""
    got = Cfc(hidden=5).build(2, 3, 0.1, "float32").tensors
    assert {name: (tensor.shape, tensor.quantized) for name, tensor in got.items()} == {
        "w": ((7, 10), True),
        "b": ((10,), False),
        "tau": ((5,), False),
        "w_out": ((5, 3), True),
        "b_out": ((3,), False),
    }


def test_initial_ranges_are_those_of_the_study():
    """W ~ U(−1, 1)/√fan_in, b = 0, τ ~ U(0.5, 2)."""
    got = Cfc(hidden=15).build(1, 1, 0.1, "float32").tensors
    assert (got["w"].low, got["w"].high) == (-0.25, 0.25)
    assert got["w_out"].high == pytest.approx(1 / np.sqrt(15))
    assert (got["b"].low, got["b"].high, got["b_out"].low, got["b_out"].high) == (0.0, 0.0, 0.0, 0.0)
    assert (got["tau"].low, got["tau"].high) == (0.5, 2.0)


def test_initial_tensors_come_from_streams_of_their_own():
    """A tensor's initial values do not depend on the sizes of the others."""
    small = Cfc(hidden=4).build(1, 1, 0.1, "float32").initial_parameters(Stream(1, 0, "init"), "float32")
    more = Cfc(hidden=4).build(3, 2, 0.1, "float32").initial_parameters(Stream(1, 0, "init"), "float32")
    assert_bits(small["tau"], more["tau"])
    assert small["w_out"].ravel()[0] != small["w"].ravel()[0]


@pytest.mark.parametrize("batch", [1, 4, 5, 6])
def test_a_sequence_has_the_same_bits_in_any_batch(batch, dtype):
    """What a sequence gives does not depend on those beside it, nor on how many there are."""
    sizes = type(SIZES[0])(4, batch, 1, 17, 1)
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    network = network_of(sizes, dtype)
    together = network.forward(weights, x, EVERYTHING)["prediction"].copy()
    for b in range(batch):
        alone = network.forward(weights, np.ascontiguousarray(x[:, b : b + 1]), EVERYTHING)["prediction"]
        assert_bits(alone[:, 0], together[:, b])


def test_the_past_does_not_know_the_future(dtype):
    """An output depends on no later input."""
    sizes = type(SIZES[0])(6, 2, 1, 8, 1)
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    network = network_of(sizes, dtype)
    before = network.forward(weights, x, EVERYTHING)["prediction"].copy()
    x[4] += 1.0
    after = network.forward(weights, x, EVERYTHING)["prediction"]
    assert_bits(after[:4], before[:4])
    assert (after[4:] != before[4:]).all()


def test_weights_that_are_not_finite_are_seen(dtype):
    """nan in a weight makes outputs nan instead of being hidden by padding or clipping."""
    sizes = SIZES[4]
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    weights["w"][0, 3] = np.nan
    got = network_of(sizes, dtype).forward(weights, x, EVERYTHING)["prediction"]
    assert np.isnan(got).all()


@pytest.mark.parametrize("hidden", [0, -1, 4097, 2.0, "16", True])
def test_sizes_outside_the_range_are_refused(hidden):
    """The width is an integer from 1 to 4096."""
    with pytest.raises(ValidationError):
        Cfc(hidden=hidden)
