"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest

from kdrun.core.jit import JIT_DISABLED


@pytest.fixture(autouse=True)
def compiled_arithmetic() -> Iterator[None]:
    """Compiled kernels overflow and make nan in silence; their numpy twins should not warn either."""
    with np.errstate(all="ignore") if JIT_DISABLED else nullcontext():
        yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Both precisions."""
    return np.dtype(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Numbers for test data; the same in every run."""
    return np.random.default_rng(20240607)
