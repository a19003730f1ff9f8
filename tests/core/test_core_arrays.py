"""Arrays that begin at a cache line."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.arrays import LINE_BYTES, zeros

SHAPES = [(), 0, 5, (3, 7), (2, 3, 17), (0, 4), (4, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_array_is_zeros_of_the_shape_and_dtype(shape, dtype):
    """It is what numpy's `zeros` gives, also where it holds nothing."""
    got, expected = zeros(shape, dtype), np.zeros(shape, dtype)
    assert (got.shape, got.dtype, got.flags.c_contiguous) == (expected.shape, dtype, True)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_array_begins_at_a_cache_line(shape, dtype):
    """Twenty arrays that live at once all do."""
    arrays = [zeros(shape, dtype) for _ in range(20)]
    assert {array.__array_interface__["data"][0] % LINE_BYTES for array in arrays if array.size} <= {0}


def test_arrays_share_nothing(dtype):
    """Writing one array to its last element leaves the next as it was."""
    first, second = zeros((3, 5), dtype), zeros((3, 5), dtype)
    first[...] = 1.0
    assert not second.any()
    assert first.sum() == 15.0
