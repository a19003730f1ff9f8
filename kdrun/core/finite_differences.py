"""Numeric derivatives by six-point central differences, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# f'(x) ≈ (45·(f(x+h) − f(x−h)) − 9·(f(x+2h) − f(x−2h)) + (f(x+3h) − f(x−3h)))/(60·h), with an error of order h⁶.
WEIGHTS = ((1, 45.0), (2, -9.0), (3, 1.0))
REACH = 3
DIVISOR = 60.0


def partial_derivative(value: Callable[[], float], array: Array, index: tuple[int, ...], h: float) -> float:
    """Derivative of `value()` by one element of `array`, which is changed in place and put back."""
    middle = array[index]
    total = 0.0
    for distance, weight in WEIGHTS:
        array[index] = middle + distance * h
        above = value()
        array[index] = middle - distance * h
        total += weight * (above - value())
    array[index] = middle
    return total / (DIVISOR * h)


def gradient_of(value: Callable[[], float], array: Array, h: float | Array) -> Array:
    """Derivative of `value()` by every element of `array`; `h` is one step or one per element."""
    steps = np.broadcast_to(np.asarray(h, dtype=np.float64), array.shape)
    result = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        result[index] = partial_derivative(value, array, index, float(steps[index]))
    return result


def derivative_of(function: Callable[[Array], Array], x: Array, h: Array) -> Array:
    """Elementwise derivative of an elementwise function at `x`, with a step for each element."""
    total = np.zeros(x.shape)
    for distance, weight in WEIGHTS:
        total += weight * (function(x + distance * h) - function(x - distance * h))
    return np.asarray(total / (DIVISOR * h))


def relative_error(analytic: Array, numeric: Array) -> Array:
    """|a − n| / max(|a|, |n|, 1e-7), elementwise; nan counts as infinite, so that it can never pass."""
    a, n = np.asarray(analytic, np.float64), np.asarray(numeric, np.float64)
    error = np.abs(a - n) / np.maximum(np.maximum(np.abs(a), np.abs(n)), 1e-7)
    return np.where(np.isfinite(error), error, np.inf)
