"""Tiles: a few rows of one vector each, held in registers, of which products of matrices are made.

A tile is a tuple of vectors. Its number of rows is a constant of the code, so that LLVM unrolls every operation on it
and keeps it in registers; each operation is written once, for any number.
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


def _load_tile_twin(array: Any, row: int, column: int, rows: int) -> Any:
    return tuple(load(array, (row + r, column)) for r in range(rows))


@lowered(_load_tile_twin, prefer_literal=True)
def load_tile(typingctx: Any, array: Any, row: Any, column: Any, rows: Any) -> Any:
    """The vectors array[row + r, column : +16] for r below the constant `rows`."""
    tile = types.UniTuple(VectorType(array.dtype), rows.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = [
            vector_pointer(context, builder, sig.args[0], args[0], sig.args[1:3], (_plus(builder, args[1], r), args[2]))
            for r in range(tile.count)
        ]
        align = tile.dtype.dtype.bitwidth // 8
        return context.make_tuple(builder, tile, [builder.load(pointer, align=align) for pointer in pointers])

    # A position written as a constant is a number like any other.
    return tile(array, types.unliteral(row), types.unliteral(column), rows), codegen


def _repeat_tile_twin(array: Any, row: int, column: int, rows: int) -> Any:
    return (load(array, (0, column)),) * rows


@lowered(_repeat_tile_twin, prefer_literal=True)
def repeat_tile(typingctx: Any, array: Any, row: Any, column: Any, rows: Any) -> Any:
    """The vector array[0, column : +16] in every row, whatever `row`: where `load_tile` has a row of its own."""
    tile = types.UniTuple(VectorType(array.dtype), rows.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = (args[1].type(0), args[2])
        pointer = vector_pointer(context, builder, sig.args[0], args[0], sig.args[1:3], index)
        vector = builder.load(pointer, align=tile.dtype.dtype.bitwidth // 8)
        return context.make_tuple(builder, tile, [vector] * tile.count)

    # A position written as a constant is a number like any other.
    return tile(array, types.unliteral(row), types.unliteral(column), rows), codegen


def _store_tile_twin(array: Any, row: int, column: int, tile: Any) -> None:
    for r, vector in enumerate(tile):
        store(array, (row + r, column), vector)


@lowered(_store_tile_twin)
def store_tile(typingctx: Any, array: Any, row: Any, column: Any, tile: Any) -> Any:
    """Write a tile to array[row + r, column : +16]."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for r, vector in enumerate(_vectors(builder, args[3], tile.count)):
            index = (_plus(builder, args[1], r), args[2])
            pointer = vector_pointer(context, builder, sig.args[0], args[0], sig.args[1:3], index)
            builder.store(vector, pointer, align=tile.dtype.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, row, column, tile), codegen


def _transposed_twin(tile: Any) -> Any:
    return tuple(np.stack(tile).T.copy())


@lowered(_transposed_twin)
def transposed(typingctx: Any, tile: Any) -> Any:
    """A square tile with rows and columns exchanged."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows, distance = _vectors(builder, args[0], LANES), 1
        while distance < LANES:
            for r in (r for r in range(LANES) if not r & distance):
                rows[r], rows[r + distance] = _exchanged(builder, rows[r], rows[r + distance], distance)
            distance *= 2
        return context.make_tuple(builder, sig.return_type, rows)

    return tile(tile), codegen


def _exchanged(builder: Any, a: Any, b: Any, distance: int) -> tuple[Any, Any]:
    """Two rows whose small squares beside the diagonal, `distance` wide, have changed places."""
    low = [lane if not lane & distance else LANES + lane - distance for lane in range(LANES)]
    high = [lane + distance if not lane & distance else LANES + lane for lane in range(LANES)]
    return shuffled(builder, a, b, low), shuffled(builder, a, b, high)


def _fma_rows_twin(tile: Any, array: Any, row: int, column: int, vector: Any) -> Any:
    return tuple(fma(splat_like(array[row + r, column], array), vector, total) for r, total in enumerate(tile))


@lowered(_fma_rows_twin)
def fma_rows(typingctx: Any, tile: Any, array: Any, row: Any, column: Any, vector: Any) -> Any:
    """The tile with array[row + r, column]·vector added to its row r, in one rounding."""
    return tile(tile, array, row, column, vector), _fma_codegen(lambda plus, row, column, r: (plus(row, r), column))


def _fma_columns_twin(tile: Any, array: Any, row: int, column: int, vector: Any) -> Any:
    return tuple(fma(splat_like(array[row, column + r], array), vector, total) for r, total in enumerate(tile))


@lowered(_fma_columns_twin)
def fma_columns(typingctx: Any, tile: Any, array: Any, row: Any, column: Any, vector: Any) -> Any:
    """The tile with array[row, column + r]·vector added to its row r, in one rounding."""
    return tile(tile, array, row, column, vector), _fma_codegen(lambda plus, row, column, r: (row, plus(column, r)))


def _fma_codegen(index_of: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """Code that adds a multiple of a vector to every row of a tile; `index_of` says by which element of the array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, (tile, array, row, column, vector) = sig.args[0], args
        dtype, sums = kind.dtype.dtype, []
        for r, total in enumerate(_vectors(builder, tile, kind.count)):
            index = index_of(lambda position, step: _plus(builder, position, step), row, column, r)
            element = builder.load(element_pointer(context, builder, sig.args[1], array, sig.args[2:4], index))
            sums.append(call_llvm(builder, "fma", dtype, [splat_value(builder, element, dtype), vector, total]))
        return context.make_tuple(builder, kind, sums)

    return codegen


def _plus(builder: Any, position: Any, step: int) -> Any:
    return builder.add(position, position.type(step))


def _vectors(builder: Any, tile: Any, count: int) -> list[Any]:
    return [builder.extract_value(tile, r) for r in range(count)]
