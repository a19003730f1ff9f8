"""The closed-form continuous-time cell: forward and backward over a sequence, and the layout that both work in.

The contract's parameters are `w` [D+H, 2H] (rows: inputs, then hidden units; columns: gate, then candidate), `b` [2H],
`tau` [H], `w_out` [H, O], `b_out` [O]. Kernels work in rows of `width(H)` units, the next multiple of the vector width,
so that no loop has a remainder; units beyond H have zero weights, stay zero, and have zero gradients. In what follows P
is that width. docs/derivations/cfc.md derives the backward pass.
"""

from __future__ import annotations

from kdrun.core.elementary import exp, sigmoid, tanh
from kdrun.core.jit import kernel
from kdrun.core.matmul import add_outer_product, add_product_rows
from kdrun.core.vector import LANES, absolute, fma, load, load_part, select, splat_like, store, store_part, sum_lanes

TAU_FLOOR = 1e-6


def width(hidden: int) -> int:
    """P: the number of units that kernels work with."""
    return -(-hidden // LANES) * LANES


@kernel
def decay_forward(tau, dt, decay):
    """How much of the state of each unit is left after one step.

    Equation
        decay = exp(−dt/(|tau| + 1e-6))
    Parameters
        tau: [H], time constants in the unit of dt. dt: number. decay: [H], overwritten.
    Source
        Hasani et al., "Closed-form continuous-time neural networks", 2022; the gate here does not depend on dt.
    """
    for i in range(0, tau.size, LANES):
        count = min(LANES, tau.size - i)
        floored = absolute(load_part(tau, i, count)) + splat_like(TAU_FLOOR, tau)
        store_part(decay, i, exp(splat_like(-dt, tau) / floored), count)


@kernel
def decay_backward(tau, dt, decay, ddecay, dtau):
    """Gradient of the time constants.

    Equation
        dtau = ddecay·decay·dt·sign(tau)/(|tau| + 1e-6)²
    Parameters
        tau, decay, ddecay, dtau: [H]; dtau is overwritten.
    """
    for i in range(0, tau.size, LANES):
        count = min(LANES, tau.size - i)
        t = load_part(tau, i, count)
        floored = absolute(t) + splat_like(TAU_FLOOR, tau)
        slope = load_part(decay, i, count) * splat_like(dt, tau) / (floored * floored)
        sign = select(t < splat_like(0.0, tau), splat_like(-1.0, tau), splat_like(1.0, tau))
        store_part(dtau, i, load_part(ddecay, i, count) * slope * sign, count)


@kernel
def pack_weights(w, b, w_out, hidden, w_rows, b_row, w_back, out_rows):
    """Lay the contract's parameters out for the kernels.

    Parameters
        w [D+H, 2H], b [2H], w_out [H, O]: the contract's arrays. hidden: H.
        w_rows [P+D, 2P]: rows are hidden units, then inputs, the order of a step's operands. b_row [2P].
        w_back [2P, P]: the hidden rows transposed, for the backward product. out_rows [O, P]: w_out transposed.
        The last four are overwritten inside the first H units; beyond them they must be zero and stay so.
    """
    inputs = w.shape[0] - hidden
    units = w_back.shape[1]
    for side in range(2):
        for row in range(inputs):
            for column in range(hidden):
                w_rows[units + row, side * units + column] = w[row, side * hidden + column]
        for row in range(hidden):
            for column in range(hidden):
                weight = w[inputs + row, side * hidden + column]
                w_rows[row, side * units + column] = weight
                w_back[side * units + column, row] = weight
        for column in range(hidden):
            b_row[side * units + column] = b[side * hidden + column]
    for row in range(hidden):
        for o in range(w_out.shape[1]):
            out_rows[o, row] = w_out[row, o]


@kernel
def unpack_gradients(dw_rows, db_row, dout_rows, hidden, dw, db, dw_out):
    """Lay the kernels' gradients out as the contract's parameters: the inverse of `pack_weights`.

    Parameters
        dw_rows [P+D, 2P], db_row [2P], dout_rows [O, P]. hidden: H.
        dw [D+H, 2H], db [2H], dw_out [H, O]: overwritten.
    """
    inputs = dw.shape[0] - hidden
    units = dout_rows.shape[1]
    for side in range(2):
        for row in range(inputs):
            for column in range(hidden):
                dw[row, side * hidden + column] = dw_rows[units + row, side * units + column]
        for row in range(hidden):
            for column in range(hidden):
                dw[inputs + row, side * hidden + column] = dw_rows[row, side * units + column]
        for column in range(hidden):
            db[side * hidden + column] = db_row[side * units + column]
    for row in range(hidden):
        for o in range(dw_out.shape[1]):
            dw_out[row, o] = dout_rows[o, row]


@kernel
def cfc_forward(x, w_rows, b_row, decay, operands, gates, hidden):
    """Run the cell over a batch of sequences, from a state of zero.

    Equation
        u_t = [h_{t−1}; x_t]      g_t = σ(u_t·W_g + b_g)      c_t = tanh(u_t·W_c + b_c)
        h_t = (1 − g_t)·decay·h_{t−1} + g_t·c_t
    Parameters
        x [T, B, D]. w_rows [P+D, 2P], b_row [2P] as packed. decay [P].
        operands [(T+1)·B, P+D]: row t·B+b is u_t, so the first B rows of hidden units must be zero.
        gates [T·B, 2P]: g_t, then c_t. hidden [T·B, P]: h_t. The last three are overwritten.
    Saved for backward
        operands, gates.
    Errors
        None are checked; shapes are the caller's.
    """
    steps, batch, inputs = x.shape
    units = decay.size
    one = splat_like(1.0, decay)
    for t in range(steps):
        first = t * batch
        for b in range(batch):
            for d in range(inputs):
                operands[first + b, units + d] = x[t, b, d]
            for column in range(0, 2 * units, LANES):
                store(gates, (first + b, column), load(b_row, column))
        add_product_rows(operands, first, batch, units + inputs, w_rows, gates, first)
        for b in range(batch):
            row = first + b
            for unit in range(0, units, LANES):
                gate = sigmoid(load(gates, (row, unit)))
                candidate = tanh(load(gates, (row, units + unit)))
                kept = (one - gate) * (load(decay, unit) * load(operands, (row, unit)))
                state = fma(gate, candidate, kept)
                store(gates, (row, unit), gate)
                store(gates, (row, units + unit), candidate)
                store(hidden, (row, unit), state)
                store(operands, (row + batch, unit), state)


@kernel
def cfc_backward(dhidden, w_back, decay, operands, gates, depth, carry, dgates, dw_rows, db_row, ddecay):
    """Gradients through time of one forward pass.

    Equation, with dh_t = dhidden_t + carry_t
        dg_t = dh_t·(c_t − decay·h_{t−1})     dc_t = dh_t·g_t
        da_t = [dg_t·g_t·(1 − g_t); dc_t·(1 − c_t²)]
        carry_{t−1} = dh_t·(1 − g_t)·decay + da_t·Wᵀ
        ddecay = Σ dh_t·(1 − g_t)·h_{t−1}     dW = Σ u_tᵀ·da_t     db = Σ da_t
    Parameters
        dhidden [T·B, P]: gradient of the loss by every h_t, from everything but later steps.
        w_back [2P, P], decay [P], operands [(T+1)·B, P+D], gates [T·B, 2P]: of the forward pass. depth: P+D.
        carry [B, P], dgates [T·B, 2P]: working space. dw_rows [P+D, 2P], db_row [2P], ddecay [P]: overwritten.
    Source
        Derived in docs/derivations/cfc.md.
    """
    batch, units = carry.shape
    one, zero = splat_like(1.0, decay), splat_like(0.0, decay)
    for unit in range(0, units, LANES):
        store(ddecay, unit, zero)
        for b in range(batch):
            store(carry, (b, unit), zero)
    for first in range(dhidden.shape[0] - batch, -1, -batch):
        for b in range(batch):
            row = first + b
            for unit in range(0, units, LANES):
                gate, candidate = load(gates, (row, unit)), load(gates, (row, units + unit))
                before, left = load(operands, (row, unit)), load(decay, unit)
                dstate = load(dhidden, (row, unit)) + load(carry, (b, unit))
                closed = dstate * (one - gate)
                store(ddecay, unit, fma(closed, before, load(ddecay, unit)))
                store(carry, (b, unit), closed * left)
                dgate = dstate * (candidate - left * before)
                dcandidate = dstate * gate
                store(dgates, (row, unit), dgate * gate * (one - gate))
                store(dgates, (row, units + unit), dcandidate * (one - candidate * candidate))
        add_product_rows(dgates, first, batch, 2 * units, w_back, carry, 0)
    dw_rows[:] = 0.0
    add_outer_product(operands, dgates, depth, dw_rows)
    for column in range(0, 2 * units, LANES):
        total = zero
        for row in range(dgates.shape[0]):
            total = total + load(dgates, (row, column))
        store(db_row, column, total)


@kernel
def readout_forward(hidden, out_rows, b_out, y):
    """Outputs of all steps at once.

    Equation
        y[n, o] = Σ_i hidden[n, i]·out_rows[o, i] + b_out[o]: 16 partial sums over i, then one fixed tree
    Parameters
        hidden [N, P]. out_rows [O, P]. b_out [O]. y [N, O], overwritten.
    """
    for row in range(hidden.shape[0]):
        for o in range(b_out.size):
            total = splat_like(0.0, hidden)
            for unit in range(0, hidden.shape[1], LANES):
                total = fma(load(hidden, (row, unit)), load(out_rows, (o, unit)), total)
            y[row, o] = sum_lanes(total) + b_out[o]


@kernel
def readout_backward(dy, hidden, out_rows, dhidden, dout_rows, db_out):
    """Gradients of the readout, added to those that hidden states have from elsewhere.

    Equation
        dhidden[n] ← dhidden[n] + Σ_o dy[n, o]·out_rows[o]     dout_rows[o] = Σ_n dy[n, o]·hidden[n]
        db_out[o] = Σ_n dy[n, o]
    Parameters
        dy [N, O]. hidden [N, P]. out_rows [O, P]. dhidden [N, P]: changed in place.
        dout_rows [O, P], db_out [O]: overwritten.
    """
    for o in range(db_out.size):
        total = dy[0, o]
        for row in range(1, dy.shape[0]):
            total += dy[row, o]
        db_out[o] = total
        for unit in range(0, hidden.shape[1], LANES):
            sum_out = splat_like(0.0, hidden)
            for row in range(dy.shape[0]):
                slope = splat_like(dy[row, o], hidden)
                sum_out = fma(slope, load(hidden, (row, unit)), sum_out)
                store(dhidden, (row, unit), fma(slope, load(out_rows, (o, unit)), load(dhidden, (row, unit))))
            store(dout_rows, (o, unit), sum_out)
