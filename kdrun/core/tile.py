"""Tiles: a few rows of one or two vectors each, held in registers, of which products of matrices are made.

A tile is a tuple of rows, each a tuple of vectors that stand side by side. Its size is a constant of the code, so that
LLVM unrolls every operation on it and keeps it in registers; each operation is written once, for any size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from kdrun.core.vector import (
    LANES,
    VectorType,
    call_llvm,
    element_pointer,
    fma,
    load,
    lowered,
    shuffled,
    splat_like,
    splat_value,
    store,
    vector_pointer,
)


def _load_tile_twin(array: Any, row: int, column: int, rows: int, columns: int) -> Any:
    return tuple(tuple(load(array, (row + r, column + LANES * c)) for c in range(columns)) for r in range(rows))


@lowered(_load_tile_twin, prefer_literal=True)
def load_tile(typingctx: Any, array: Any, row: Any, column: Any, rows: Any, columns: Any) -> Any:
    """The vectors array[row + r, column + 16·c : +16] for r and c below the constants `rows` and `columns`."""
    kind = _tile_type(array, rows, columns)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _tile(context, builder, kind, _loaded(context, builder, sig, args, kind.count, kind.dtype.count))

    # A position written as a constant is a number like any other.
    return kind(array, types.unliteral(row), types.unliteral(column), rows, columns), codegen


def _repeat_tile_twin(array: Any, row: int, column: int, rows: int, columns: int) -> Any:
    return _load_tile_twin(array, 0, column, 1, columns) * rows


@lowered(_repeat_tile_twin, prefer_literal=True)
def repeat_tile(typingctx: Any, array: Any, row: Any, column: Any, rows: Any, columns: Any) -> Any:
    """The first row of an array in every row, whatever `row`: where `load_tile` has a row of its own."""
    kind = _tile_type(array, rows, columns)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        first_row = (args[0], args[1].type(0), args[2])
        return _tile(
            context, builder, kind, _loaded(context, builder, sig, first_row, 1, kind.dtype.count) * kind.count
        )

    # A position written as a constant is a number like any other.
    return kind(array, types.unliteral(row), types.unliteral(column), rows, columns), codegen


def _store_tile_twin(array: Any, row: int, column: int, tile: Any) -> None:
    for r, vectors in enumerate(tile):
        for c, vector in enumerate(vectors):
            store(array, (row + r, column + LANES * c), vector)


@lowered(_store_tile_twin)
def store_tile(typingctx: Any, array: Any, row: Any, column: Any, tile: Any) -> Any:
    """Write a tile to array[row + r, column + 16·c : +16]."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for r, vectors in enumerate(_vectors(builder, args[3], tile)):
            for c, vector in enumerate(vectors):
                builder.store(vector, _pointer(context, builder, sig, args, r, c), align=_align(array))
        return context.get_dummy_value()

    return types.void(array, row, column, tile), codegen


def _transposed_twin(tile: Any) -> Any:
    return tuple((row.copy(),) for row in np.stack([row for (row,) in tile]).T)


@lowered(_transposed_twin)
def transposed(typingctx: Any, tile: Any) -> Any:
    """A square tile, one vector wide, with rows and columns exchanged."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows, distance = [vector for (vector,) in _vectors(builder, args[0], tile)], 1
        while distance < LANES:
            for r in (r for r in range(LANES) if not r & distance):
                rows[r], rows[r + distance] = _exchanged(builder, rows[r], rows[r + distance], distance)
            distance *= 2
        return _tile(context, builder, tile, [[row] for row in rows])

    return tile(tile), codegen


def _exchanged(builder: Any, a: Any, b: Any, distance: int) -> tuple[Any, Any]:
    """Two rows whose small squares beside the diagonal, `distance` wide, have changed places."""
    low = [lane if not lane & distance else LANES + lane - distance for lane in range(LANES)]
    high = [lane + distance if not lane & distance else LANES + lane for lane in range(LANES)]
    return shuffled(builder, a, b, low), shuffled(builder, a, b, high)


def _add_multiples_twin(tile: Any, factors: Any, row: Any) -> Any:
    (vectors,) = row
    return tuple(
        tuple(fma(splat_like(factor, total), vector, total) for vector, total in zip(vectors, totals, strict=True))
        for factor, totals in zip(factors, tile, strict=True)
    )


def _fma_rows_twin(tile: Any, array: Any, row: Any, column: Any, vectors: Any) -> Any:
    return _add_multiples_twin(tile, array[row : row + len(tile), column], vectors)


@lowered(_fma_rows_twin)
def fma_rows(typingctx: Any, tile: Any, array: Any, row: Any, column: Any, vectors: Any) -> Any:
    """The tile with array[row + r, column]·vectors, a tile of one row, added to its row r, in one rounding."""
    return tile(tile, array, row, column, vectors), _fma_codegen(lambda plus, row, column, r: (plus(row, r), column))


def _fma_columns_twin(tile: Any, array: Any, row: Any, column: Any, vectors: Any) -> Any:
    return _add_multiples_twin(tile, array[row, column : column + len(tile)], vectors)


@lowered(_fma_columns_twin)
def fma_columns(typingctx: Any, tile: Any, array: Any, row: Any, column: Any, vectors: Any) -> Any:
    """The tile with array[row, column + r]·vectors, a tile of one row, added to its row r, in one rounding."""
    return tile(tile, array, row, column, vectors), _fma_codegen(lambda plus, row, column, r: (row, plus(column, r)))


def _fma_codegen(index_of: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """Code that adds a multiple of vectors to every row of a tile; `index_of` says by which element of the array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, (tile, array, row, column, factor_row) = sig.args[0], args
        dtype = kind.dtype.dtype.dtype
        (vectors,) = _vectors(builder, factor_row, sig.args[4])
        sums = []
        for r, totals in enumerate(_vectors(builder, tile, kind)):
            index = index_of(lambda position, step: _plus(builder, position, step), row, column, r)
            element = builder.load(element_pointer(context, builder, sig.args[1], array, sig.args[2:4], index))
            factor = splat_value(builder, element, dtype)
            pairs = zip(vectors, totals, strict=True)
            sums.append([call_llvm(builder, "fma", dtype, [factor, vector, total]) for vector, total in pairs])
        return _tile(context, builder, kind, sums)

    return codegen


def _tile_type(array: Any, rows: Any, columns: Any) -> Any:
    """Numba's type of a tile of so many rows, by Numba's types of the constants, and vectors to a row."""
    return types.UniTuple(types.UniTuple(VectorType(array.dtype), columns.literal_value), rows.literal_value)


def _tile(context: Any, builder: Any, kind: Any, rows: list[list[Any]]) -> Any:
    """The tile of some rows of vectors."""
    return context.make_tuple(builder, kind, [context.make_tuple(builder, kind.dtype, row) for row in rows])


def _vectors(builder: Any, tile: Any, kind: Any) -> list[list[Any]]:
    """The rows of vectors of a tile."""
    return [[builder.extract_value(tile, (r, c)) for c in range(kind.dtype.count)] for r in range(kind.count)]


def _loaded(context: Any, builder: Any, sig: Any, args: Any, rows: int, columns: int) -> list[list[Any]]:
    """Rows of vectors from an array, whose first arguments are the array, a row and a column."""
    pointers = [[_pointer(context, builder, sig, args, r, c) for c in range(columns)] for r in range(rows)]
    return [[builder.load(pointer, align=_align(sig.args[0])) for pointer in row] for row in pointers]


def _pointer(context: Any, builder: Any, sig: Any, args: Any, r: int, c: int) -> Any:
    """Pointer to the vector r rows and c vectors behind where the first arguments, array, row and column, are."""
    index = (_plus(builder, args[1], r), _plus(builder, args[2], LANES * c))
    return vector_pointer(context, builder, sig.args[0], args[0], sig.args[1:3], index)


def _align(array: Any) -> int:
    return int(array.dtype.bitwidth) // 8


def _plus(builder: Any, position: Any, step: int) -> Any:
    return builder.add(position, position.type(step))
