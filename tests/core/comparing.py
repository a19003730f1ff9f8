"""How results are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from kdrun.core.jit import JIT_DISABLED

needs_jit = pytest.mark.skipif(JIT_DISABLED, reason="the numpy twin of fma rounds twice, so its bits differ")
too_slow_without_jit = pytest.mark.skipif(JIT_DISABLED, reason="thousands of kernel calls take minutes without the JIT")

TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}


def assert_gradient(got: Any, expected: Any, tolerance: float) -> None:
    """The error is a small part of an expected gradient that is not zero."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    size = np.linalg.norm(expected)
    assert size > 0.0
    assert np.linalg.norm(got - expected) <= tolerance * size


def assert_bits(got: Any, expected: Any) -> None:
    """Two arrays hold the same bits; a zero has its sign, and any nan is a nan."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    kind = {4: np.int32, 8: np.int64}[got.dtype.itemsize]
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(got[number].view(kind), expected[number].view(kind))


def unchanged(arrays: Mapping[str, Any], call: Callable[[], Any]) -> None:
    """`call` leaves every one of `arrays` as it was, bit for bit."""
    before = {name: np.array(array) for name, array in arrays.items()}
    call()
    for name, array in arrays.items():
        assert np.asarray(array).tobytes() == before[name].tobytes(), name
