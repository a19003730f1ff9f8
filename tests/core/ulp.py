"""How far the core's elementary functions are from the truth, in units in the last place.

    python -m tests.core.ulp

prints the largest error of each function: float32 at every 997th bit pattern, float64 on random points against mpmath.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from kdrun.core.elementary import (
    SINE_LIMIT,
    cos_array,
    exp_array,
    log_array,
    sigmoid_array,
    sigmoid_base2_array,
    sin_array,
    tanh_array,
    tanh_base2_array,
)

DIGITS = 40


@dataclass(frozen=True)
class Elementary:
    """A function of the core, its reference in float64 and in mpmath, and where it holds."""

    array: Callable[[Any, Any], None]
    double: Callable[[Any], Any]
    exact: Callable[[Any], Any]
    low: float = -np.inf
    high: float = np.inf

    def __call__(self, x: Any) -> Any:
        """The core's values."""
        out = np.empty_like(x)
        self.array(x, out)
        return out


def _sigmoid(x: Any, power: Callable[[Any], Any] = np.exp) -> Any:
    small = power(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


FUNCTIONS = {
    "exp": Elementary(exp_array, np.exp, mpmath.exp),
    "sigmoid": Elementary(sigmoid_array, _sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "tanh": Elementary(tanh_array, np.tanh, mpmath.tanh),
    "sigmoid_base2": Elementary(
        sigmoid_base2_array, lambda x: _sigmoid(x, np.exp2), lambda x: 1 / (1 + mpmath.mpf(2) ** -x)
    ),
    "tanh_base2": Elementary(
        tanh_base2_array, lambda x: np.tanh(x * (np.log(2) / 2)), lambda x: mpmath.tanh(x * mpmath.log(2) / 2)
    ),
    "sin": Elementary(sin_array, np.sin, mpmath.sin, -SINE_LIMIT, SINE_LIMIT),
    "cos": Elementary(cos_array, np.cos, mpmath.cos, -SINE_LIMIT, SINE_LIMIT),
    "log": Elementary(log_array, np.log, mpmath.log, 0.0),
}


def single_arguments(function: Elementary, stride: int) -> Any:
    """Every `stride`-th finite float32 at which the function holds."""
    patterns = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32)
    x = patterns.view(np.float32)
    return x[np.isfinite(x) & (x >= function.low) & (x <= function.high) & ((x != 0) | (function.low != 0))]


def double_arguments(function: Elementary, count: int, seed: int = 3) -> Any:
    """Random float64: half spread over exponents, half over the range in which the function moves."""
    rng = np.random.default_rng(seed)
    bound = min(function.high, 700.0)
    spread = rng.choice([-1.0, 1.0], count // 2) * 2.0 ** rng.uniform(-60, np.log2(bound), count // 2)
    if function.low == 0.0:
        spread = 2.0 ** rng.uniform(-1060, 1020, count // 2)
    near = rng.uniform(-3, 3, count - count // 2)
    return np.concatenate([spread, np.abs(near) if function.low == 0.0 else near])


def single_errors(function: Elementary, x: Any) -> Any:
    """Errors of float32 values in units in the last place of the true value; overflow must be infinite."""
    with np.errstate(all="ignore"):
        expected = function.double(x.astype(np.float64))
        rounded = expected.astype(np.float32)
        got = function(x)
        error = np.abs(got.astype(np.float64) - expected) / np.spacing(np.abs(rounded)).astype(np.float64)
    return np.where(np.isinf(rounded), np.where(got == rounded, 0.0, np.inf), error)


def double_errors(function: Elementary, x: Any) -> Any:
    """Errors of float64 values in units in the last place of the true value, by mpmath."""
    got, errors = function(x), np.empty(x.size)
    with mpmath.workdps(DIGITS):
        for i, argument in enumerate(x):
            expected = function.exact(mpmath.mpf(float(argument)))
            errors[i] = float(abs(mpmath.mpf(float(got[i])) - expected)) / float(np.spacing(abs(float(expected))))
    return errors


def _lines() -> Iterator[str]:
    for name, function in FUNCTIONS.items():
        single = single_errors(function, single_arguments(function, 997)).max()
        double = max(double_errors(function, double_arguments(function, 100_000, seed)).max() for seed in (3, 4))
        yield f"{name:13} float32 {single:.2f}  float64 {double:.2f}\n"


if __name__ == "__main__":
    for line in _lines():
        sys.stdout.write(line)
