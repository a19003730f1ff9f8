"""Matrix products: right, and the same bits on every path through the tiles."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.jit import kernel
from kdrun.core.matmul import (
    LARGE,
    SMALL,
    add_even_outer_product,
    even_product_from_row,
    outer_product_inplace,
    product_inplace,
)
from tests.core.comparing import assert_bits, needs_jit, unchanged
from tests.core.processes import run_python
from tests.naive import arithmetic as naive

SHAPES = [(1, 1, 16), (1, 7, 32), (LARGE - 1, 3, 16), (LARGE, 5, 16), (LARGE + 1, 4, 48), (13, 33, 32)]
shapes = pytest.mark.parametrize(("rows", "depth", "columns"), SHAPES)


def operands(rows, depth, columns, dtype, rng):
    """x [M, K], w [K, N] and a start [M, N]."""
    draw = [rng.normal(size=shape).astype(dtype) for shape in ((rows, depth), (depth, columns), (rows, columns))]
    return tuple(draw)


def bound(x, w, out, dtype):
    """Largest error of a chain of K fused operations: K rounding errors of what is summed."""
    scale = np.abs(out).astype(np.float64) + np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64)
    return (x.shape[1] + 1) * np.finfo(dtype).eps * scale


@shapes
def test_a_product_is_added_to_what_is_there(rows, depth, columns, dtype, rng):
    """out + x·w is within its rounding errors of numpy's in float64."""
    x, w, out = operands(rows, depth, columns, dtype, rng)
    got = out.copy()
    product_inplace(x, w, got)
    expected = out.astype(np.float64) + x.astype(np.float64) @ w.astype(np.float64)
    assert (np.abs(got - expected) <= bound(x, w, out, dtype)).all()


@shapes
def test_an_outer_product_is_added_to_what_is_there(rows, depth, columns, dtype, rng):
    """out + xᵀ·d is within its rounding errors of numpy's in float64, for every remainder of the tiles."""
    x, d = rng.normal(size=(depth, rows)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
    out = rng.normal(size=(rows, columns)).astype(dtype)
    got = out.copy()
    outer_product_inplace(x, d, got)
    expected = out.astype(np.float64) + x.T.astype(np.float64) @ d.astype(np.float64)
    assert (np.abs(got - expected) <= bound(x.T, d, out, dtype)).all()


@pytest.mark.parametrize("rows", range(1, LARGE * SMALL + 2))
def test_a_row_alone_has_the_bits_that_it_has_in_a_tile(rows, dtype, rng):
    """Every row of a product is the same whether it stands in a tile of five or is computed alone."""
    x, w, out = operands(rows, 9, 32, dtype, rng)
    together = out.copy()
    product_inplace(x, w, together)
    for row in range(rows):
        alone = out[row : row + 1].copy()
        product_inplace(x[row : row + 1], w, alone)
        assert_bits(alone[0], together[row])


@pytest.mark.parametrize("rows", range(1, LARGE * SMALL + 2))
def test_a_row_of_an_outer_product_has_the_same_bits_in_any_tile(rows, dtype, rng):
    """Every row of a weight gradient is the same in a tile of five and alone."""
    x, d = rng.normal(size=(7, rows)).astype(dtype), rng.normal(size=(7, 16)).astype(dtype)
    out = rng.normal(size=(rows, 16)).astype(dtype)
    together = out.copy()
    outer_product_inplace(x, d, together)
    for row in range(rows):
        alone = out[row : row + 1].copy()
        outer_product_inplace(np.ascontiguousarray(x[:, row : row + 1]), d, alone)
        assert_bits(alone[0], together[row])


def assert_columns_know_no_neighbours(add_product, left, right, out):
    """Sixteen columns of a product computed alone have the bits that they have among others, in wide tiles or not."""
    together = out.copy()
    add_product(left, right, together)
    for first in range(0, out.shape[1], 16):
        alone = np.ascontiguousarray(out[:, first : first + 16])
        add_product(left, np.ascontiguousarray(right[:, first : first + 16]), alone)
        assert_bits(alone, together[:, first : first + 16])


@pytest.mark.parametrize("columns", [32, 48])
@pytest.mark.parametrize("rows", [1, 6, 13])
def test_columns_do_not_know_their_neighbours(rows, columns, dtype, rng):
    """In a product, in tiles of any size."""
    x, w, out = operands(rows, 9, columns, dtype, rng)
    assert_columns_know_no_neighbours(product_inplace, x, w, out)


@pytest.mark.parametrize("columns", [32, 48])
@pytest.mark.parametrize("rows", [1, SMALL, LARGE, 13])
def test_columns_of_an_outer_product_do_not_know_their_neighbours(rows, columns, dtype, rng):
    """In a weight gradient, in tiles of any size."""
    x, d, out = (rng.normal(size=size).astype(dtype) for size in ((7, rows), (7, columns), (rows, columns)))
    assert_columns_know_no_neighbours(outer_product_inplace, x, d, out)


@kernel
def even_products(x, w, start, out, d, dw):
    """Both products that are for an even number of vectors alone."""
    even_product_from_row(x, 0, x.shape[0], w, start, out, 0)
    add_even_outer_product(x, 0, d, d.shape[0], dw)


@pytest.mark.parametrize("rows", [1, LARGE, 13])
def test_products_of_an_even_number_of_vectors_have_the_bits_of_any(rows, dtype, rng):
    """They are compiled for wide tiles alone."""
    x, w, out = operands(rows, 9, 64, dtype, rng)
    start, dw = rng.normal(size=(1, 64)).astype(dtype), rng.normal(size=(9, 64)).astype(dtype)
    d, got, got_dw = out.copy(), np.zeros_like(out), dw.copy()
    even_products(x, w, start, got, d, got_dw)
    expected = np.repeat(start, rows, axis=0)
    product_inplace(x, w, expected)
    outer_product_inplace(x, d, dw)
    assert_bits(got, expected)
    assert_bits(got_dw, dw)


WIDTH_OF_TILES = "from kdrun.core.matmul import WIDTH; print(WIDTH)"


@pytest.mark.parametrize(("features", "width"), [("", "1"), ("+avx2,+fma", "1"), ("+avx2,+fma,+avx512f", "2")])
def test_tiles_are_wide_where_registers_hold_them(features, width):
    """That is decided by what Numba compiles for, which need not be this processor."""
    got = run_python(WIDTH_OF_TILES, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features})
    assert got == width


@needs_jit
def test_a_product_is_one_chain_of_fused_operations(dtype, rng):
    """Every element has the bits of k ascending, one exact fused multiply-add each."""
    x, w, out = operands(LARGE + 2, 6, 16, dtype, rng)
    got = out.copy()
    product_inplace(x, w, got)
    assert_bits(got, naive.product(x, w, out))


@needs_jit
def test_an_outer_product_is_one_chain_of_fused_operations(dtype, rng):
    """Every sum has the bits of one chain from the first row to the last."""
    rows = 53
    x, d = rng.normal(size=(rows, 2)).astype(dtype), rng.normal(size=(rows, 16)).astype(dtype)
    out = rng.normal(size=(2, 16)).astype(dtype)
    got = out.copy()
    outer_product_inplace(x, d, got)
    assert_bits(got, naive.product(x.T, d, out))


def test_operands_are_only_read(dtype, rng):
    """Both products leave their factors alone."""
    x, w, out = operands(6, 3, 16, dtype, rng)
    unchanged({"x": x, "w": w}, lambda: product_inplace(x, w, out.copy()))
    unchanged({"x": x, "w": out}, lambda: outer_product_inplace(x, out, w.copy()))


def test_nan_and_infinity_reach_the_result(dtype, rng):
    """A value that is not finite is not hidden by a zero factor."""
    x, w, out = operands(6, 3, 16, dtype, rng)
    x[2, 1] = np.nan
    w[0, 3], x[:, 0] = np.inf, 0.0
    product_inplace(x, w, out)
    assert np.isnan(out[2]).all()
    assert np.isnan(out[:, 3]).all()
    assert np.isfinite(out[[0, 1, 3, 4, 5]][:, :3]).all()
