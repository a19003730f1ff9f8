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
    """A network, a copy of its weights that may change, and its loss in full."""

    def __init__(self, sizes, dtype="float64"):
        self.sizes, self.weights, self.inputs = sizes, random_weights(sizes, dtype), random_inputs(sizes, dtype)
        self.target = random_slopes(sizes, dtype)[0]
        self.pricing = network_of(sizes, dtype).pricing(self.weights, self.inputs, self.target)
        self._network = network_of(sizes, dtype)

    def loss(self):
        """Of the weights as they are now, by running all of the network."""
        prediction = self._network.forward(self.weights, self.inputs, EVERYTHING)["prediction"]
        errors = (prediction.astype(np.float64) - self.target.astype(np.float64)) ** 2
        return 0.5 * errors.sum() / np.prod(self.inputs.shape[:2])

    def loss_with(self, tensor, row, column, value):
        """With another value in one place."""
        array = self.weights[tensor]
        present = array[row, column]
        array[row, column] = value
        found = self.loss()
        array[row, column] = present
        return found

    def price(self, tensor, row, column, value):
        """By the pricing."""
        self.pricing.change(tensor, row, column, value)
        found = self.pricing.loss()
        self.pricing.change(tensor, row, column, self.weights[tensor][row, column])
        return found

    def change_column(self, tensor, column, values):
        """From now on."""
        for row, value in enumerate(values):
            self.pricing.change(tensor, row, column, value)
        self.weights[tensor][:, column] = values


PRICED = (Sizes(4, 3, 2, 3, 2), Sizes(1, 1, 1, 1, 1), pytest.param(Sizes(3, 1, 2, 17, 3), marks=too_slow_without_jit))


@pytest.mark.parametrize("sizes", PRICED, ids=str)
def test_the_price_of_every_weight_is_that_of_running_the_changed_network(sizes):
    """Inputs' and hidden units' rows, gates and candidates, and the readout of every output."""
    priced = Priced(sizes)
    for tensor in ("w", "w_out"):
        for place in np.ndindex(priced.weights[tensor].shape):
            assert priced.price(tensor, *place, -0.75) == pytest.approx(
                priced.loss_with(tensor, *place, -0.75), rel=1e-13
            )


def test_prices_in_single_precision_are_those_of_running_too():
    """The outputs are the same bits as those of the whole network, so their errors differ by the sum's rounding."""
    priced = Priced(Sizes(3, 5, 1, 17, 2), "float32")
    for place in [("w", 0, 3), ("w", 9, 20), ("w_out", 16, 1)]:
        for value in (0.0, np.float32(-0.4)):
            assert priced.price(*place, value) == pytest.approx(priced.loss_with(*place, value), rel=1e-13)


def test_a_change_lasts():
    """Prices after changes are those of the network with all of them."""
    priced = Priced(Sizes(4, 3, 2, 3, 2))
    for tensor, row, column, value in [("w", 1, 4, 0.9), ("w", 3, 2, -0.8), ("w_out", 1, 1, 1.3)]:
        priced.pricing.change(tensor, row, column, value)
        priced.weights[tensor][row, column] = value
        assert priced.price("w", 0, 0, 0.25) == pytest.approx(priced.loss_with("w", 0, 0, 0.25), rel=1e-13)


@pytest.mark.parametrize("tensor", ["w", "w_out"])
@pytest.mark.parametrize("sizes", PRICED[:2], ids=str)
def test_a_column_takes_the_values_that_trying_each_finds(sizes, tensor):
    """Weight by weight, each with those before it as they are by then; a tie keeps what is."""
    priced, values, changed = Priced(sizes), np.array([-0.75, 0.0, 0.5, 0.5]), 0
    for column in range(priced.weights[tensor].shape[1]):
        taken = np.arange(priced.weights[tensor].shape[0]) % values.size
        priced.change_column(tensor, column, values[taken])
        expected, start = taken.copy(), priced.pricing.loss()
        least = start
        for row in range(taken.size):
            tried = [priced.loss_with(tensor, row, column, value) for value in values]
            if min(tried) < tried[expected[row]] * (1.0 - 1e-12):
                expected[row], least, changed = np.argmin(tried), min(tried), changed + 1
            priced.weights[tensor][row, column] = values[expected[row]]
        assert priced.pricing.take_best(tensor, column, values, taken, start) == pytest.approx(least, rel=1e-12)
        assert taken.tolist() == expected.tolist()
        assert priced.pricing.loss() == pytest.approx(least, rel=1e-12)
    assert changed or sizes.hidden == 1


@pytest.mark.parametrize("place", [("w", 0), ("w", 4), ("w_out", 1)], ids=str)
def test_a_column_stays_as_it_is_where_nothing_is_better(place):
    """Values that give no number, and the loss that there is; what was tried last is put back."""
    priced = Priced(Sizes(4, 3, 2, 3, 2))
    tensor, column = place
    present = priced.weights[tensor][:, column].copy()
    start = priced.pricing.loss()
    taken = np.full(present.size, -1)
    assert priced.pricing.take_best(tensor, column, np.array([np.nan]), taken, start) == start
    assert (taken == -1).all()
    assert priced.pricing.loss() == start
    for row, value in enumerate(present):
        taken = np.full(present.size, -1)
        taken[row] = 0
        priced.change_column(tensor, column, present)
        assert priced.pricing.take_best(tensor, column, np.array([value]), taken, 0.0) == 0.0
        assert (taken == np.where(np.arange(present.size) == row, 0, -1)).all()
        assert priced.pricing.loss() == start


def test_a_loss_that_is_no_number_is_beyond_all_bounds():
    """Never a finite one, and it does not last."""
    priced = Priced(Sizes(4, 3, 2, 3, 2))
    start = priced.pricing.loss()
    assert priced.price("w", 3, 4, np.nan) == np.inf
    assert priced.pricing.loss() == start


def test_a_pricing_is_a_copy():
    """Neither other weights nor other passes of its network reach it."""
    sizes = Sizes(4, 3, 2, 3, 2)
    weights, inputs = random_weights(sizes, "float64"), random_inputs(sizes, "float64")
    network = network_of(sizes, "float64")
    pricing = network.pricing(weights, inputs, random_slopes(sizes, "float64")[0])
    before = pricing.loss()
    for name in weights:
        weights[name] += 1.0
    network.forward(weights, inputs, EVERYTHING)
    assert pricing.loss() == before
