"""A dense layer: forward and backward over rows, in the layout that the products work in.

The contract's parameters are `w` [I, U] (rows: inputs, columns: units) and `b` [U]; they may be columns of wider
arrays, [I, V] and [V], from column `first` on. Kernels work in rows of P units, the next multiple of the vector width
from U on; units beyond U have zero weights, stay zero under tanh, and have zero gradients.
"""

from __future__ import annotations

from kdrun.core.cfc import on_grid
from kdrun.core.elementary import tanh
from kdrun.core.jit import kernel
from kdrun.core.matmul import add_outer_product, product_from_row, product_from_rows
from kdrun.core.vector import LANES, load, load_part, splat_like, store, store_part


@kernel
def dense_forward(x, w, b, first, units, w_rows, b_row, out):
    """The linear part of a layer.

    Equation
        out[n, u] = b[first + u] + Σ_i x[n, i]·w[i, first + u], i ascending, one fused multiply-add each
    Parameters
        x [N, S], S ≥ I: of each row the first I numbers. w [I, V], b [V]. units: U.
        w_rows [I, P], b_row [1, P]: w and b laid out for the product; overwritten inside the first U columns, beyond
        them they must be zero. out [N, P], overwritten.
    Saved for backward
        x, w_rows.
    Errors
        None are checked; shapes are the caller's.
    """
    for column in range(0, units, LANES):
        count = min(LANES, units - column)
        for row in range(w.shape[0]):
            store_part(w_rows, (row, column), load_part(w, (row, first + column), count), count)
        store_part(b_row, (0, column), load_part(b, first + column, count), count)
    product_from_row(x, 0, x.shape[0], w_rows, b_row, out, 0)


@kernel
def dense_backward(x, dout, first, units, dw_rows, dw, db):
    """Gradients of a layer's parameters.

    Equation
        dw[i, first + u] = Σ_n x[n, i]·dout[n, u]     db[first + u] = Σ_n dout[n, u], n ascending
    Parameters
        x [N, S], dout [N, P], first, units: as in the forward pass. dw_rows [I, P]: working space. dw [I, V], db [V]:
        overwritten in U columns.
    """
    dw_rows[:] = 0.0
    add_outer_product(x, 0, dout, x.shape[0], dw_rows)
    for column in range(0, units, LANES):
        count = min(LANES, units - column)
        for row in range(dw.shape[0]):
            store_part(dw, (row, first + column), load_part(dw_rows, (row, column), count), count)
        total = splat_like(0.0, dout)
        for row in range(dout.shape[0]):
            total = total + load(dout, (row, column))
        store_part(db, first + column, total, count)


@kernel
def dense_input_backward(dout, w_rows, w_back, dx):
    """Gradient of what a layer reads.

    Equation
        dx[n, i] += Σ_u dout[n, u]·w[i, u], u ascending
    Parameters
        dout [N, P]. w_rows [I, P]: of the forward pass. w_back [P, S], S ≥ I a multiple of 16: overwritten by the
        transposed weights inside the first I columns, zero beyond. dx [N, S], added to.
    """
    for row in range(w_rows.shape[0]):
        for unit in range(w_rows.shape[1]):
            w_back[unit, row] = w_rows[row, unit]
    product_from_rows(dout, 0, dout.shape[0], w_back, dx, dx, 0)


@kernel
def tanh_inplace(h, grid):
    """h ← tanh h, elementwise over [N, P]; rounded to a multiple of 1/grid where grid is not 0."""
    for row in range(h.shape[0]):
        for column in range(0, h.shape[1], LANES):
            value = tanh(load(h, (row, column)))
            store(h, (row, column), on_grid(value, grid) if grid else value)


@kernel
def tanh_backward_inplace(h, dh):
    """dh ← dh·(1 − h²) for h = tanh a [N, P] and its gradient dh [N, P], which becomes that of a."""
    one = splat_like(1.0, h)
    for row in range(h.shape[0]):
        for column in range(0, h.shape[1], LANES):
            value = load(h, (row, column))
            store(dh, (row, column), load(dh, (row, column)) * (one - value * value))
