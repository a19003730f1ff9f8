"""Matrices in one flat array: where they stand, and that they are the array's own memory."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.jit import kernel, shared
from kdrun.core.views import cut, matrices, size_of

SHAPES = ((2, 3), (0, 4), (1, 5), (3, 1))


@shared
def shapes_for(rows):
    """The shapes of this file, the first with so many rows."""
    return ((rows, 3), (0, 4), (1, 5), (3, 1))


@kernel
def number_elements(flat, rows, sizes):
    """Element [m, n] of the k-th matrix becomes 100·k + 10·m + n; `sizes` [4, 2] are the shapes that were seen."""
    a, b, c, d = matrices(flat, shapes_for(rows))
    for k, matrix in enumerate((a, b, c, d)):
        sizes[k, 0], sizes[k, 1] = matrix.shape
        for m in range(matrix.shape[0]):
            for n in range(matrix.shape[1]):
                matrix[m, n] = 100 * k + 10 * m + n


@kernel
def first_rows(flat, out):
    """The sum of the second row of the first matrix, by a slice of the tuple."""
    (a,) = matrices(flat, shapes_for(2))[:1]
    out[0] = a[1].sum()


def test_matrices_follow_each_other(dtype):
    """Each begins where the one before ends, row by row, and nothing beyond the last is touched."""
    flat, sizes = np.full(size_of(SHAPES) + 2, -1.0, dtype), np.zeros((4, 2), np.int64)
    number_elements(flat, 2, sizes)
    expected = [0, 1, 2, 10, 11, 12, 200, 201, 202, 203, 204, 300, 310, 320, -1, -1]
    np.testing.assert_array_equal(flat, expected)
    np.testing.assert_array_equal(sizes, SHAPES)


def test_cut_gives_the_same_memory(dtype):
    """Outside of kernels the matrices are views of the same places."""
    flat, sizes = np.full(size_of(SHAPES), -1.0, dtype), np.zeros((4, 2), np.int64)
    found = cut(flat, SHAPES)
    number_elements(flat, 2, sizes)
    assert [matrix.shape for matrix in found] == list(SHAPES)
    for k, matrix in enumerate(found):
        expected = [[100 * k + 10 * m + n for n in range(matrix.shape[1])] for m in range(matrix.shape[0])]
        np.testing.assert_array_equal(matrix, np.array(expected).reshape(matrix.shape))


def test_some_of_the_matrices_may_be_taken():
    """A slice of the tuple is a tuple of those matrices."""
    flat, out = np.arange(size_of(SHAPES), dtype=float), np.zeros(1)
    first_rows(flat, out)
    assert out[0] == 3 + 4 + 5


@pytest.mark.parametrize(("shapes", "expected"), [((), 0), (((2, 3),), 6), (SHAPES, 14)])
def test_the_size_is_that_of_all(shapes, expected):
    """Rows times columns, summed."""
    assert size_of(shapes) == expected
