"""Softmax and what losses of logits are made of, against plain loops, finite differences and autograd."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from kdrun.core.finite_differences import gradient_of, partial_derivative
from kdrun.core.softmax import (
    cross_entropy,
    highest_class,
    log_softmax,
    mean_over_times,
    scale_rows_inplace,
    shares_of_mask,
    temperature_slope,
)
from tests.core.comparing import assert_bits, assert_gradient, unchanged
from tests.naive import softmax as naive

# One row and several; fewer classes than a vector has places, as many, one more, and two vectors and one more.
SHAPES = [(1, 2), (1, 17), (5, 1), (17, 3), (4, 16), (3, 33)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
temperatures = pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])


def draw(shape, dtype, rng, reach=3.0):
    """Logits that float32 holds exactly."""
    return rng.uniform(-reach, reach, shape).astype(np.float32).astype(dtype)


def softened(logits, temperature=1.0):
    """p and log p by the kernel."""
    p, log_p = np.full_like(logits, np.nan), np.full_like(logits, np.nan)
    log_softmax(logits, temperature, p, log_p)
    return p, log_p


def entropy_of(logits, labels):
    """Value of every row, and gradient, by the kernels."""
    rows, dlogits = np.full(len(logits), np.nan), np.full_like(logits, np.nan)
    cross_entropy(*softened(logits), labels, rows, dlogits)
    return rows, dlogits


def close(dtype):
    """How near a few roundings leave a number of ordinary size."""
    return 4e-6 if dtype == np.float32 else 1e-14


# ------------------------------------------------------------------------------------------------ log_softmax


@shapes
@temperatures
def test_distributions_are_those_of_the_equation(shape, temperature, dtype, rng):
    """Logarithms and probabilities equal those of plain loops."""
    logits = draw(shape, dtype, rng)
    p, log_p = softened(logits, temperature)
    expected = naive.log_softmax(logits, temperature)
    np.testing.assert_allclose(log_p, expected, rtol=close(dtype), atol=close(dtype))
    np.testing.assert_allclose(p, np.exp(expected), rtol=close(dtype), atol=0)


@shapes
def test_probabilities_add_up_to_one(shape, dtype, rng):
    """Every row is a distribution, to the last few bits."""
    p, _ = softened(draw(shape, dtype, rng))
    assert (p > 0).all()
    np.testing.assert_allclose(p.sum(axis=1, dtype=np.float64), 1.0, rtol=4 * np.finfo(dtype).eps)


def test_two_classes_by_hand():
    """Logits 0 and ln 3 have probabilities 1/4 and 3/4; at a temperature of ½ they are 1/10 and 9/10."""
    logits = np.log([[1.0, 3.0]])
    np.testing.assert_allclose(softened(logits)[0], [[0.25, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(softened(logits, 0.5)[0], [[0.1, 0.9]], rtol=1e-15)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("classes", [2, 17])
def test_extreme_logits_stay_finite(classes, temperature, dtype):
    """Logits of ±1e4 give a certain class, impossible ones, and finite logarithms of both."""
    logits = np.full((3, classes), -1e4, dtype)
    logits[0, 0] = logits[1, -1] = 1e4
    p, log_p = softened(logits, temperature)
    expected = np.zeros_like(p)
    expected[0, 0] = expected[1, -1] = 1.0
    expected[2] = 1.0 / classes
    np.testing.assert_allclose(p, expected, rtol=1e-6, atol=0)
    np.testing.assert_allclose(log_p, naive.log_softmax(logits, temperature), rtol=1e-6)


@shapes
def test_a_constant_on_all_logits_changes_no_bit(shape, dtype, rng):
    """Only differences count: 64 more on each of a row's logits gives the same distribution."""
    logits = rng.integers(-20, 20, shape).astype(dtype) / 8
    for got, expected in zip(softened(logits + dtype.type(64)), softened(logits), strict=True):
        assert_bits(got, expected)


@shapes
def test_a_permutation_of_classes_permutes_the_distribution(shape, dtype, rng):
    """Classes have no order, but for the rounding of their sum."""
    logits, order = draw(shape, dtype, rng), rng.permutation(shape[1])
    moved = softened(np.ascontiguousarray(logits[:, order]), 2.0)
    for got, expected in zip(moved, softened(logits, 2.0), strict=True):
        np.testing.assert_allclose(got, expected[:, order], rtol=close(dtype), atol=close(dtype))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 33])
def test_a_row_has_the_same_bits_among_any_others(rows, dtype, rng):
    """Logarithms of sixteen rows are taken at once, and none knows its neighbours."""
    logits = draw((rows, 17), dtype, rng)
    together = softened(logits, 3.0)
    for n in range(rows):
        for got, expected in zip(softened(logits[n : n + 1], 3.0), together, strict=True):
            assert_bits(got[0], expected[n])


def test_nan_spoils_its_own_row_alone(dtype, rng):
    """A logit that is not a number is not hidden, and does not spread."""
    logits = draw((3, 17), dtype, rng)
    logits[1, 4] = np.nan
    p, log_p = softened(logits)
    for got in (p, log_p):
        assert np.isnan(got[1]).all()
        assert np.isfinite(got[[0, 2]]).all()


def test_logits_are_only_read(dtype, rng):
    """Softening leaves the logits alone."""
    logits = draw((3, 17), dtype, rng)
    unchanged({"logits": logits}, lambda: softened(logits))


# ------------------------------------------------------------------------------------------------ cross-entropy


@shapes
def test_cross_entropy_is_that_of_plain_loops(shape, dtype, rng):
    """The value of each row is minus the logarithm of the right class's probability."""
    logits, labels = draw(shape, dtype, rng), rng.integers(0, shape[1], shape[0])
    got, _ = entropy_of(logits, labels)
    expected = naive.cross_entropy(logits[np.newaxis], labels[np.newaxis])
    np.testing.assert_allclose(got, expected, rtol=close(dtype), atol=close(dtype))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 1], ids=str)
def test_cross_entropy_has_the_gradient_of_automatic_differentiation(shape, dtype, rng):
    """Autograd's derivative of ln Σ exp z − z[label], summed over rows."""
    logits, labels = draw(shape, dtype, rng), rng.integers(0, shape[1], shape[0])

    def loss(z):
        return anp.sum(anp.log(anp.sum(anp.exp(z), axis=1)) - z[np.arange(len(labels)), labels])

    _, got = entropy_of(logits, labels)
    assert_gradient(got, autograd.grad(loss)(logits.astype(float)), 1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("shape", [(1, 2), (3, 17)], ids=str)
def test_cross_entropy_has_the_gradient_of_finite_differences(shape, rng):
    """The gradient is the numeric slope of the kernels' own values."""
    logits, labels = draw(shape, np.float64, rng), rng.integers(0, shape[1], shape[0])
    _, got = entropy_of(logits, labels)
    expected = gradient_of(lambda: float(entropy_of(logits, labels)[0].sum()), logits, 1e-2)
    assert_gradient(got, expected, 1e-9)


def test_cross_entropy_by_hand():
    """Probabilities 1/4 and 3/4: ln 4 where the first is right, ln(4/3) where the second is."""
    rows, dlogits = entropy_of(np.log([[1.0, 3.0], [1.0, 3.0]]), np.array([0, 1]))
    np.testing.assert_allclose(rows, np.log([4.0, 4.0 / 3.0]), rtol=1e-14)
    np.testing.assert_allclose(dlogits, [[-0.75, 0.75], [0.25, -0.25]], rtol=1e-14)


def test_cross_entropy_of_an_impossible_class_is_finite(dtype):
    """Twice 1e4 between the right class and the chosen one: a loss of 2e4 and a gradient of one."""
    logits = np.full((1, 17), -1e4, dtype)
    logits[0, 5] = 1e4
    rows, dlogits = entropy_of(logits, np.array([16]))
    assert rows[0] == pytest.approx(2e4)
    expected = np.zeros(17)
    expected[[5, 16]] = 1.0, -1.0
    np.testing.assert_array_equal(dlogits[0], expected)


def test_cross_entropy_only_reads_its_arguments(dtype, rng):
    """Distributions and labels keep their bits."""
    p, log_p = softened(draw((3, 17), dtype, rng))
    labels = np.array([0, 16, 3])
    arrays = {"p": p, "log_p": log_p, "labels": labels}
    unchanged(arrays, lambda: cross_entropy(p, log_p, labels, np.empty(3), np.empty_like(p)))


# ------------------------------------------------------------------------------------------------ the rest


@shapes
def test_the_highest_class_is_numpys(shape, dtype, rng):
    """The place of the largest logit."""
    logits, got = draw(shape, dtype, rng), np.full(shape[0], -1)
    unchanged({"logits": logits}, lambda: highest_class(logits, got))
    np.testing.assert_array_equal(got, logits.argmax(axis=1))


def test_of_equal_logits_the_first_is_the_highest(dtype):
    """A tie goes to the smaller number, so that it is the same everywhere."""
    got = np.empty(2, np.int64)
    highest_class(np.array([[1, 2, 2], [0, 0, 0]], dtype), got)
    np.testing.assert_array_equal(got, [1, 0])


def test_shares_are_those_of_the_mask(dtype):
    """A mask of 1, 0, ½ and ½ counts for one half, nothing, and two quarters."""
    mask, got = np.array([1.0, 0.0, 0.5, 0.5], dtype), np.empty(4)
    unchanged({"mask": mask}, lambda: shares_of_mask(mask, got))
    np.testing.assert_array_equal(got, [0.5, 0.0, 0.25, 0.25])


def test_the_mean_over_samples_is_that_over_all_rows(rng):
    """Values of samples are so large that their mean is the shares' mean of the rows."""
    rows, shares, value = rng.normal(size=12), rng.uniform(size=12), np.full(3, np.nan)
    shares /= shares.sum()
    unchanged({"rows": rows, "shares": shares}, lambda: mean_over_times(rows, shares, value))
    assert value.mean() == pytest.approx(float(shares @ rows), rel=1e-13)


def test_rows_are_time_major():
    """Rows 1, 2 at the first time and 3, 5 at the second: the samples' means are 2 and 3½."""
    value = np.empty(2)
    mean_over_times(np.array([1.0, 2.0, 3.0, 5.0]), np.full(4, 0.25), value)
    np.testing.assert_array_equal(value, [2.0, 3.5])


def test_one_time_gives_the_rows_themselves():
    """Without a mask and with one time, samples are rows."""
    value, rows = np.empty(4), np.array([1.0, 2.0, -3.0, 5.0])
    mean_over_times(rows, np.full(4, 0.25), value)
    np.testing.assert_array_equal(value, rows)


def test_each_row_is_scaled_by_its_own_factor(dtype, rng):
    """Factors are rounded to the dtype, and multiply."""
    got, factors = draw((3, 17), dtype, rng), np.array([0.1, -2.0, 0.0])
    expected = got * factors.astype(dtype)[:, np.newaxis]
    unchanged({"factors": factors}, lambda: scale_rows_inplace(got, factors))
    assert_bits(got, expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 7.0])
def test_a_slope_by_temperature_is_numeric(temperature, rng):
    """For D = Σ (α·u² + β·u·a) with u = s/T, a = t/T the kernel gives dD/dT."""
    student, teacher, alpha, beta = rng.normal(size=(4, 2, 5))
    at = np.array([temperature])

    def value(row):
        u, a = student[row] / at[0], teacher[row] / at[0]
        return float((alpha[row] * u * u + beta[row] * u * a).sum())

    u, a = student / temperature, teacher / temperature
    du, da, got = 2 * alpha * u + beta * a, beta * u, np.full(2, np.nan)
    arrays = {"du": du, "da": da, "student": student, "teacher": teacher}
    unchanged(arrays, lambda: temperature_slope(du, da, student, teacher, temperature, got))
    expected = [partial_derivative(lambda n=n: value(n), at, (0,), 1e-3) for n in range(2)]
    assert_gradient(got, expected, 1e-8)


def test_a_slope_by_temperature_is_summed_in_double_precision():
    """Terms of 2²⁴ that cancel leave the small one, which single precision would lose."""
    student = np.array([[2.0**24, 1.0, -(2.0**24)]], np.float32)
    got = np.empty(1)
    temperature_slope(np.ones_like(student), np.zeros_like(student), student, student, 1.0, got)
    assert got[0] == -1.0
