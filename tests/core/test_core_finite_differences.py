"""The six-point stencil that every gradient is checked with."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.finite_differences import derivative_of, gradient_of, partial_derivative, relative_error


@pytest.mark.parametrize("degree", range(1, 7))
def test_polynomials_up_to_degree_six_are_exact(degree):
    """The stencil differentiates xⁿ without error, but for rounding, up to n = 6."""
    x = np.array([1.3])
    got = partial_derivative(lambda: float(x[0] ** degree), x, (0,), 0.1)
    assert got == pytest.approx(degree * 1.3 ** (degree - 1), rel=1e-12)


def test_the_error_is_of_sixth_order():
    """The error on eˣ is h⁶/140·eˣ: halving the step divides it by about 64."""
    x = np.array([0.5])
    got = [partial_derivative(lambda: float(np.exp(x[0])), x, (0,), h) - np.exp(0.5) for h in (0.4, 0.2)]
    assert got[0] / got[1] == pytest.approx(64, rel=0.1)
    assert got[1] == pytest.approx(0.2**6 / 140 * np.exp(0.5), rel=0.05)


def test_the_array_is_put_back():
    """After a derivative every element has its own bits again."""
    x = np.random.default_rng(1).normal(size=(2, 3))
    before = x.copy()
    gradient_of(lambda: float((x**3).sum()), x, 1e-2)
    assert x.tobytes() == before.tobytes()


def test_gradients_have_a_step_for_each_element():
    """Steps broadcast over the array, and each element uses its own."""
    x = np.array([1.0, 100.0])
    seen = []

    def value():
        seen.append(x.copy())
        return float((x**2).sum())

    got = gradient_of(value, x, np.array([0.1, 1.0]))
    np.testing.assert_allclose(got, [2.0, 200.0], rtol=1e-10)
    np.testing.assert_allclose(np.ptp(np.array(seen), axis=0), [0.6, 6.0])


def test_elementwise_derivatives_use_elementwise_steps():
    """A function of arrays is differentiated at every element at once."""
    x = np.array([[0.5, 1.0], [2.0, 3.0]])
    got = derivative_of(np.sin, x, np.full(x.shape, 1e-2))
    np.testing.assert_allclose(got, np.cos(x), rtol=1e-11)


@pytest.mark.parametrize(
    ("analytic", "numeric", "expected"),
    [
        (1.0, 1.0, 0.0),
        (1.0, 2.0, 0.5),
        (-1.0, 1.0, 2.0),
        (0.0, 0.0, 0.0),
        (1e-9, 0.0, 1e-2),
        (np.nan, 1.0, np.inf),
        (1.0, np.nan, np.inf),
        (np.inf, np.inf, np.inf),
    ],
)
def test_relative_errors_by_hand(analytic, numeric, expected):
    """|a − n|/max(|a|, |n|, 1e−7); what is not finite can never pass."""
    with np.errstate(invalid="ignore"):
        got = relative_error(np.array([analytic]), np.array([numeric]))
    np.testing.assert_allclose(got, [expected])
