"""Matrices that are parts of one flat array, one after another: working space that a kernel takes as one argument.

Each array that a kernel is handed costs a call some fifty nanoseconds, and a pass of a network works in a dozen.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types

from kdrun.core.vector import lowered


def cut(flat: Any, shapes: Any) -> Any:
    """The matrices that `matrices` gives, outside of kernels."""
    found, start = [], 0
    for rows, columns in shapes:
        found.append(flat[start : start + rows * columns].reshape(rows, columns))
        start += rows * columns
    return tuple(found)


def size_of(shapes: Any) -> int:
    """How many numbers matrices of these shapes hold."""
    return sum(rows * columns for rows, columns in shapes)


def _matrices_twin(flat: Any, shapes: Any) -> Any:
    return cut(flat, shapes)


@lowered(_matrices_twin)
def matrices(typingctx: Any, flat: Any, shapes: Any) -> Any:
    """A tuple of matrices [rows, columns], one for each pair of `shapes`, that follow each other in a flat array.

    Nothing is copied or checked: `flat` must be long enough.
    """
    matrix = types.Array(flat.dtype, 2, "C")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        item = context.get_constant(types.intp, flat.dtype.bitwidth // 8)
        found = []
        for shape in cgutils.unpack_tuple(builder, args[1], len(shapes)):
            rows, columns = cgutils.unpack_tuple(builder, shape, 2)
            made = context.make_array(matrix)(context, builder)
            strides = (builder.mul(columns, item), item)
            context.populate_array(
                made, data=data, shape=(rows, columns), strides=strides, itemsize=item, meminfo=None, parent=None
            )
            found.append(made._getvalue())
            data = builder.gep(data, [builder.mul(rows, columns)])
        return context.make_tuple(builder, sig.return_type, found)

    return types.UniTuple(matrix, len(shapes))(flat, shapes), codegen
