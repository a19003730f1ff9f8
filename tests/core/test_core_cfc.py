"""The CfC kernels against explicit loops, finite differences and automatic differentiation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kdrun.core.cfc import (
    BLOCK_ROWS,
    block_rows,
    decay_backward,
    decay_forward,
    unpack_gradients,
)
from kdrun.core.finite_differences import gradient_of, relative_error
from kdrun.core.jit import JIT_DISABLED
from kdrun.core.vector import width
from tests.core.cells import (
    DT,
    LARGE,
    SIZES,
    SMALL,
    KernelCell,
    Sizes,
    automatic_gradients,
    random_inputs,
    random_slopes,
    random_weights,
)
from tests.core.comparing import TOLERANCE, assert_bits, assert_gradient, too_slow_without_jit, unchanged
from tests.naive import cfc as naive

all_sizes = pytest.mark.parametrize("sizes", SIZES, ids=str)


def analytic_gradients(sizes, dtype):
    """Gradients by the kernels for random slopes, and those by automatic differentiation."""
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    dy, dhidden = random_slopes(sizes, dtype)
    cell = KernelCell(sizes, weights, dtype)
    cell.forward(x)
    return cell.backward(dy, dhidden), automatic_gradients(weights, x, dy, dhidden)


# ------------------------------------------------------------------------------------------------ forward


@all_sizes
def test_outputs_are_those_of_the_equations(sizes, dtype):
    """Outputs equal those of explicit loops."""
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    got, _ = KernelCell(sizes, weights, dtype).forward(x)
    expected, _ = naive.forward(weights, x, DT)
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype])


@all_sizes
def test_hidden_states_are_those_of_the_equations(sizes, dtype):
    """Hidden states of every step equal those of explicit loops."""
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    _, got = KernelCell(sizes, weights, dtype).forward(x)
    _, expected = naive.forward(weights, x, DT)
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("sizes", LARGE, ids=str)
def test_a_sequence_has_the_same_bits_in_any_batch(sizes, dtype):
    """A sequence run alone gives the bits that it gives among others."""
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    together, _ = KernelCell(sizes, weights, dtype).forward(x)
    one = type(sizes)(sizes.steps, 1, sizes.inputs, sizes.hidden, sizes.outputs)
    for b in range(sizes.batch):
        alone, _ = KernelCell(one, weights, dtype).forward(np.ascontiguousarray(x[:, b : b + 1]))
        assert_bits(alone[:, 0], together[:, b])


def test_running_again_gives_the_same_bits(dtype):
    """What an earlier pass left in the working space does not reach the next."""
    sizes = SIZES[4]
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    cell = KernelCell(sizes, weights, dtype)
    first, _ = cell.forward(x)
    first_gradients = {name: array.copy() for name, array in cell.backward(*random_slopes(sizes, dtype)).items()}
    cell.forward(random_inputs(sizes, dtype, seed=99))
    cell.backward(*random_slopes(sizes, dtype, seed=98))
    again, _ = cell.forward(x)
    assert_bits(again, first)
    for name, array in cell.backward(*random_slopes(sizes, dtype)).items():
        assert_bits(array, first_gradients[name])


@all_sizes
def test_units_beyond_the_last_stay_zero(sizes, dtype):
    """Padding columns of states and of every gradient hold zeros."""
    cell = KernelCell(sizes, random_weights(sizes, dtype), dtype)
    cell.forward(random_inputs(sizes, dtype))
    cell.backward(*random_slopes(sizes, dtype))
    hidden, units = sizes.hidden, cell.units
    assert not cell.hidden[..., hidden:].any()
    assert not cell.operands[:, hidden:units].any()
    assert not cell.dout_rows[:, hidden:].any()
    assert not cell.dw_rows[hidden:units].any()
    for side in (0, units):
        assert not cell.dw_rows[:, side + hidden : side + units].any()
        assert not cell.db_row[:, side + hidden : side + units].any()


def test_a_pass_leaves_its_inputs_alone(dtype):
    """Forward and backward change neither weights nor inputs nor the slopes they are given."""
    sizes = SIZES[4]
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    dy, dhidden = random_slopes(sizes, dtype)
    cell = KernelCell(sizes, weights, dtype)

    def run():
        cell.forward(x)
        cell.backward(dy, dhidden)

    unchanged({**weights, "x": x, "dy": dy, "dhidden": dhidden}, run)


# ------------------------------------------------------------------------------------------------ backward


@pytest.mark.parametrize(
    ("sizes", "name"),
    [(s, name) for s in SIZES for name in ("w", "b", "tau", "w_out", "b_out") if name != "tau" or s.steps > 1],
    ids=str,
)
def test_gradients_are_those_of_automatic_differentiation(sizes, name, dtype):
    """Every gradient equals that of autograd, for a loss on outputs and hidden states; τ needs a second step."""
    got, expected = analytic_gradients(sizes, dtype)
    tolerance = 2e-4 if dtype == np.float32 else 1e-11
    assert_gradient(got[name], expected[name], tolerance)


def test_each_sign_of_tau_has_its_own_gradient():
    """The gradient by τ is right for the negative and for the positive time constants, each group alone."""
    sizes = SIZES[4]
    got, expected = analytic_gradients(sizes, np.dtype(np.float64))
    positive = random_weights(sizes, np.float64)["tau"] > 0
    assert_gradient(got["tau"][positive], expected["tau"][positive], 1e-11)
    assert_gradient(got["tau"][~positive], expected["tau"][~positive], 1e-11)


@pytest.mark.parametrize("rows", ["inputs", "hidden"])
@pytest.mark.parametrize("side", ["gate", "candidate"])
def test_each_block_of_the_weights_has_its_own_gradient(rows, side):
    """The gradient by w is right in each of its four blocks alone."""
    sizes = SIZES[5]
    got, expected = analytic_gradients(sizes, np.dtype(np.float64))
    r = slice(None, sizes.inputs) if rows == "inputs" else slice(sizes.inputs, None)
    c = slice(None, sizes.hidden) if side == "gate" else slice(sizes.hidden, None)
    assert_gradient(got["w"][r, c], expected["w"][r, c], 1e-11)


@pytest.mark.parametrize("source", ["outputs", "hidden"])
def test_each_source_of_gradient_is_enough(source):
    """A loss on outputs alone, or on hidden states alone, has the right gradients."""
    sizes = SIZES[4]
    weights, x = random_weights(sizes, np.float64), random_inputs(sizes, np.float64)
    dy, dhidden = random_slopes(sizes, np.float64)
    if source == "outputs":
        dhidden = np.zeros_like(dhidden)
    else:
        dy = np.zeros_like(dy)
    cell = KernelCell(sizes, weights, np.float64)
    cell.forward(x)
    got, expected = cell.backward(dy, dhidden), automatic_gradients(weights, x, dy, dhidden)
    for name in ("w", "b", "tau"):
        assert_gradient(got[name], expected[name], 1e-11)


def test_one_step_has_no_gradient_of_what_was_before():
    """With one step from zero, τ and the recurrent rows have exactly no gradient."""
    sizes = SIZES[2]
    got, _ = analytic_gradients(sizes, np.dtype(np.float64))
    assert not got["tau"].any()
    assert not got["w"][sizes.inputs :].any()


@pytest.mark.parametrize(
    "sizes", [*SMALL, *(pytest.param(s, marks=too_slow_without_jit) for s in LARGE if s.hidden <= 17)], ids=str
)
def test_gradients_are_those_of_finite_differences(sizes):
    """Every element of every gradient is within 1e-6 of six-point differences of the kernels' own forward pass."""
    weights, x = random_weights(sizes, np.float64), random_inputs(sizes, np.float64)
    dy, dhidden = random_slopes(sizes, np.float64)
    cell = KernelCell(sizes, weights, np.float64)

    def loss():
        y, h = cell.forward(x)
        return float((dy * y).sum() + (dhidden * h).sum())

    loss()
    got = {name: array.copy() for name, array in cell.backward(dy, dhidden).items()}
    for name, array in weights.items():
        expected = gradient_of(loss, array, 1e-2 * np.minimum(1.0, np.abs(array) if name == "tau" else 1.0))
        assert np.linalg.norm(expected) > 0.0 or (name == "tau" and sizes.steps == 1)
        assert relative_error(got[name], expected).max() < 1e-6, name


def test_the_gradient_reaches_the_first_step_through_every_later_one():
    """A loss on the last hidden state alone moves the input weights through the whole chain of states."""
    sizes = type(SIZES[0])(6, 2, 1, 3, 1)
    weights, x = random_weights(sizes, np.float64), random_inputs(sizes, np.float64)
    x[1:] = 0.0
    dy, dhidden = (np.zeros_like(slope) for slope in random_slopes(sizes, np.float64))
    dhidden[-1] = 1.0
    cell = KernelCell(sizes, weights, np.float64)
    cell.forward(x)
    got, expected = cell.backward(dy, dhidden), automatic_gradients(weights, x, dy, dhidden)
    assert_gradient(got["w"][:1], expected["w"][:1], 1e-11)


# ------------------------------------------------------------------------------------------------ decay


@pytest.mark.parametrize("hidden", [1, 16, 17, 33])
def test_decay_is_the_exponential_of_the_equation(hidden, dtype, rng):
    """decay = exp(−dt/(|τ| + 1e−6)) for both signs, and for time constants near zero."""
    tau = rng.uniform(-2.0, 2.0, hidden).astype(dtype)
    tau[0] = 0.0
    got = np.empty((1, hidden), dtype)
    decay_forward(tau, DT, got)
    expected = [[naive.decay(float(t), DT) for t in tau]]
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("hidden", [1, 17])
def test_decay_gradient_is_that_of_finite_differences(hidden, sign, rng):
    """dτ is the numeric derivative of the decay for either sign of τ."""
    tau, ddecay = sign * rng.uniform(0.3, 2.0, hidden), rng.uniform(-1.0, 1.0, (1, hidden))
    decay, got = np.empty((1, hidden)), np.empty(hidden)
    decay_forward(tau, DT, decay)
    decay_backward(tau, DT, decay, ddecay, got)

    def value():
        now = np.empty((1, hidden))
        decay_forward(tau, DT, now)
        return float((now * ddecay).sum())

    assert_gradient(got, gradient_of(value, tau, 1e-3), 1e-8)


def test_decay_gradient_by_hand():
    """dt = 0.1 and τ = −0.5: decay is e^−0.2 and its slope −0.4·e^−0.2, but for the floor of 1e−6."""
    tau, decay, got = np.array([-0.5]), np.empty((1, 1)), np.empty(1)
    decay_forward(tau, 0.1, decay)
    decay_backward(tau, 0.1, decay, np.ones((1, 1)), got)
    assert decay[0, 0] == pytest.approx(math.exp(-0.2), rel=1e-6)
    assert got[0] == pytest.approx(-0.4 * math.exp(-0.2), rel=1e-5)


def test_decay_gradient_in_float32_is_that_of_float64(rng):
    """Training precision computes the same gradient."""
    tau, ddecay = rng.uniform(0.3, 2.0, 17), rng.uniform(-1.0, 1.0, (1, 17))
    results = {}
    for kind in (np.float32, np.float64):
        decay, results[kind] = np.empty((1, 17), kind), np.empty(17, kind)
        decay_forward(tau.astype(kind), DT, decay)
        decay_backward(tau.astype(kind), DT, decay, ddecay.astype(kind), results[kind])
    assert_gradient(results[np.float32], results[np.float64], 1e-5)


# ------------------------------------------------------------------------------------------------ readout


@all_sizes
def test_outputs_are_an_affine_map_of_the_states(sizes, dtype):
    """y = h·W_o + b_o for every step and sequence, by the states that the same pass gives."""
    weights = random_weights(sizes, dtype)
    y, h = KernelCell(sizes, weights, dtype).forward(random_inputs(sizes, dtype))
    expected = h.astype(np.float64) @ weights["w_out"].astype(np.float64) + weights["b_out"]
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype])


# ------------------------------------------------------------------------------------------------ layout


@pytest.mark.parametrize(("hidden", "expected"), [(1, 16), (15, 16), (16, 16), (17, 32), (32, 32), (33, 48)])
def test_width_is_the_next_multiple_of_the_lanes(hidden, expected):
    """P is H rounded up to a multiple of sixteen."""
    got = width(hidden)
    assert got == expected


@all_sizes
def test_packed_rows_stand_where_the_docstring_says(sizes, dtype):
    """Hidden rows come first, then inputs; gate columns start at 0, candidate columns at P; the rest is zero.

    Weights of gates are in units of ln 2, those of candidates of half of it; transposed they are as they were.
    """
    weights = random_weights(sizes, dtype)
    cell = KernelCell(sizes, weights, dtype)
    cell.forward(random_inputs(sizes, dtype))
    cell.backward(*random_slopes(sizes, dtype))
    units, hidden, inputs = cell.units, sizes.hidden, sizes.inputs
    expected_rows, expected_b = np.zeros_like(cell.w_rows), np.zeros_like(cell.b_row)
    expected_back, expected_out = np.zeros_like(cell.w_back), np.zeros_like(cell.out_rows)
    for side in range(2):
        unit = dtype.type((1 + side) / np.log(2))
        block = unit * weights["w"][:, side * hidden : (side + 1) * hidden]
        expected_rows[:hidden, side * units : side * units + hidden] = block[inputs:]
        expected_rows[units:, side * units : side * units + hidden] = block[:inputs]
        expected_b[0, side * units : side * units + hidden] = unit * weights["b"][side * hidden : (side + 1) * hidden]
        expected_back[side * units : side * units + hidden, :hidden] = (
            dtype.type(np.log(2) / (1 + side)) * block[inputs:].T
        )
    expected_out[:, :hidden] = weights["w_out"].T
    assert_bits(cell.w_rows, expected_rows)
    assert_bits(cell.b_row, expected_b)
    assert_bits(cell.w_back, expected_back)
    assert_bits(cell.out_rows, expected_out)


@all_sizes
def test_unpacking_undoes_packing(sizes, dtype):
    """What was packed comes back bit for bit in the contract's layout, in the units that it was packed in."""
    weights = random_weights(sizes, dtype)
    cell = KernelCell(sizes, weights, dtype)
    cell.forward(random_inputs(sizes, dtype))
    got = {name: np.full_like(weights[name], np.nan) for name in ("w", "b", "w_out")}
    unpack_gradients(cell.w_rows, cell.b_row, cell.out_rows, 0, sizes.hidden, got["w"], got["b"], got["w_out"])
    sides = np.repeat([1, 2], sizes.hidden)
    units = {"w": (sides / np.log(2)).astype(dtype), "b": (sides / np.log(2)).astype(dtype), "w_out": dtype.type(1)}
    for name, array in got.items():
        assert_bits(array, units[name] * weights[name])


def test_backward_in_float32_is_that_of_float64():
    """Training precision computes the gradients of the check's precision, over a sequence of the study's length."""
    sizes = type(SIZES[0])(50 if not JIT_DISABLED else 5, 2, 1, 16, 1)
    single, _ = analytic_gradients(sizes, np.dtype(np.float32))
    double, _ = analytic_gradients(sizes, np.dtype(np.float64))
    for name, array in double.items():
        assert_gradient(single[name], array, 1e-4)


@pytest.mark.parametrize(("steps", "batch"), [(7, 11), (31, 1), (3, BLOCK_ROWS), (3, BLOCK_ROWS + 1), (2, 70)])
def test_gradients_do_not_depend_on_the_borders_of_blocks(steps, batch, dtype):
    """Blocks of the usual size, of one step and of all steps: only the sums of w differ, in their rounding."""
    sizes = Sizes(steps, batch, 2, 5, 2)
    weights, x = random_weights(sizes, dtype), random_inputs(sizes, dtype)
    slopes, found = random_slopes(sizes, dtype), []
    for rows in (block_rows(batch), batch, steps * batch):
        cell = KernelCell(sizes, weights, dtype, block=rows)
        cell.forward(x)
        found.append(cell.backward(*slopes))
    expected = automatic_gradients(weights, x, *slopes)
    for gradients in found:
        assert_gradient(gradients["w"], expected["w"], 2e-4 if dtype == np.float32 else 1e-11)
        for name in ("b", "tau", "w_out", "b_out"):
            assert_bits(gradients[name], found[0][name])


@pytest.mark.parametrize("batch", [1, 4, 29, 30, 31, 1000])
def test_a_block_is_whole_steps(batch):
    """At least one step, and no more rows than `BLOCK_ROWS` where that is more than one step."""
    got = block_rows(batch)
    assert got % batch == 0
    assert batch <= got <= max(batch, BLOCK_ROWS)
    assert got + batch > BLOCK_ROWS


def test_the_backward_pass_can_be_taken_again(dtype):
    """Two backward passes after one forward pass give the same bits: the first changes nothing of what was saved."""
    sizes = SIZES[6]
    cell = KernelCell(sizes, random_weights(sizes, dtype), dtype)
    cell.forward(random_inputs(sizes, dtype))
    slopes = random_slopes(sizes, dtype)
    first = {name: array.copy() for name, array in cell.backward(*slopes).items()}
    cell.backward(*random_slopes(sizes, dtype, seed=51))
    for name, array in cell.backward(*slopes).items():
        assert_bits(array, first[name])


def test_a_gradient_that_fades_ends_at_zero_and_is_never_subnormal():
    """Over steps that nothing is asked of; subnormal numbers make a pass twenty times as slow on some processors."""
    ends = []
    for steps in range(60, 301, 40):
        sizes = Sizes(steps, 3, 1, 16, 1)
        cell = KernelCell(sizes, random_weights(sizes, np.float32), np.float32)
        cell.forward(random_inputs(sizes, np.float32))
        dy, dhidden = random_slopes(sizes, np.float32)
        dy[:-1], dhidden[:] = 0.0, 0.0
        cell.backward(dy, dhidden)
        magnitudes = np.abs(cell.dgates[: sizes.batch])
        assert not ((magnitudes > 0.0) & (magnitudes < np.finfo(np.float32).tiny)).any(), steps
        ends.append(magnitudes.max())
    assert ends[0] > 0.0
    assert ends[-1] == 0.0
