"""Random orders of a fixed set, from random numbers alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdrun.core.random import Stream


def permutation(stream: Stream, step: int, count: int) -> NDArray[Any]:
    """The numbers 0 … count−1 in a random order, int64 [count]: the order of as many random numbers.

    Of equal ones, which 24 bits make now and then, the first comes first.
    """
    return np.argsort(stream.uniform(step, (count,), 0.0, 1.0, "float64"), kind="stable")
