"""IEEE arithmetic as exact fractions, rounded once."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

MANTISSA_BITS = {np.dtype(np.float32): 24, np.dtype(np.float64): 53}
SMALLEST_EXPONENT = {np.dtype(np.float32): -149, np.dtype(np.float64): -1074}


def rounded(value: Fraction, dtype: Any) -> Any:
    """The finite float nearest to an exact fraction, ties to even; subnormals included, overflow not."""
    dtype = np.dtype(dtype)
    if value == 0:
        return dtype.type(0.0)
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length() - MANTISSA_BITS[dtype]
    while abs(value) >= Fraction(2) ** (exponent + MANTISSA_BITS[dtype]):
        exponent += 1
    exponent = max(exponent, SMALLEST_EXPONENT[dtype])
    return dtype.type(float(round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent))


def fused_multiply_add(a: Any, b: Any, c: Any) -> Any:
    """a·b + c with one rounding, for finite numpy scalars of one dtype."""
    return rounded(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)), np.dtype(type(a)))


def fused_chain(start: Any, left: Sequence[Any], right: Sequence[Any]) -> Any:
    """start + Σ left[k]·right[k]: one fused multiply-add each, in order."""
    total = start
    for a, b in zip(left, right, strict=True):
        total = fused_multiply_add(a, b, total)
    return total


def tree_sum(lanes: Sequence[Any]) -> Any:
    """Sum of sixteen numbers: lane i with lane i + 8, then + 4, + 2, + 1."""
    values = list(lanes)
    while len(values) > 1:
        half = len(values) // 2
        values = [values[i] + values[i + half] for i in range(half)]
    return values[0]


def product(x: Any, w: Any, out: Any) -> Any:
    """out + x·w as chains over the summed index, bit for bit."""
    result = out.copy()
    for m in range(x.shape[0]):
        for n in range(w.shape[1]):
            result[m, n] = fused_chain(out[m, n], list(x[m]), list(w[:, n]))
    return result
