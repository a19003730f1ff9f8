"""The CfC network through its public interface."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from kdrun.core.random import Stream
from kdrun.models.cfc import Cfc
from tests.core.cells import SIZES, Sizes, automatic_gradients, random_inputs, random_slopes, random_weights
from tests.core.comparing import TOLERANCE, assert_bits, assert_gradient, too_slow_without_jit
from tests.naive import cfc as naive

all_sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)
STEP_TIME = 0.25
EVERYTHING = frozenset({"prediction", "hidden"})


def network_of(sizes, dtype):
    """A CfC of some sizes."""
    return Cfc(hidden=sizes.hidden).build(sizes.inputs, {"prediction": sizes.outputs}, STEP_TIME, dtype)


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
    got = Cfc(hidden=5).build(2, {"prediction": 3}, 0.1, "float32").tensors
    assert {name: (tensor.shape, tensor.quantized) for name, tensor in got.items()} == {
        "w": ((7, 10), True),
        "b": ((10,), False),
        "tau": ((5,), False),
        "w_out": ((5, 3), True),
        "b_out": ((3,), False),
    }


def test_initial_ranges_are_those_of_the_study():
    """W ~ U(−1, 1)/√fan_in, b = 0, τ ~ U(0.5, 2)."""
    got = Cfc(hidden=15).build(1, {"prediction": 1}, 0.1, "float32").tensors
    assert (got["w"].low, got["w"].high) == (-0.25, 0.25)
    assert got["w_out"].high == pytest.approx(1 / np.sqrt(15))
    assert (got["b"].low, got["b"].high, got["b_out"].low, got["b_out"].high) == (0.0, 0.0, 0.0, 0.0)
    assert (got["tau"].low, got["tau"].high) == (0.5, 2.0)


def test_initial_tensors_come_from_streams_of_their_own():
    """A tensor's initial values do not depend on the sizes of the others."""
    small = (
        Cfc(hidden=4).build(1, {"prediction": 1}, 0.1, "float32").initial_parameters(Stream(1, 0, "init"), "float32")
    )
    more = Cfc(hidden=4).build(3, {"prediction": 2}, 0.1, "float32").initial_parameters(Stream(1, 0, "init"), "float32")
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


# ------------------------------------------------------------------------------------------------ prices


class Priced:
    """A network, a copy of its weights that may change, and its error in full."""

    def __init__(self, sizes, dtype="float64"):
        self.sizes, self.weights, self.inputs = sizes, random_weights(sizes, dtype), random_inputs(sizes, dtype)
        self.target = random_slopes(sizes, dtype)[0]
        self.pricing = network_of(sizes, dtype).pricing(self.weights, self.inputs, self.target)
        self._network = network_of(sizes, dtype)

    def error(self):
        """Of the weights as they are now, by running all of the network."""
        prediction = self._network.forward(self.weights, self.inputs, EVERYTHING)["prediction"]
        return ((prediction.astype(np.float64) - self.target.astype(np.float64)) ** 2).sum()

    def error_with(self, tensor, row, column, value):
        """With another value in one place."""
        array = self.weights[tensor]
        present = array[row, column]
        array[row, column] = value
        found = self.error()
        array[row, column] = present
        return found

    def prices(self, tensor, row, column, values, bound=np.inf):
        """By the pricing."""
        return self.pricing.errors(tensor, row, column, np.array(values, self.weights[tensor].dtype), bound)


PRICED = (Sizes(4, 3, 2, 3, 2), Sizes(1, 1, 1, 1, 1), pytest.param(Sizes(3, 1, 2, 17, 3), marks=too_slow_without_jit))


@pytest.mark.parametrize("sizes", PRICED, ids=str)
def test_the_price_of_every_weight_is_that_of_running_the_changed_network(sizes):
    """Inputs' and hidden units' rows, gates and candidates, and the readout of every output."""
    priced = Priced(sizes)
    for tensor in ("w", "w_out"):
        for row, column in np.ndindex(priced.weights[tensor].shape):
            got = priced.prices(tensor, row, column, [-0.75, 0.5])
            expected = [priced.error_with(tensor, row, column, value) for value in (-0.75, 0.5)]
            np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_prices_in_single_precision_are_those_of_running_too():
    """The outputs are the same bits as those of the whole network, so their errors differ by the sum's rounding."""
    priced = Priced(Sizes(3, 5, 1, 17, 2), "float32")
    for tensor, row, column in [("w", 0, 3), ("w", 9, 20), ("w_out", 16, 1)]:
        got = priced.prices(tensor, row, column, [0.0, -0.4])
        expected = [priced.error_with(tensor, row, column, value) for value in (0.0, np.float32(-0.4))]
        np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_an_error_is_infinite_only_where_it_exceeds_the_bound():
    """Errors up to the bound are the same bits as without one; the bound itself is allowed."""
    priced, values = Priced(Sizes(6, 2, 2, 3, 2)), np.linspace(-2.0, 2.0, 9)
    for place in [("w", 1, 4), ("w", 3, 1), ("w_out", 2, 0)]:
        free = priced.prices(*place, values)
        for bound in free:
            got = priced.prices(*place, values, bound)
            assert_bits(got, np.where(free > bound, np.inf, free))
        assert np.isinf(priced.prices(*place, values, 0.0)).all()


@pytest.mark.parametrize("bound", [np.inf, 0.0])
def test_a_priced_weight_is_put_back(bound):
    """What was tried last, to its end or not, changes nothing of what is priced next."""
    priced = Priced(Sizes(4, 3, 2, 3, 2))
    before = priced.prices("w_out", 0, 0, [0.3])
    for place in [("w", 0, 0), ("w", 4, 5), ("w_out", 2, 1)]:
        priced.prices(*place, [5.0, -7.0], bound)
        assert_bits(priced.prices("w_out", 0, 0, [0.3]), before)


def test_a_change_lasts():
    """Prices after changes are those of the network with all of them."""
    priced = Priced(Sizes(4, 3, 2, 3, 2))
    for place, value in [(("w", 1, 4), 0.9), (("w", 3, 2), -0.8), (("w_out", 1, 1), 1.3)]:
        tensor, row, column = place
        priced.pricing.change(*place, value)
        priced.weights[tensor][row, column] = value
        got = priced.prices("w", 0, 0, [0.25])
        np.testing.assert_allclose(got, [priced.error_with("w", 0, 0, 0.25)], rtol=1e-13)


def test_a_pricing_is_a_copy():
    """Neither other weights nor other passes of its network reach it."""
    sizes = Sizes(4, 3, 2, 3, 2)
    weights, inputs = random_weights(sizes, "float64"), random_inputs(sizes, "float64")
    network = network_of(sizes, "float64")
    pricing = network.pricing(weights, inputs, random_slopes(sizes, "float64")[0])
    before = pricing.errors("w", 0, 0, np.array([0.5]), np.inf)
    for name in weights:
        weights[name] += 1.0
    network.forward(weights, inputs, EVERYTHING)
    assert_bits(pricing.errors("w", 0, 0, np.array([0.5]), np.inf), before)


@pytest.mark.parametrize("place", [("w", 0, 0), ("w", 3, 4), ("w_out", 1, 1)], ids=str)
def test_a_price_that_is_no_number_is_seen_and_does_not_last(place):
    """nan among the values has the price nan, never a finite one, and the next value has the price it has alone."""
    priced = Priced(Sizes(4, 3, 2, 3, 2))
    alone = priced.prices(*place, [0.5])
    got = priced.prices(*place, [np.nan, 0.5])
    assert np.isnan(got[0])
    assert_bits(got[1:], alone)
    assert not np.isfinite(priced.prices(*place, [np.nan], 1e-3)).any()
