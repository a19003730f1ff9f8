"""The closed-form continuous-time cell: forward and backward over a sequence, and the layout that both work in.

The contract's parameters are `w` [D+H, 2H] (rows: inputs, then hidden units; columns: gate, then candidate), `b` [2H],
`tau` [H], `w_out` [H, O], `b_out` [O]. S students may stand side by side in arrays that are S times as wide, `w`
[D+H, S·2H] and so on; `place` says whose columns are meant, and passes are made for several places, one after another.
Kernels work in rows of `width(H)` units, the next multiple of the vector width, so that no loop has a remainder; units
beyond H have zero weights, stay zero, and have zero gradients. In what follows P is that width.
docs/derivations/cfc.md derives the backward pass.
"""

from __future__ import annotations

import numpy as np

from kdrun.core.elementary import exp, nearest_integer, sigmoid_base2, tanh_base2, without_tiny
from kdrun.core.jit import inlined, kernel, shared
from kdrun.core.matmul import add_even_outer_product, even_product_from_row, product_from_rows
from kdrun.core.tile import load_tile, store_tile, transposed
from kdrun.core.vector import (
    LANES,
    absolute,
    fma,
    load,
    load_part,
    select,
    splat_like,
    store,
    store_part,
    sum_lanes,
    width,
)
from kdrun.core.views import matrices

TAU_FLOOR = 1e-6
LOG2_E = 1.4426950408889634
BLOCK_ROWS = 30


def block_rows(batch: int) -> int:
    """How many rows of steps the backward pass takes at once: whole steps, few enough to stay in the first cache."""
    return batch * max(1, BLOCK_ROWS // batch)


@shared
def space_shapes(kept, batch, inputs, units, outputs, block):
    """Shapes of the matrices that the passes over B sequences work in, in their order in one flat array.

    Of T steps `kept` are: all T where a backward pass follows, or 1, and rows are used again and again.

    Packed weights, as `pack_weights` has them: w_rows [P+D, 2P], b_row [1, 2P], out_rows [O, P]; and decay [1, P].
    Kept by the forward pass: operands [(kept+1)·B, S], where row t·B+b begins with u_t and S is the next multiple of
    sixteen to P+D; gates [kept·B, 2P], g_t and then c_t.
    For the backward pass: w_back [2P, P], carry [B, P], dgates [`block`, 2P], and gradients of the first four.
    All must be zero at first, and stay so beyond the true units.
    """
    depth = units + inputs
    packed = ((depth, 2 * units), (1, 2 * units), (outputs, units), (1, units))
    of_steps = (((kept + 1) * batch, width(depth)), (kept * batch, 2 * units))
    return packed + of_steps + ((2 * units, units), (batch, units), (block, 2 * units)) + packed


@inlined
def decay_forward(tau, dt, decay):
    """How much of the state of each unit is left after one step.

    Equation
        decay = exp(−dt/(|tau| + 1e-6))
    Parameters
        tau: [H], time constants in the unit of dt. dt: number. decay: [1, ≥ H], overwritten.
    Source
        Hasani et al., "Closed-form continuous-time neural networks", 2022; the gate here does not depend on dt.
    """
    for i in range(0, tau.size, LANES):
        count = min(LANES, tau.size - i)
        floored = absolute(load_part(tau, i, count)) + splat_like(TAU_FLOOR, tau)
        store_part(decay, (0, i), exp(splat_like(-dt, tau) / floored), count)


@inlined
def decay_backward(tau, dt, decay, ddecay, dtau):
    """Gradient of the time constants.

    Equation
        dtau = ddecay·decay·dt·sign(tau)/(|tau| + 1e-6)²
    Parameters
        tau, dtau: [H]; dtau is overwritten. decay, ddecay: [1, ≥ H].
    """
    for i in range(0, tau.size, LANES):
        count = min(LANES, tau.size - i)
        t = load_part(tau, i, count)
        floored = absolute(t) + splat_like(TAU_FLOOR, tau)
        slope = load_part(decay, (0, i), count) * splat_like(dt, tau) / (floored * floored)
        sign = select(t < splat_like(0.0, tau), splat_like(-1.0, tau), splat_like(1.0, tau))
        store_part(dtau, i, load_part(ddecay, (0, i), count) * slope * sign, count)


@shared
def units_of(side):
    """What packed weights of the gates (0) and of the candidates (1) are multiplied by.

    A gate is then a sigmoid and a candidate a tanh to the base 2, which cost less than those to the base e.
    """
    return LOG2_E * (1 + side)


@inlined
def pack_weights(w, b, w_out, place, hidden, w_rows, b_row, out_rows):
    """Lay the contract's parameters out for the kernels.

    Parameters
        w [D+H, S·2H], b [S·2H], w_out [H, S·O]: the contract's arrays, of which those at `place` are meant. hidden: H.
        w_rows [P+D, 2P]: rows are hidden units, then inputs, the order of a step's operands. b_row [1, 2P]. Both are
        in `units_of` gates and candidates.
        out_rows [O, P]: w_out transposed.
        The last three are overwritten inside the first H units; beyond them they must be zero and stay so.
    """
    inputs = w.shape[0] - hidden
    units = out_rows.shape[1]
    for side in range(2):
        scale = splat_like(units_of(side), w)
        for unit in range(0, hidden, LANES):
            count = min(LANES, hidden - unit)
            source, target = (2 * place + side) * hidden + unit, side * units + unit
            for row in range(hidden):
                store_part(w_rows, (row, target), scale * load_part(w, (inputs + row, source), count), count)
            for row in range(inputs):
                store_part(w_rows, (units + row, target), scale * load_part(w, (row, source), count), count)
            store_part(b_row, (0, target), scale * load_part(b, source, count), count)
    outputs = out_rows.shape[0]
    for o in range(outputs):
        for row in range(hidden):
            out_rows[o, row] = w_out[row, place * outputs + o]


@inlined
def transpose_weights(w_rows, w_back):
    """The hidden rows of w_rows [P+D, 2P] transposed, w_back [2P, P]: for the backward product; overwritten.

    They are multiplied by 1/`units_of` their columns: gradients are those of the contract's weights.
    """
    units = w_back.shape[1]
    for column in range(0, w_back.shape[0], LANES):
        scale = splat_like(1.0 / units_of(column // units), w_back)
        for row in range(0, units, LANES):
            store_tile(w_back, column, row, transposed(load_tile(w_rows, row, column, LANES, 1)))
            for r in range(column, column + LANES):
                store(w_back, (r, row), scale * load(w_back, (r, row)))


@inlined
def unpack_gradients(dw_rows, db_row, dout_rows, place, hidden, dw, db, dw_out):
    """Lay the kernels' gradients out as the contract's parameters, from where `pack_weights` puts these.

    Parameters
        dw_rows [P+D, 2P], db_row [1, 2P], dout_rows [O, P]. hidden: H.
        dw [D+H, S·2H], db [S·2H], dw_out [H, S·O]: overwritten at `place`.
    """
    inputs = dw.shape[0] - hidden
    units = dout_rows.shape[1]
    for side in range(2):
        for unit in range(0, hidden, LANES):
            count = min(LANES, hidden - unit)
            source, target = side * units + unit, (2 * place + side) * hidden + unit
            for row in range(hidden):
                store_part(dw, (inputs + row, target), load_part(dw_rows, (row, source), count), count)
            for row in range(inputs):
                store_part(dw, (row, target), load_part(dw_rows, (units + row, source), count), count)
            store_part(db, target, load_part(db_row, (0, source), count), count)
    outputs = dout_rows.shape[0]
    for o in range(outputs):
        for row in range(hidden):
            dw_out[row, place * outputs + o] = dout_rows[o, row]


@inlined
def _output(states, row, out_rows, b_out, o):
    """y[row, o] = h·W_o + b_o: 16 partial sums over the units, then one fixed tree."""
    total = splat_like(0.0, states)
    for unit in range(0, states.shape[1], LANES):
        total = fma(load(states, (row, unit)), load(out_rows, (o, unit)), total)
    return sum_lanes(total) + b_out[o]


@inlined
def _put_inputs(x, first, rows, operands, place, units):
    """Inputs of `rows` rows of sequences, x[first : +rows], in the operands from row `place` on."""
    for d in range(x.shape[1]):
        for row in range(rows):
            operands[place + row, units + d] = x[first + row, d]


@inlined
def on_grid(v, grid):
    """v rounded to the nearest multiple of 1/grid, ties to even; for |v|·grid ≤ 2²¹.

    Its gradient is taken to be 1 (straight through): where |v| ≤ 1 nothing is clipped.
    """
    return nearest_integer(v * splat_like(grid, v)) / splat_like(grid, v)


@inlined
def _step(operands, first, after, batch, w_rows, b_row, decay, grid, gates, gate_row, states, row):
    """One step of a batch from its operands at row `first`: states go to `states`, and to the operands at `after`.

    The batch begins with `gate_row` of `gates` and `row` of `states`. States are rounded where `grid` is not 0.
    """
    units = decay.shape[1]
    even_product_from_row(operands, first, batch, w_rows, b_row, gates, gate_row)
    for b in range(batch):
        for unit in range(0, units, LANES):
            gate = sigmoid_base2(load(gates, (gate_row + b, unit)))
            candidate = tanh_base2(load(gates, (gate_row + b, units + unit)))
            left = load(decay, (0, unit)) * load(operands, (first + b, unit))
            state = fma(gate, candidate - left, left)
            if grid:
                state = on_grid(state, grid)
            store(gates, (gate_row + b, unit), gate)
            store(gates, (gate_row + b, units + unit), candidate)
            store(states, (row + b, unit), state)
            store(operands, (after + b, unit), state)


@kernel
def network_forward(x, w, b, tau, w_out, b_out, places, dt, grid, kept, block, spaces, states, y):
    """Run the networks of some students over one batch of sequences, from states of zero, and read their states out.

    Equation
        u_t = [h_{t−1}; x_t]      g_t = σ(b_g + u_t·W_g)      c_t = tanh(b_c + u_t·W_c)
        h_t = decay·h_{t−1} + g_t·(c_t − decay·h_{t−1})      y_t = h_t·W_o + b_o
    Parameters
        x [T, B, D]. w [D+H, S·2H], b [S·2H], tau [S·H], w_out [H, S·O], b_out [S·O]: the contract's arrays, of which
        those at `places`, int64 [M], are run. dt: of one step. σ(a) and tanh(a) are computed to the base 2, of a/ln 2
        and 2a/ln 2.
        grid: each h_t, which lies in (−1, 1), is rounded to a multiple of 1/grid as soon as it is there; 0: it is not.
        spaces [M, N]: each row as `space_shapes` cuts it for these `kept` and `block`; the first six matrices are
        overwritten.
        states [M, T, B, P]: h_t. y [M, T, B, O], or [M, 0, B, O] where no output is wanted. Both are overwritten.
    Saved for backward, where all steps are kept
        The first six matrices of each row of `spaces`.
    Errors
        None are checked; shapes are the caller's.
    """
    steps, batch, inputs = x.shape
    units, outputs, hidden, rows = states.shape[3], y.shape[3], w.shape[0] - inputs, steps * batch
    x_rows, y_rows = x.reshape(rows, inputs), y.reshape(places.size, y.shape[1] * batch, outputs)
    state_rows = states.reshape(places.size, rows, units)
    for m in range(places.size):
        w_rows, b_row, out_rows, decay, operands, gates = matrices(
            spaces[m], space_shapes(kept, batch, inputs, units, outputs, block)
        )[:6]
        first_unit, first_output = places[m] * hidden, places[m] * outputs
        decay_forward(tau[first_unit : first_unit + hidden], dt, decay)
        pack_weights(w, b, w_out, places[m], hidden, w_rows, b_row, out_rows)
        operands[:batch, :units] = 0.0
        own_states, own_y, own_b_out = state_rows[m], y_rows[m], b_out[first_output : first_output + outputs]
        for t in range(steps):
            row, first, after = t * batch, t % (kept + 1) * batch, (t + 1) % (kept + 1) * batch
            _put_inputs(x_rows, row, batch, operands, first, units)
            _step(operands, first, after, batch, w_rows, b_row, decay, grid, gates, t % kept * batch, own_states, row)
        for o in range(outputs):
            for row in range(own_y.shape[0]):
                own_y[row, o] = _output(own_states, row, out_rows, own_b_out, o)


@inlined
def _column_sum(dy, o):
    """Σ dy[:, o]: sums of every fourth row, so that no addition waits for the one before, then one fixed tree."""
    rows, zero = dy.shape[0], dy.dtype.type(0.0)
    a, b, c, d = zero, zero, zero, zero
    for row in range(0, rows - rows % 4, 4):
        a, b, c, d = a + dy[row, o], b + dy[row + 1, o], c + dy[row + 2, o], d + dy[row + 3, o]
    for row in range(rows - rows % 4, rows):
        a += dy[row, o]
    return (a + b) + (c + d)


@inlined
def _column_product(dy, o, operands, first, unit):
    """Σ dy[row, o]·operands[first + row, unit : +16] over all rows, in the order of `_column_sum`."""
    rows, zero = dy.shape[0], splat_like(0.0, dy)
    a, b, c, d = zero, zero, zero, zero
    for row in range(0, rows - rows % 4, 4):
        at = first + row
        a = fma(splat_like(dy[row, o], dy), load(operands, (at, unit)), a)
        b = fma(splat_like(dy[row + 1, o], dy), load(operands, (at + 1, unit)), b)
        c = fma(splat_like(dy[row + 2, o], dy), load(operands, (at + 2, unit)), c)
        d = fma(splat_like(dy[row + 3, o], dy), load(operands, (at + 3, unit)), d)
    for row in range(rows - rows % 4, rows):
        a = fma(splat_like(dy[row, o], dy), load(operands, (first + row, unit)), a)
    return (a + b) + (c + d)


@inlined
def _readout_gradients(dy, operands, batch, dout_rows, db_out):
    """dW_o = Σ hᵀ·dy and db_o = Σ dy over all rows; h_t stands among the operands of the next step."""
    for o in range(dy.shape[1]):
        for unit in range(0, dout_rows.shape[1], LANES):
            store(dout_rows, (o, unit), _column_product(dy, o, operands, batch, unit))
        db_out[o] = _column_sum(dy, o)


@inlined
def _slope_of_states(dy, out_rows, dhidden, row, unit):
    """dhidden + dy·W_oᵀ for sixteen units of one row: the gradient by a state from everything but later steps."""
    slope = fma(splat_like(dy[row, 0], dhidden), load(out_rows, (0, unit)), load(dhidden, (row, unit)))
    for o in range(1, dy.shape[1]):
        slope = fma(splat_like(dy[row, o], dhidden), load(out_rows, (o, unit)), slope)
    return slope


@inlined
def _step_gradients(dy, out_rows, dhidden, decay, operands, gates, carry, dgates, db_row, ddecay, first, at, unit):
    """The elementwise part of one step for sixteen units of the whole batch.

    The batch begins with row `first` of the sequence, and with row `at` of `dgates`.
    """
    batch, units = carry.shape
    one, left = splat_like(1.0, decay), load(decay, (0, unit))
    sum_decay, sum_gate, sum_candidate = (
        load(ddecay, (0, unit)),
        load(db_row, (0, unit)),
        load(db_row, (0, units + unit)),
    )
    for b in range(batch):
        row = first + b
        gate, candidate = load(gates, (row, unit)), load(gates, (row, units + unit))
        before = load(operands, (row, unit))
        dstate = _slope_of_states(dy, out_rows, dhidden, row, unit) + load(carry, (b, unit))
        closed = dstate * (one - gate)
        dgate = dstate * (candidate - left * before) * gate * (one - gate)
        dcandidate = dstate * gate * (one - candidate * candidate)
        store(dgates, (at + b, unit), dgate)
        store(dgates, (at + b, units + unit), dcandidate)
        store(carry, (b, unit), closed * left)
        sum_decay = fma(closed, before, sum_decay)
        sum_gate, sum_candidate = sum_gate + dgate, sum_candidate + dcandidate
    store(ddecay, (0, unit), sum_decay)
    store(db_row, (0, unit), sum_gate)
    store(db_row, (0, units + unit), sum_candidate)


@inlined
def _drop_tiny(carry):
    """Leave out of gradients by states what is tiny: over many steps that nothing is asked of they end subnormal."""
    for row in range(carry.shape[0]):
        for unit in range(0, carry.shape[1], LANES):
            store(carry, (row, unit), without_tiny(load(carry, (row, unit))))


@kernel
def network_backward(dy, dhidden, tau, places, dt, block, spaces, dw, db, dtau, dw_out, db_out):
    """Gradients through time of the forward pass of some students.

    Equation, with dh_t = dhidden_t + dy_t·W_oᵀ + carry_t
        dg_t = dh_t·(c_t − decay·h_{t−1})     dc_t = dh_t·g_t
        da_t = [dg_t·g_t·(1 − g_t); dc_t·(1 − c_t²)]
        carry_{t−1} = dh_t·(1 − g_t)·decay + da_t·Wᵀ
        dW = Σ u_tᵀ·da_t     db = Σ da_t     ddecay = Σ dh_t·(1 − g_t)·h_{t−1}     dW_o = Σ h_tᵀ·dy_t     db_o = Σ dy_t
        Steps are taken in blocks of `block` rows, from the last; of a carry between two blocks what is tiny is left
        out. Sums run over t from the last, then b from the first;
        that of dW over blocks from the last, then over the rows of a block from the first; those of the readout over
        every fourth row from the first.
    Parameters
        dy [M, T, B, O]: gradient of the loss by every output. dhidden [M, T, B, P]: by every h_t from what reads it
        beside the readout and the next step. Either may be [1, ...], the same for all.
        tau [S·H], places, dt, block, spaces: of the forward pass, which kept all steps; the matrices of `spaces` behind
        the sixth are overwritten.
        dw [D+H, S·2H], db [S·2H], dtau [S·H], dw_out [H, S·O], db_out [S·O]: overwritten at `places`.
    Source
        Derived in docs/derivations/cfc.md.
    """
    steps, batch, outputs = dy.shape[1:]
    units, hidden, rows = dhidden.shape[3], dw_out.shape[0], steps * batch
    dy_rows, dhidden_rows = dy.reshape(dy.shape[0], rows, outputs), dhidden.reshape(dhidden.shape[0], rows, units)
    for m in range(places.size):
        (
            w_rows, _, out_rows, decay, operands, gates, w_back, carry, dgates, dw_rows, db_row, dout_rows, ddecay,
        ) = matrices(spaces[m], space_shapes(steps, batch, dw.shape[0] - hidden, units, outputs, block))  # fmt: skip
        first_unit, first_output = places[m] * hidden, places[m] * outputs
        own_tau, own_dtau = tau[first_unit : first_unit + hidden], dtau[first_unit : first_unit + hidden]
        own_dy, own_dhidden = dy_rows[min(m, dy.shape[0] - 1)], dhidden_rows[min(m, dhidden.shape[0] - 1)]
        transpose_weights(w_rows, w_back)
        _readout_gradients(own_dy, operands, batch, dout_rows, db_out[first_output : first_output + outputs])
        carry[:], dw_rows[:], db_row[:], ddecay[:] = 0.0, 0.0, 0.0, 0.0
        end = rows
        while end:
            start = max(0, end - block)
            for first in range(end - batch, start - 1, -batch):
                for unit in range(0, units, LANES):
                    _step_gradients(
                        own_dy, out_rows, own_dhidden, decay, operands, gates, carry, dgates, db_row, ddecay,
                        first, first - start, unit,
                    )  # fmt: skip
                if first:
                    product_from_rows(dgates, first - start, batch, w_back, carry, carry, 0)
            add_even_outer_product(operands, start, dgates, end - start, dw_rows)
            _drop_tiny(carry)
            end = start
        decay_backward(own_tau, dt, decay, ddecay, own_dtau)
        unpack_gradients(dw_rows, db_row, dout_rows, places[m], hidden, dw, db, dw_out)


@inlined
def _squared_error_up_to(bound, x, target, w_rows, b_row, decay, out_rows, b_out, grid, operands, gates, states):
    """Σ (y − target)² over all steps, samples and outputs, in that order; infinity as soon as it exceeds `bound`."""
    steps, batch, inputs = x.shape
    rows, units = x.reshape(steps * batch, inputs), decay.shape[1]
    operands[:batch, :units] = 0.0
    total = 0.0
    for t in range(steps):
        first = t % 2 * batch
        _put_inputs(rows, t * batch, batch, operands, first, units)
        _step(operands, first, batch - first, batch, w_rows, b_row, decay, grid, gates, 0, states, 0)
        for b in range(batch):
            for o in range(b_out.size):
                error = np.float64(_output(states, b, out_rows, b_out, o)) - np.float64(target[t, b, o])
                total += error * error
        if total > bound:
            return np.inf
    return total


@kernel
def take_best_values(
    values, taken, loss, changed, rows, columns, x, target, w_rows, b_row, decay, out_rows, b_out, grid, operands,
    gates, states,
):  # fmt: skip
    """Let some weights, one after another, take that of several values with the smallest loss; a tie keeps what is.

    It gives the loss of what is left.

    Equation
        loss = (1/2TB) Σ_{t,b,o} (y − target)², in float64, in the order t, b, o
    Parameters
        values [V]. taken int64 [N]: which of the values each weight has, −1 for none of them; overwritten.
        loss: with the weights as they are, or more; what exceeds it is not computed to its end.
        changed: the one of w_rows and out_rows that holds the weights, at rows, columns int64 [N].
        x [T, B, D], target [T, B, O]. w_rows, b_row, decay, out_rows, b_out, grid: the network, as packed.
        operands [2B, S], gates [B, 2P], states [B, P]: working space of two steps.
    """
    count = x.shape[0] * x.shape[1]
    for i in range(taken.size):
        present, weight = taken[i], changed[rows[i], columns[i]]
        for v in range(values.size):
            if v == present:
                continue
            changed[rows[i], columns[i]] = values[v]
            # A little above the loss, so that rounding cannot hide a value that is better.
            bound = 2.0 * loss * count * (1.0 + 1e-12)
            error = _squared_error_up_to(
                bound, x, target, w_rows, b_row, decay, out_rows, b_out, grid, operands, gates, states
            )
            tried = 0.5 * error / count
            if tried < loss:
                taken[i], weight, loss = v, values[v], tried
        changed[rows[i], columns[i]] = weight
    return loss
