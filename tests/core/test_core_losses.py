"""Losses and their gradients against plain loops, finite differences and automatic differentiation."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from kdrun.core.finite_differences import gradient_of
from kdrun.core.losses import (
    add_scaled,
    hidden_distance,
    hidden_distance_of_each,
    masked_squared_error,
    masked_squared_error_of_each,
    mean_of,
    mean_of_each,
    scale_inplace,
    scale_samples_inplace,
    squared_error,
    squared_error_of_each,
)
from tests.core.comparing import assert_bits, assert_gradient, unchanged
from tests.naive import losses as naive

SHAPES = [(1, 1, 1), (1, 4, 2), (5, 1, 1), (6, 3, 17)]
shapes = pytest.mark.parametrize("shape", SHAPES)
LOSSES = ("squared_error", "masked_squared_error", "hidden_distance")
losses = pytest.mark.parametrize("name", LOSSES)


def problem(shape, dtype, seed=11):
    """Prediction, target and a mask with a zero, a one and a half."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape).astype(np.float32).astype(dtype) for _ in range(2)]
    mask = rng.choice([0.0, 0.5, 1.0], shape[:2]).astype(dtype)
    mask[0, 0] = 0.5
    return *arrays, mask


def run(name, prediction, target, mask):
    """Value and gradient by the kernel."""
    value, gradient = np.full(prediction.shape[1], np.nan), np.full_like(prediction, np.nan)
    if name == "squared_error":
        squared_error(prediction, target, value, gradient)
    elif name == "masked_squared_error":
        masked_squared_error(prediction, target, mask, value, gradient)
    else:
        hidden_distance(prediction, target, 1.0, value, gradient)
    return value, gradient


def expected_value(name, prediction, target, mask):
    """Value per sequence by plain loops."""
    if name == "hidden_distance":
        return naive.hidden_distance(prediction, target)
    return naive.squared_error(prediction, target, mask if name == "masked_squared_error" else None)


def differentiable(name, target, mask):
    """The scalar loss, from the sentence of the study, for autograd."""

    def loss(prediction):
        squares = (prediction - target) ** 2
        if name == "hidden_distance":
            return anp.mean(squares) / 2
        if name == "squared_error":
            return anp.mean(anp.sum(squares, axis=2)) / 2
        return anp.sum(mask * anp.sum(squares, axis=2)) / anp.sum(mask) / 2

    return loss


@losses
@shapes
def test_values_are_those_of_the_equation(name, shape, dtype):
    """The value of each sequence is that of plain loops."""
    prediction, target, mask = problem(shape, dtype)
    got, _ = run(name, prediction, target, mask)
    expected = expected_value(name, prediction, target, mask)
    np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)


@losses
@shapes
def test_the_mean_of_the_values_is_the_loss(name, shape):
    """The mean over sequences is the loss as one sentence defines it."""
    prediction, target, mask = problem(shape, np.float64)
    got = mean_of(run(name, prediction, target, mask)[0])
    assert got == pytest.approx(float(differentiable(name, target, mask)(prediction)), rel=1e-13)


@losses
@shapes
def test_gradients_are_those_of_automatic_differentiation(name, shape, dtype):
    """The gradient is that of the mean of the values."""
    prediction, target, mask = problem(shape, dtype)
    _, got = run(name, prediction, target, mask)
    expected = autograd.grad(differentiable(name, target.astype(float), mask.astype(float)))(prediction.astype(float))
    assert_gradient(got, expected, 1e-6 if dtype == np.float32 else 1e-14)


@losses
@shapes
def test_gradients_are_those_of_finite_differences(name, shape):
    """The gradient is the numeric slope of the kernel's own value."""
    prediction, target, mask = problem(shape, np.float64)
    _, got = run(name, prediction, target, mask)
    expected = gradient_of(lambda: mean_of(run(name, prediction, target, mask)[0]), prediction, 1e-2)
    assert_gradient(got, expected, 1e-9)


@losses
@shapes
@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_losses_of_several_students_are_those_of_each(name, shape, weight, dtype):
    """Bit for bit; gradients come multiplied by the weight."""
    of_each = {
        "squared_error": squared_error_of_each,
        "masked_squared_error": lambda p, t, *rest: masked_squared_error_of_each(p, t, mask, *rest),
        "hidden_distance": hidden_distance_of_each,
    }
    first, target, mask = problem(shape, dtype)
    predictions = np.stack([first, problem(shape, dtype, seed=12)[0]])
    values, gradients = np.full((2, shape[1]), np.nan), np.full_like(predictions, np.nan)
    of_each[name](predictions, target, weight, values, gradients)
    means = np.empty((1, 2))
    mean_of_each(values[np.newaxis], means)
    for student, prediction in enumerate(predictions):
        value, gradient = run(name, prediction, target, mask)
        scale_inplace(gradient.reshape(-1), weight)
        assert_bits(values[student], value)
        assert_bits(gradients[student], gradient)
        assert means[0, student] == mean_of(value)


@losses
def test_arguments_are_only_read(name, dtype):
    """Prediction, target and mask keep their bits."""
    prediction, target, mask = problem((4, 3, 2), dtype)
    arrays = {"prediction": prediction, "target": target, "mask": mask}
    unchanged(arrays, lambda: run(name, prediction, target, mask))


def test_squared_error_by_hand():
    """Errors 1 and 3 over two steps: ½(1 + 9)/2 = 2.5, slopes 1/2 and 3/2."""
    got, gradient = run("squared_error", np.array([[[1.0]], [[3.0]]]), np.zeros((2, 1, 1)), None)
    assert got == 2.5
    np.testing.assert_array_equal(gradient.ravel(), [0.5, 1.5])


def test_outputs_are_summed_and_not_averaged():
    """Two outputs with error 1 each count twice as much as one."""
    got, _ = run("squared_error", np.ones((1, 1, 2)), np.zeros((1, 1, 2)), None)
    assert got == 1.0


def test_a_mask_divides_by_its_own_sum():
    """With mask 1 and 0 only the first of two steps counts, at full weight."""
    prediction = np.array([[[2.0]], [[100.0]]])
    got, gradient = run("masked_squared_error", prediction, np.zeros((2, 1, 1)), np.array([[1.0], [0.0]]))
    assert got == 2.0
    np.testing.assert_array_equal(gradient.ravel(), [2.0, 0.0])


def test_a_full_mask_changes_nothing(dtype):
    """A mask of ones gives the value without a mask."""
    prediction, target, mask = problem((4, 3, 2), dtype)
    got, gradient = run("masked_squared_error", prediction, target, np.ones_like(mask))
    expected, expected_gradient = run("squared_error", prediction, target, None)
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)


def test_hidden_distance_by_hand():
    """Distances 3 and 4 of two units: (9 + 16)/(2·2) = 6.25, slopes 3/2 and 4/2."""
    got, gradient = run("hidden_distance", np.array([[[3.0, 4.0]]]), np.zeros((1, 1, 2)), None)
    assert got == 6.25
    np.testing.assert_array_equal(gradient.ravel(), [1.5, 2.0])


def test_the_mean_is_summed_in_order():
    """Values are added from the first to the last, so that the bits are those of that order."""
    values = np.array([1e16, 1.0, -1e16, 1.0])
    got = mean_of(values)
    assert got == (((1e16 + 1.0) - 1e16) + 1.0) / 4


def test_adding_scales_the_source(dtype):
    """target + weight·source, the weight rounded to the dtype."""
    source, target = np.array([1.0, -2.0, 3.0], dtype), np.array([10.0, 20.0, 30.0], dtype)
    expected = target + dtype.type(0.1) * source
    unchanged({"source": source}, lambda: add_scaled(source, 0.1, target))
    np.testing.assert_allclose(target, expected, rtol=4 * np.finfo(dtype).eps)


def test_scaling_is_elementwise(dtype):
    """Every element is multiplied by the weight, rounded to the dtype."""
    got = np.array([1.0, -2.0, 3.0], dtype)
    expected = dtype.type(0.1) * got
    scale_inplace(got, 0.1)
    assert_bits(got, expected)


def test_each_sample_has_its_own_weight(dtype, rng):
    """Samples stand on the second axis."""
    got, weights = rng.normal(size=(2, 3, 4)).astype(dtype), np.array([0.0, 1.0, 2.5], dtype)
    expected = got * weights[np.newaxis, :, np.newaxis]
    scale_samples_inplace(got, weights)
    assert_bits(got, expected)


def test_nan_makes_the_value_nan():
    """A prediction that is not a number is not hidden."""
    prediction = np.zeros((2, 2, 1))
    prediction[1, 0, 0] = np.nan
    got, _ = run("squared_error", prediction, np.zeros_like(prediction), None)
    np.testing.assert_array_equal(np.isnan(got), [True, False])
