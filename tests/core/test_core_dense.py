"""Dense layers: right, within their padding, and the same bits in any company."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from kdrun.core.dense import (
    dense_backward,
    dense_forward,
    dense_input_backward,
    tanh_backward_inplace,
    tanh_inplace,
)
from kdrun.core.finite_differences import gradient_of
from kdrun.core.vector import width
from tests.core.comparing import assert_bits, assert_gradient, needs_jit, unchanged
from tests.naive import arithmetic
from tests.naive import dense as naive

# Rows N, inputs I, units U.
SIZES = [(1, 1, 1), (1, 5, 2), (7, 3, 17), (6, 17, 16), (3, 33, 33)]
sizes = pytest.mark.parametrize(("rows", "inputs", "units"), SIZES)
SPARE = 3


class Layer:
    """A layer with working space that must be zero beyond its units, and results that must be overwritten."""

    def __init__(self, rows, inputs, units, dtype, rng):
        def numbers(*shape):
            return rng.uniform(-1.0, 1.0, shape).astype(np.float32).astype(dtype)

        self.inputs, self.units, self.padded = inputs, units, width(units)
        self.x = numbers(rows, inputs + SPARE)
        self.w, self.b = numbers(inputs, units), numbers(units)
        self.w_rows, self.b_row = np.zeros((inputs, self.padded), dtype), np.zeros((1, self.padded), dtype)
        self.w_back = np.zeros((self.padded, width(inputs)), dtype)
        self.dout = np.zeros((rows, self.padded), dtype)
        self.dout[:, :units] = numbers(rows, units)
        self.out = np.full((rows, self.padded), np.nan, dtype)
        self.dx = np.zeros((rows, width(inputs)), dtype)

    def forward(self):
        """The linear part [N, P]."""
        dense_forward(self.x, self.w, self.b, 0, self.units, self.w_rows, self.b_row, self.out)
        return self.out

    def backward(self):
        """dw and db, after a forward pass."""
        dw, db = np.full_like(self.w, np.nan), np.full_like(self.b, np.nan)
        dense_backward(self.x, self.dout, 0, self.units, np.full_like(self.w_rows, np.nan), dw, db)
        return dw, db

    def input_backward(self):
        """What is added to dx, after a forward pass."""
        dense_input_backward(self.dout, self.w_rows, self.w_back, self.dx)
        return self.dx

    def loss(self):
        """The scalar whose gradients the backward passes give."""
        return float((self.forward() * self.dout).sum())

    def automatic(self):
        """Gradients of that scalar by w, b and x, by autograd in float64."""

        def loss(w, b, x):
            return anp.sum((anp.dot(x, w) + b) * self.dout[:, : self.units].astype(float))

        arguments = [array.astype(float) for array in (self.w, self.b, self.x[:, : self.inputs])]
        return tuple(autograd.grad(loss, place)(*arguments) for place in range(3))


def within(dtype):
    """A few dozen roundings of numbers near one."""
    return 1e-5 if dtype == np.float32 else 1e-13


@sizes
def test_a_layer_is_that_of_the_equation(rows, inputs, units, dtype, rng):
    """out is b + x·w by plain loops, and zero beyond the layer's units."""
    layer = Layer(rows, inputs, units, dtype, rng)
    got = layer.forward()
    np.testing.assert_allclose(got[:, :units], naive.dense(layer.x, layer.w, layer.b), rtol=0, atol=within(dtype))
    assert not got[:, units:].any()


@needs_jit
def test_a_unit_is_one_chain_of_fused_operations(dtype, rng):
    """From the bias on, inputs ascending, one exact fused multiply-add each."""
    layer = Layer(6, 5, 3, dtype, rng)
    start = np.tile(layer.b, (6, 1))
    assert_bits(layer.forward()[:, :3], arithmetic.product(layer.x[:, :5], layer.w, start))


def test_numbers_beyond_the_inputs_are_not_read(dtype, rng):
    """A row may be longer than the layer reads: what stands there reaches neither pass."""
    layer = Layer(6, 5, 3, dtype, rng)
    expected = layer.forward().copy(), *layer.backward()
    layer.x[:, 5:] = np.nan
    for got, before in zip((layer.forward(), *layer.backward()), expected, strict=True):
        assert_bits(got, before)


@pytest.mark.parametrize("rows", [1, 4, 5, 6, 11])
def test_a_row_has_the_same_bits_alone(rows, dtype, rng):
    """What a row gives depends neither on those beside it nor on how many there are."""
    layer = Layer(rows, 7, 17, dtype, rng)
    together = layer.forward().copy()
    alone = np.empty((1, layer.padded), dtype)
    for n in range(rows):
        dense_forward(layer.x[n : n + 1], layer.w, layer.b, 0, layer.units, layer.w_rows, layer.b_row, alone)
        assert_bits(alone[0], together[n])


def test_new_weights_leave_nothing_of_the_old(dtype, rng):
    """What is laid out for the product is overwritten by the next pass."""
    layer, other = Layer(4, 5, 17, dtype, rng), Layer(4, 5, 17, dtype, rng)
    layer.forward()
    layer.w[...], layer.b[...], layer.x[...] = other.w, other.b, other.x
    assert_bits(layer.forward(), other.forward())


@sizes
def test_gradients_are_those_of_automatic_differentiation(rows, inputs, units, dtype, rng):
    """dw, db and dx equal autograd's, and dx beyond the inputs is zero."""
    layer = Layer(rows, inputs, units, dtype, rng)
    layer.forward()
    dw, db, dx = layer.automatic()
    for got, expected in zip(layer.backward(), (dw, db), strict=True):
        assert_gradient(got, expected, within(dtype))
    got = layer.input_backward()
    assert_gradient(got[:, :inputs], dx, within(dtype))
    assert not got[:, inputs:].any()


@pytest.mark.parametrize(("rows", "inputs", "units"), [(1, 1, 1), (3, 4, 17)])
def test_gradients_are_those_of_finite_differences(rows, inputs, units, rng):
    """dw, db and dx are numeric slopes of the kernel's own forward pass."""
    layer = Layer(rows, inputs, units, np.float64, rng)
    layer.forward()
    found = *layer.backward(), layer.input_backward()[:, :inputs].copy()
    x = layer.x[:, :inputs]
    for got, array in zip(found, (layer.w, layer.b, x), strict=True):
        assert_gradient(got, gradient_of(layer.loss, array, 1e-2), 1e-9)


def test_gradients_of_inputs_are_added(dtype, rng):
    """A second pass doubles what the first has written."""
    layer = Layer(6, 5, 3, dtype, rng)
    layer.forward()
    once = layer.input_backward().copy()
    assert_gradient(layer.input_backward(), 2 * once, within(dtype))


def test_passes_leave_their_arguments_alone(dtype, rng):
    """Inputs, weights, biases and gradients of outputs keep their bits."""
    layer = Layer(6, 5, 3, dtype, rng)
    arrays = {"x": layer.x, "w": layer.w, "b": layer.b, "dout": layer.dout}

    def everything():
        layer.forward()
        layer.backward()
        layer.input_backward()

    unchanged(arrays, everything)


@pytest.mark.parametrize("columns", [16, 48])
def test_tanh_is_elementwise(columns, dtype, rng):
    """Every number becomes its hyperbolic tangent; zero stays zero."""
    h = rng.uniform(-4.0, 4.0, (3, columns)).astype(dtype)
    h[1, 5] = 0.0
    expected = np.tanh(h.astype(float))
    tanh_inplace(h, 0)
    np.testing.assert_allclose(h, expected, rtol=4 * np.finfo(dtype).eps)
    assert h[1, 5] == 0.0


@pytest.mark.parametrize("grid", [1, 7, 127])
def test_tanh_on_a_grid_is_the_nearest_multiple(grid, dtype, rng):
    """Every number is a multiple of 1/grid, within half of one of its hyperbolic tangent; zero stays zero."""
    a = rng.uniform(-4.0, 4.0, (3, 48)).astype(dtype)
    a[1, 5] = 0.0
    got, exact = a.copy(), np.tanh(a.astype(float))
    tanh_inplace(got, grid)
    np.testing.assert_array_equal(got, np.round(exact * grid).astype(dtype) / dtype.type(grid))
    assert np.abs(got - exact).max() <= 0.5 / grid + 1e-6
    assert got[1, 5] == 0.0


@pytest.mark.parametrize("columns", [16, 48])
def test_the_gradient_of_tanh_is_that_of_finite_differences(columns, rng):
    """dh·(1 − h²) is the numeric slope of Σ dh·tanh a."""
    a, dh = rng.uniform(-2.0, 2.0, (3, columns)), rng.normal(size=(3, columns))

    def through():
        h = a.copy()
        tanh_inplace(h, 0)
        return h

    expected = gradient_of(lambda: float((dh * through()).sum()), a, 1e-2)
    h, got = through(), dh.copy()
    unchanged({"h": h}, lambda: tanh_backward_inplace(h, got))
    assert_gradient(got, expected, 1e-8)


def test_the_gradient_of_tanh_by_hand(dtype):
    """At h = ½ three quarters are left, at 0 all, at 1 nothing."""
    h, dh = np.zeros((1, 16), dtype), np.full((1, 16), 2.0, dtype)
    h[0, :3] = 0.5, -0.5, 1.0
    tanh_backward_inplace(h, dh)
    np.testing.assert_array_equal(dh[0], [1.5, 1.5, 0.0, *[2.0] * 13])
