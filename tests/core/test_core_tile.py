"""Tiles: every operation on rows of vectors, compiled and as its numpy twin."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.jit import kernel
from kdrun.core.tile import fma_columns, fma_rows, load_tile, repeat_tile, store_tile, transposed
from kdrun.core.vector import LANES
from tests.core.comparing import assert_bits, needs_jit, unchanged
from tests.naive.arithmetic import fused_multiply_add

# Of tiles three rows of two vectors each.
ROWS, COLUMNS = 3, 2 * LANES


@kernel
def copy_tile(source, row, column, target, target_row, target_column):
    """Three rows of two vectors each from one matrix to another."""
    store_tile(target, target_row, target_column, load_tile(source, row, column, 3, 2))


@kernel
def copy_repeated(source, row, column, target):
    """The first row's vectors to three rows."""
    store_tile(target, 0, 0, repeat_tile(source, row, column, 3, 2))


@kernel
def add_multiples(start, at, factors, row, column, vectors, by_rows, by_columns):
    """A tile with multiples of two vectors added: one element for each row, along a column and along a row."""
    tile = load_tile(start, at, at, 3, 2)
    store_tile(by_rows, 0, 0, fma_rows(tile, factors, row, column, load_tile(vectors, 0, 0, 1, 2)))
    store_tile(by_columns, 0, 0, fma_columns(tile, factors, row, column, load_tile(vectors, 0, 0, 1, 2)))


@kernel
def copy_from_constant_places(source, target):
    """Tiles whose places are written as constants."""
    store_tile(target, 0, 0, load_tile(source, 1, 16, 3, 1))
    store_tile(target, 3, 0, repeat_tile(source, 2, 16, 3, 1))


@kernel
def copy_transposed(source, row, column, target, target_row, target_column):
    """A square tile, turned, from one matrix to another."""
    store_tile(target, target_row, target_column, transposed(load_tile(source, row, column, 16, 1)))


@pytest.fixture
def matrix(dtype, rng):
    """Numbers [7, 48] whose places all differ."""
    return rng.permutation(7 * 48).reshape(7, 48).astype(dtype)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 16), (2, 5)])
def test_a_tile_is_loaded_from_where_it_stands(row, column, matrix, dtype):
    """Its rows follow each other from `row` on, its vectors begin at `column`, which may be any."""
    got = np.zeros((ROWS, COLUMNS), dtype)
    copy_tile(matrix, row, column, got, 0, 0)
    assert_bits(got, matrix[row : row + ROWS, column : column + COLUMNS])


@pytest.mark.parametrize(("row", "column"), [(0, 0), (4, 16), (2, 5)])
def test_a_tile_is_stored_where_it_is_asked_for(row, column, matrix, dtype):
    """The target changes there and nowhere else."""
    got = np.full((7, 48), -1.0, dtype)
    expected = got.copy()
    expected[row : row + ROWS, column : column + COLUMNS] = matrix[:ROWS, :COLUMNS]
    copy_tile(matrix, 0, 0, got, row, column)
    assert_bits(got, expected)


@pytest.mark.parametrize("row", [0, 2, 100])
def test_a_repeated_tile_is_the_first_row_whatever_row_is_asked_for(row, matrix, dtype):
    """Every row is that of row 0, also where the matrix has no such row."""
    got = np.zeros((ROWS, COLUMNS), dtype)
    copy_repeated(matrix, row, 16, got)
    assert_bits(got, np.tile(matrix[0, 16:48], (ROWS, 1)))


def test_a_transposed_tile_has_rows_for_columns(dtype, rng):
    """Element (r, c) of the square comes to (c, r), and nothing beside the square changes."""
    source = rng.permutation(20 * 40).reshape(20, 40).astype(dtype)
    got, expected = np.full((18, 40), -1.0, dtype), np.full((18, 40), -1.0, dtype)
    expected[2:18, 5 : 5 + LANES] = source[3 : 3 + LANES, 8 : 8 + LANES].T
    copy_transposed(source, 3, 8, got, 2, 5)
    assert_bits(got, expected)


def multiples(dtype, rng):
    """Results of both operations from row 2, column 1 of the factors, and what they are made of."""
    start, factors = rng.normal(size=(ROWS, COLUMNS)).astype(dtype), rng.normal(size=(6, 5)).astype(dtype)
    vectors = rng.normal(size=(1, COLUMNS)).astype(dtype)
    by_rows, by_columns = np.zeros_like(start), np.zeros_like(start)
    add_multiples(start, 0, factors, 2, 1, vectors, by_rows, by_columns)
    return start, factors, vectors, by_rows, by_columns


def test_multiples_are_by_elements_that_follow_each_other_in_a_column_or_a_row(dtype, rng):
    """Row r is multiplied by factors[row + r, column] in one operation, by factors[row, column + r] in the other."""
    start, factors, vectors, by_rows, by_columns = multiples(dtype, rng)
    tolerance = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(by_rows, start + np.outer(factors[2:5, 1], vectors), rtol=0, atol=tolerance)
    np.testing.assert_allclose(by_columns, start + np.outer(factors[2, 1:4], vectors), rtol=0, atol=tolerance)


@needs_jit
def test_a_multiple_is_added_in_one_rounding(dtype, rng):
    """Each number is that of exact arithmetic, rounded once."""
    start, factors, vectors, by_rows, by_columns = multiples(dtype, rng)
    for r in range(ROWS):
        for column in range(COLUMNS):
            a, c = vectors[0, column], start[r, column]
            assert by_rows[r, column] == fused_multiply_add(factors[2 + r, 1], a, c)
            assert by_columns[r, column] == fused_multiply_add(factors[2, 1 + r], a, c)


def test_not_a_number_stays_in_its_row(dtype):
    """A factor that is nan makes its own row nan and leaves the others alone."""
    start, factors, vectors = np.ones((ROWS, COLUMNS), dtype), np.ones((3, 3), dtype), np.ones((1, COLUMNS), dtype)
    factors[1, 0] = np.nan
    by_rows, by_columns = np.zeros_like(start), np.zeros_like(start)
    add_multiples(start, 0, factors, 0, 0, vectors, by_rows, by_columns)
    np.testing.assert_array_equal(np.isnan(by_rows).all(axis=1), [False, True, False])
    assert (by_rows[[0, 2]] == 2.0).all()
    assert (by_columns == 2.0).all()


def test_operations_on_tiles_leave_their_inputs_alone(dtype, rng):
    """What a tile is loaded from and multiplied by is as it was."""
    start, factors = rng.normal(size=(ROWS, COLUMNS)).astype(dtype), rng.normal(size=(4, 4)).astype(dtype)
    vectors, out = rng.normal(size=(1, COLUMNS)).astype(dtype), np.zeros((ROWS, COLUMNS), dtype)
    arrays = {"start": start, "factors": factors, "vectors": vectors}
    unchanged(arrays, lambda: add_multiples(start, 0, factors, 1, 0, vectors, out, out.copy()))


def test_a_place_may_be_a_constant(matrix):
    """Rows follow each other also from a constant row, and the repeated row is the first whatever is written."""
    got = np.empty((6, LANES), matrix.dtype)
    copy_from_constant_places(matrix, got)
    assert_bits(got, np.concatenate([matrix[1:4, 16:32], *[matrix[:1, 16:32]] * 3]))
