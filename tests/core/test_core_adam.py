"""Adam and the gradient norm against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kdrun.core.adam import adam_inplace
from tests.core.comparing import unchanged
from tests.naive import adam as naive

BETAS = (0.9, 0.999)


def kernel_minimize(parameters, gradients, factor=1.0, lr=1e-3, epsilon=1e-8):
    """Parameters after one step of the kernel for each of `gradients`, and its memory."""
    theta = parameters.copy()
    mean, square, powers = np.zeros_like(theta), np.zeros_like(theta), np.ones(2)
    for gradient in gradients:
        adam_inplace(theta, gradient, mean, square, powers, factor, lr, *BETAS, epsilon)
    np.testing.assert_allclose(powers, [beta ** len(gradients) for beta in BETAS], rtol=1e-14)
    return theta, mean, square


def problem(size, steps, dtype, rng):
    """A start and gradients of many magnitudes."""
    gradients = [(rng.normal(size=size) * 10.0 ** rng.integers(-4, 3, size)).astype(dtype) for _ in range(steps)]
    return rng.normal(size=size).astype(dtype), gradients


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_steps_are_those_of_the_algorithm(size, steps, dtype, rng):
    """Parameters move as algorithm 1 of the paper has it, from the first step on."""
    start, gradients = problem(size, steps, dtype, rng)
    got, _, _ = kernel_minimize(start, gradients)
    expected = naive.minimize(start.astype(float), [gradient.astype(float) for gradient in gradients])
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got - start, expected - start.astype(float), rtol=0, atol=tolerance * 1e-1)


def test_the_first_step_is_the_learning_rate(dtype):
    """After bias correction the first step is lr·sign(g), whatever the size of the gradient."""
    gradient = np.array([3.0, -0.01] * 8, dtype)
    got, _, _ = kernel_minimize(np.zeros(16, dtype), [gradient], lr=0.25)
    np.testing.assert_allclose(got, -0.25 * np.sign(gradient), rtol=1e-5)


def test_two_steps_by_hand():
    """Gradients 1 and then 3 with lr = 1: m̂ = 0.39/0.19, v̂ = 0.009999/0.001999."""
    got, mean, square = kernel_minimize(np.zeros(16), [np.ones(16), np.full(16, 3.0)], lr=1.0)
    assert mean[0] == pytest.approx(0.9 * 0.1 + 0.1 * 3.0)
    assert square[0] == pytest.approx(0.999 * 0.001 + 0.001 * 9.0)
    assert got[0] == pytest.approx(-1.0 - (0.39 / 0.19) / math.sqrt(0.009999 / 0.001999), abs=1e-7)


def test_clipping_is_a_factor_on_the_gradient(dtype, rng):
    """A factor gives what the clipped gradient itself would give."""
    start, gradients = problem(32, 3, dtype, rng)
    factor = naive.clip_factor(list(gradients[0].astype(float)), 5.0)
    assert 0.0 < factor < 1.0
    got, _, _ = kernel_minimize(start, gradients, factor=factor)
    expected = naive.minimize(start.astype(float), [factor * gradient.astype(float) for gradient in gradients])
    np.testing.assert_allclose(got - start, expected - start.astype(float), rtol=0, atol=1e-6)


def test_epsilon_stands_beside_the_root(dtype):
    """With a gradient far below epsilon the step is lr·g/epsilon."""
    got, _, _ = kernel_minimize(np.zeros(16, dtype), [np.full(16, 1e-6, dtype)], lr=1.0, epsilon=1.0)
    np.testing.assert_allclose(got, -1e-6, rtol=1e-4)


def test_a_gap_without_gradient_stays_zero(dtype, rng):
    """Zeros between arrays stay zero for any number of steps."""
    start, gradients = problem(32, 5, dtype, rng)
    start[5:16] = 0.0
    for gradient in gradients:
        gradient[5:16] = 0.0
    for array in kernel_minimize(start, gradients):
        assert not array[5:16].any()
        assert array[:5].all()


def test_the_gradient_is_only_read(dtype, rng):
    """A step does not change the gradient."""
    start, (gradient,) = problem(32, 1, dtype, rng)
    unchanged({"gradient": gradient}, lambda: kernel_minimize(start, [gradient], factor=0.5))


def test_a_gradient_that_is_not_finite_reaches_the_parameters(dtype):
    """nan and infinity are not hidden: a diverged run is seen."""
    gradient = np.ones(16, dtype)
    gradient[[3, 7]] = np.nan, np.inf
    got, _, _ = kernel_minimize(np.zeros(16, dtype), [gradient])
    assert np.isnan(got[[3, 7]]).all()
    assert np.isfinite(got[[0, 1, 2, 4]]).all()


def test_moments_end_at_zero_where_gradients_do(dtype):
    """They do not go on as subnormal numbers, whose arithmetic is slow; parameters are those of the algorithm."""
    gradients = [np.full(16, 1e-3, dtype), *[np.zeros(16, dtype)] * (700 if dtype == np.float32 else 7000)]
    got, mean, square = kernel_minimize(np.ones(16, dtype), gradients)
    assert not mean.any()
    assert (square > np.finfo(dtype).tiny).all()
    expected = naive.minimize(np.ones(16), [gradient.astype(float) for gradient in gradients])
    np.testing.assert_allclose(got, expected, rtol=50 * np.finfo(dtype).eps)


def test_a_moment_of_tiny_gradients_is_zero(dtype):
    """Squares that a float cannot hold as a normal number count nothing beside epsilon."""
    gradient = np.full(16, 2.0 ** (-60 if dtype == np.float32 else -510), dtype)
    got, mean, square = kernel_minimize(np.zeros(16, dtype), [gradient])
    assert not square.any()
    np.testing.assert_allclose(mean, 0.1 * gradient, rtol=1e-6)
    np.testing.assert_allclose(got, -1e-3 * gradient / 1e-8, rtol=1e-5)
