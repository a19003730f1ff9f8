"""Matrix products in tiles held in registers. Vectors run along a column axis that is not summed.

Every element of a result is one chain of fused multiply-adds in the order of the summed index, whatever the tile, so
neither the shape of a tile nor the width of a register changes a bit. All column counts are multiples of `LANES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdrun.core.jit import compiles_for, inlined, kernel
from kdrun.core.tile import fma_columns, fma_rows, load_tile, repeat_tile, store_tile
from kdrun.core.vector import LANES

# Four rows hide the latency of a fused multiply-add, five rows of AVX2's half vectors still fit its registers; every
# number of rows from twelve on is a sum of fours and fives.
LARGE, SMALL = 5, 4
# Vectors to a row of a tile. Two read a factor once for two multiply-adds; the registers of AVX-512 alone hold them.
WIDTH = 2 if compiles_for("avx512f") else 1

Piece = Callable[..., Any]


@inlined
def _small_tiles(rows):
    """How many of the tiles that make up `rows` are small, so that none or few rows are left over."""
    missing = -rows % LARGE
    return missing if SMALL * missing <= rows else 0


def _product_tile(begin: Piece, size: int, width: int) -> Piece:
    """out[out_row : +size, columns] = begin + x[row : +size] @ w[:, columns], of `width` vectors from `column` on."""

    @inlined
    def product_tile(x, row, w, start, out, out_row, column):
        sums = begin(start, out_row, column, size, width)
        for k in range(w.shape[0]):
            sums = fma_rows(sums, x, row, k, load_tile(w, k, column, 1, width))
        store_tile(out, out_row, column, sums)

    return product_tile


def _product_rows(begin: Piece, width: int) -> Piece:
    """out[out_row : +rows] = begin + x[row : +rows, :K] @ w for w [K, N]; `begin` takes its tiles from `start`."""
    large_tile, small_tile, row_tile = (_product_tile(begin, size, width) for size in (LARGE, SMALL, 1))

    @inlined
    def product_rows(x, row, rows, w, start, out, out_row):
        small = SMALL * _small_tiles(rows)
        tiled = small + (rows - small) // LARGE * LARGE
        for column in range(0, w.shape[1], width * LANES):
            for r in range(0, small, SMALL):
                small_tile(x, row + r, w, start, out, out_row + r, column)
            for r in range(small, tiled, LARGE):
                large_tile(x, row + r, w, start, out, out_row + r, column)
            for r in range(tiled, rows):
                row_tile(x, row + r, w, start, out, out_row + r, column)

    return product_rows


def _product_rows_of_any(begin: Piece) -> Piece:
    """`_product_rows` for any number of vectors: as wide as may be where it is even, else one by one."""
    wide, narrow = _product_rows(begin, WIDTH), _product_rows(begin, 1)

    @inlined
    def product_rows_of_any(x, row, rows, w, start, out, out_row):
        if w.shape[1] % (WIDTH * LANES):
            narrow(x, row, rows, w, start, out, out_row)
        else:
            wide(x, row, rows, w, start, out, out_row)

    return narrow if WIDTH == 1 else product_rows_of_any


# Products for use inside kernels, of x[row : +rows, :K] and w [K, N], to out[out_row : +rows]: added to the rows of
# `start` that have the same numbers as those of `out`, or to the one row of `start` [1, N].
product_from_rows = _product_rows_of_any(load_tile)
product_from_row = _product_rows_of_any(repeat_tile)
# The same where N is a multiple of 32, which takes half as long to compile.
even_product_from_row = _product_rows(repeat_tile, WIDTH)


def _outer_tile(size: int, width: int) -> Piece:
    """out[first : +size, columns] += x[x_row : +rows, first : +size]ᵀ @ d[:rows, columns], of `width` vectors."""

    @inlined
    def outer_tile(x, x_row, first, d, rows, out, column):
        sums = load_tile(out, first, column, size, width)
        for r in range(rows):
            sums = fma_columns(sums, x, x_row + r, first, load_tile(d, r, column, 1, width))
        store_tile(out, first, column, sums)

    return outer_tile


def _outer_product(width: int) -> Piece:
    """out += x[x_row : +rows, :K]ᵀ @ d[:rows] for out [K, N], sums in the order of the rows."""
    large_tile, small_tile, row_tile = (_outer_tile(size, width) for size in (LARGE, SMALL, 1))

    @inlined
    def outer_product(x, x_row, d, rows, out):
        depth = out.shape[0]
        small = SMALL * _small_tiles(depth)
        tiled = small + (depth - small) // LARGE * LARGE
        for column in range(0, out.shape[1], width * LANES):
            for first in range(0, small, SMALL):
                small_tile(x, x_row, first, d, rows, out, column)
            for first in range(small, tiled, LARGE):
                large_tile(x, x_row, first, d, rows, out, column)
            for first in range(tiled, depth):
                row_tile(x, x_row, first, d, rows, out, column)

    return outer_product


def _outer_product_of_any() -> Piece:
    """`_outer_product` for any number of vectors: as wide as may be where it is even, else one by one."""
    wide, narrow = _outer_product(WIDTH), _outer_product(1)

    @inlined
    def outer_product_of_any(x, x_row, d, rows, out):
        if out.shape[1] % (WIDTH * LANES):
            narrow(x, x_row, d, rows, out)
        else:
            wide(x, x_row, d, rows, out)

    return narrow if WIDTH == 1 else outer_product_of_any


# out += x[x_row : +rows, :K]ᵀ @ d[:rows] for out [K, N], for use inside kernels; and where N is a multiple of 32.
add_outer_product = _outer_product_of_any()
add_even_outer_product = _outer_product(WIDTH)


@kernel
def product_inplace(x, w, out):
    """Add a matrix product to a matrix.

    Equation
        out[m, n] ← out[m, n] + Σ_k x[m, k]·w[k, n], k ascending, one fused multiply-add each
    Parameters
        x: [M, K]. w: [K, N], N a multiple of 16. out: [M, N], changed in place. One dtype, C-contiguous.
    """
    product_from_rows(x, 0, x.shape[0], w, out, out, 0)


@kernel
def outer_product_inplace(x, d, out):
    """Add xᵀ·d to a matrix: the weight gradient of a product.

    Equation
        out[k, n] ← out[k, n] + Σ_m x[m, k]·d[m, n], m ascending, one fused multiply-add each
    Parameters
        x: [M, K]. d: [M, N], N a multiple of 16. out: [K, N], changed in place. One dtype, C-contiguous.
    """
    add_outer_product(x, 0, d, d.shape[0], out)
