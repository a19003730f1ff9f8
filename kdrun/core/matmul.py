"""Matrix products in tiles held in registers. Vectors run along a column axis that is not summed.

Every element of a result is one chain of fused multiply-adds in the order of the summed index, whatever the tile, so
neither the shape of a tile nor the width of a register changes a bit. All column counts are multiples of `LANES`.
"""

from __future__ import annotations

from kdrun.core.jit import inlined, kernel
from kdrun.core.vector import LANES, fma, load, splat_like, store

TILE_ROWS = 5
BLOCK_ROWS = 50


@inlined
def _product_tile(x, row, depth, w, out, out_row, column):
    """out[out_row : +5, column : +16] += x[row : +5, :depth] @ w[:depth, column : +16]."""
    sum_0 = load(out, (out_row, column))
    sum_1 = load(out, (out_row + 1, column))
    sum_2 = load(out, (out_row + 2, column))
    sum_3 = load(out, (out_row + 3, column))
    sum_4 = load(out, (out_row + 4, column))
    for k in range(depth):
        weights = load(w, (k, column))
        sum_0 = fma(splat_like(x[row, k], w), weights, sum_0)
        sum_1 = fma(splat_like(x[row + 1, k], w), weights, sum_1)
        sum_2 = fma(splat_like(x[row + 2, k], w), weights, sum_2)
        sum_3 = fma(splat_like(x[row + 3, k], w), weights, sum_3)
        sum_4 = fma(splat_like(x[row + 4, k], w), weights, sum_4)
    store(out, (out_row, column), sum_0)
    store(out, (out_row + 1, column), sum_1)
    store(out, (out_row + 2, column), sum_2)
    store(out, (out_row + 3, column), sum_3)
    store(out, (out_row + 4, column), sum_4)


@inlined
def _product_row(x, row, depth, w, out, out_row, column):
    """out[out_row, column : +16] += x[row, :depth] @ w[:depth, column : +16]."""
    total = load(out, (out_row, column))
    for k in range(depth):
        total = fma(splat_like(x[row, k], w), load(w, (k, column)), total)
    store(out, (out_row, column), total)


@inlined
def add_product_rows(x, row, rows, depth, w, out, out_row):
    """out[out_row : +rows] += x[row : +rows, :depth] @ w[:depth], for use inside kernels."""
    tiled = rows - rows % TILE_ROWS
    for column in range(0, w.shape[1], LANES):
        for r in range(0, tiled, TILE_ROWS):
            _product_tile(x, row + r, depth, w, out, out_row + r, column)
        for r in range(tiled, rows):
            _product_row(x, row + r, depth, w, out, out_row + r, column)


@inlined
def _outer_tile(x, first, d, row, rows, out, column):
    """out[first : +5, column : +16] += x[row : +rows, first : +5]ᵀ @ d[row : +rows, column : +16]."""
    sum_0 = load(out, (first, column))
    sum_1 = load(out, (first + 1, column))
    sum_2 = load(out, (first + 2, column))
    sum_3 = load(out, (first + 3, column))
    sum_4 = load(out, (first + 4, column))
    for r in range(row, row + rows):
        gradient = load(d, (r, column))
        sum_0 = fma(splat_like(x[r, first], d), gradient, sum_0)
        sum_1 = fma(splat_like(x[r, first + 1], d), gradient, sum_1)
        sum_2 = fma(splat_like(x[r, first + 2], d), gradient, sum_2)
        sum_3 = fma(splat_like(x[r, first + 3], d), gradient, sum_3)
        sum_4 = fma(splat_like(x[r, first + 4], d), gradient, sum_4)
    store(out, (first, column), sum_0)
    store(out, (first + 1, column), sum_1)
    store(out, (first + 2, column), sum_2)
    store(out, (first + 3, column), sum_3)
    store(out, (first + 4, column), sum_4)


@inlined
def _outer_row(x, first, d, row, rows, out, column):
    """out[first, column : +16] += x[row : +rows, first] @ d[row : +rows, column : +16]."""
    total = load(out, (first, column))
    for r in range(row, row + rows):
        total = fma(splat_like(x[r, first], d), load(d, (r, column)), total)
    store(out, (first, column), total)


@inlined
def add_outer_product(x, d, depth, out):
    """out[:depth] += x[:, :depth]ᵀ @ d, the sum in the order of the rows.

    Rows are taken in blocks that stay in the first cache; the sums are carried from block to block through `out`.
    """
    tiled = depth - depth % TILE_ROWS
    for row in range(0, d.shape[0], BLOCK_ROWS):
        rows = min(BLOCK_ROWS, d.shape[0] - row)
        for column in range(0, d.shape[1], LANES):
            for first in range(0, tiled, TILE_ROWS):
                _outer_tile(x, first, d, row, rows, out, column)
            for first in range(tiled, depth):
                _outer_row(x, first, d, row, rows, out, column)


@kernel
def product_inplace(x, w, out):
    """Add a matrix product to a matrix.

    Equation
        out[m, n] ← out[m, n] + Σ_k x[m, k]·w[k, n], k ascending, one fused multiply-add each
    Parameters
        x: [M, K]. w: [K, N], N a multiple of 16. out: [M, N], changed in place. One dtype, C-contiguous.
    """
    add_product_rows(x, 0, x.shape[0], w.shape[0], w, out, 0)


@kernel
def outer_product_inplace(x, d, out):
    """Add xᵀ·d to a matrix: the weight gradient of a product.

    Equation
        out[k, n] ← out[k, n] + Σ_m x[m, k]·d[m, n], m ascending, one fused multiply-add each
    Parameters
        x: [M, K]. d: [M, N], N a multiple of 16. out: [K, N], changed in place. One dtype, C-contiguous.
    """
    add_outer_product(x, d, x.shape[1], out)
