"""Uniform quantization of weight columns: codes, effective weights, gradients of scales.

Weights are [fan_in, fan_out]; a column is what one unit reads, the row of the matrix in the usual notation. Scales are
one per column, [fan_out].
"""

from __future__ import annotations

import numpy as np

from kdrun.core.elementary import nearest_integer
from kdrun.core.jit import inlined, kernel
from kdrun.core.vector import LANES, absolute, copy_sign, fma, load_part, select, splat_like, store_part, sum_lanes

SCALE_FLOOR = 1e-6


@inlined
def clipped(v, low, high):
    """v between two vectors, elementwise."""
    return select(v < low, low, select(v > high, high, v))


@kernel
def quantize_columns(w, scale, max_code, codes, w_eff):
    """Codes and effective weights of a matrix.

    Equation
        codes = clip(round(w/scale), −max_code, max_code), ties to even     w_eff = scale·codes
    Parameters
        w, codes, w_eff [fan_in, fan_out]; the last two are overwritten. scale [fan_out], positive. max_code: integer.
        Codes are kept as numbers of the dtype of w.
    """
    high = splat_like(max_code, w)
    low = splat_like(-max_code, w)
    for row in range(w.shape[0]):
        for column in range(0, w.shape[1], LANES):
            count = min(LANES, w.shape[1] - column)
            s = load_part(scale, column, count)
            code = nearest_integer(clipped(load_part(w, (row, column), count) / s, low, high))
            store_part(codes, (row, column), code, count)
            store_part(w_eff, (row, column), s * code, count)


@kernel
def scale_codes(codes, scale, w_eff):
    """w_eff = scale·codes for codes, w_eff [fan_in, fan_out] and scale [fan_out]."""
    for column in range(0, codes.shape[1], LANES):
        count = min(LANES, codes.shape[1] - column)
        s = load_part(scale, column, count)
        for row in range(codes.shape[0]):
            store_part(w_eff, (row, column), s * load_part(codes, (row, column), count), count)


@kernel
def scale_gradient(dw_eff, codes, dscale):
    """Gradient of the scales with the codes held fixed, which is exact almost everywhere.

    Equation
        dscale[c] = Σ_r dw_eff[r, c]·codes[r, c], r ascending
    Parameters
        dw_eff, codes [fan_in, fan_out]. dscale [fan_out], overwritten.
    """
    dscale[:] = 0.0
    for row in range(codes.shape[0]):
        for column in range(0, codes.shape[1], LANES):
            count = min(LANES, codes.shape[1] - column)
            slope, code = load_part(dw_eff, (row, column), count), load_part(codes, (row, column), count)
            store_part(dscale, column, fma(slope, code, load_part(dscale, column, count)), count)


@kernel
def mean_magnitude(w, scale):
    """scale[c] = (1/fan_in) Σ_r |w[r, c]|, at least 1e-6; w [fan_in, fan_out], scale [fan_out], overwritten."""
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        total = splat_like(0.0, w)
        for row in range(w.shape[0]):
            total = total + absolute(load_part(w, (row, column), count))
        mean = total / splat_like(w.shape[0], w)
        floor = splat_like(SCALE_FLOOR, w)
        store_part(scale, column, select(mean < floor, floor, mean), count)


@kernel
def largest_magnitude(w, max_code, scale):
    """scale[c] = max_r |w[r, c]|/max_code, at least 1e-6; w [fan_in, fan_out], scale [fan_out], overwritten."""
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        largest = splat_like(0.0, w)
        for row in range(w.shape[0]):
            magnitude = absolute(load_part(w, (row, column), count))
            largest = select(magnitude > largest, magnitude, largest)
        share = largest / splat_like(max_code, w)
        floor = splat_like(SCALE_FLOOR, w)
        store_part(scale, column, select(share < floor, floor, share), count)


@kernel
def mean_above(w, threshold, scale):
    """Mean magnitude of the weights beyond a threshold.

    Equation
        scale[c] = Σ |w[r, c]| / (number of r), over r ascending with |w[r, c]| > threshold[c]; at least 1e-6
    Parameters
        w [fan_in, fan_out]. threshold [fan_out], positive. scale [fan_out], overwritten.
    """
    zero, one, floor = splat_like(0.0, w), splat_like(1.0, w), splat_like(SCALE_FLOOR, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        limit = load_part(threshold, column, count)
        total, number = zero, zero
        for row in range(w.shape[0]):
            magnitude = absolute(load_part(w, (row, column), count))
            total = total + select(magnitude > limit, magnitude, zero)
            number = number + select(magnitude > limit, one, zero)
        mean = total / select(number < one, one, number)
        store_part(scale, column, select(mean < floor, floor, mean), count)


@kernel
def threshold_codes(w, threshold, codes):
    """codes = sign(w) where |w| > threshold, else 0; w, codes [fan_in, fan_out], threshold [fan_out], positive."""
    zero, one = splat_like(0.0, w), splat_like(1.0, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        limit = load_part(threshold, column, count)
        for row in range(w.shape[0]):
            v = load_part(w, (row, column), count)
            store_part(codes, (row, column), select(absolute(v) > limit, copy_sign(one, v), zero), count)


@kernel
def signed_magnitudes(codes, positive, negative, w_eff):
    """w_eff = positive where codes > 0, −negative where codes < 0, else 0.

    Parameters
        codes, w_eff [fan_in, fan_out]; the last is overwritten. positive, negative [fan_out].
    """
    zero = splat_like(0.0, codes)
    for column in range(0, codes.shape[1], LANES):
        count = min(LANES, codes.shape[1] - column)
        above, below = load_part(positive, column, count), zero - load_part(negative, column, count)
        for row in range(codes.shape[0]):
            code = load_part(codes, (row, column), count)
            store_part(w_eff, (row, column), select(code > zero, above, select(code < zero, below, zero)), count)


@kernel
def signed_gradients(dw_eff, codes, dpositive, dnegative):
    """Gradients of two magnitudes with the codes held fixed, exact almost everywhere.

    Equation
        dpositive[c] = Σ_r dw_eff[r, c] over codes[r, c] > 0     dnegative[c] = −Σ_r dw_eff[r, c] over codes[r, c] < 0
        r ascending
    Parameters
        dw_eff, codes [fan_in, fan_out]. dpositive, dnegative [fan_out], overwritten.
    """
    zero = splat_like(0.0, codes)
    for column in range(0, codes.shape[1], LANES):
        count = min(LANES, codes.shape[1] - column)
        above, below = zero, zero
        for row in range(codes.shape[0]):
            gradient, code = load_part(dw_eff, (row, column), count), load_part(codes, (row, column), count)
            above = above + select(code > zero, gradient, zero)
            below = below - select(code < zero, gradient, zero)
        store_part(dpositive, column, above, count)
        store_part(dnegative, column, below, count)


@kernel
def lsq_scale_gradient(dw_eff, w, scale, max_code, dscale):
    """Surrogate gradient of the scales that lets rounding pass as if it were not there.

    Equation
        dscale[c] = Σ_r dw_eff[r, c]·d[r, c], r ascending
        d = round(w/scale) − w/scale where |w/scale| < max_code, else max_code·sign(w)
    Parameters
        dw_eff, w [fan_in, fan_out]. scale [fan_out], positive. max_code: integer. dscale [fan_out], overwritten.
    Source
        Esser et al., Learned step size quantization, 2020 (arXiv 1902.08153), eq. 3. Its step size has a
        learning rate of its own, a factor 1/√(N·max_code) on this gradient, which is left out here.
    """
    high = splat_like(max_code, w)
    low = splat_like(-max_code, w)
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        s, slope = load_part(scale, column, count), splat_like(0.0, w)
        for row in range(w.shape[0]):
            place = load_part(w, (row, column), count) / s
            code = nearest_integer(clipped(place, low, high))
            direction = select(absolute(place) < high, code - place, code)
            slope = fma(load_part(dw_eff, (row, column), count), direction, slope)
        store_part(dscale, column, slope, count)


@kernel
def sum_into(values, total):
    """total[0] = Σ_i values[i], i ascending; values [n], total [1], overwritten."""
    total[0] = 0.0
    for i in range(values.size):
        total[0] += values[i]


@kernel
def pull_inplace(w, target, strength):
    """w ← (w + strength·target)/(1 + strength), elementwise for w, target [m, n]; strength: number ≥ 0.

    It is computed as w + share·(target − w) with share = strength/(1 + strength) rounded to the dtype, so that a weight
    that is at its target stays there to the bit.
    """
    share = w.dtype.type(strength / (1.0 + strength))
    for row in range(w.shape[0]):
        for column in range(w.shape[1]):
            w[row, column] += share * (target[row, column] - w[row, column])


@kernel
def floor_inplace(scale):
    """scale ← max(scale, 1e-6) for scale [n]."""
    floor = scale.dtype.type(SCALE_FLOOR)
    for i in range(scale.size):
        scale[i] = max(scale[i], floor)


@kernel
def multiply_columns_inplace(a, b, places, columns):
    """a ← a·b elementwise in some columns of arrays [m, n] of one dtype: so many at each of `places`, int64 [k]."""
    for row in range(a.shape[0]):
        for place in places:
            end = (place + 1) * columns
            for column in range(place * columns, end, LANES):
                count = min(LANES, end - column)
                product = load_part(a, (row, column), count) * load_part(b, (row, column), count)
                store_part(a, (row, column), product, count)


@kernel
def count_flips(codes, before, layout, flips):
    """Count the codes of each of some students that are not what they were, and remember what they are.

    Equation
        flips[s] = number of codes[i] ≠ before[i], over the arrays of the layout, their rows and columns of student s
        before ← codes
    Parameters
        codes, before: flat, laid out as core/clipping.py says; the second is overwritten. layout int64 [M, 3].
        flips: float64 [S], overwritten.
    """
    students, zero, one = flips.size, splat_like(0.0, codes), splat_like(1.0, codes)
    for student in range(students):
        flips[student] = 0.0
        for m in range(layout.shape[0]):
            start, rows, columns = layout[m, 0], layout[m, 1], layout[m, 2]
            for row in range(rows):
                first, total = start + (row * students + student) * columns, zero
                for i in range(first, first + columns, LANES):
                    count = min(LANES, first + columns - i)
                    code, last = load_part(codes, i, count), load_part(before, i, count)
                    total = total + select(code != last, one, zero)
                    store_part(before, i, code, count)
                flips[student] += np.float64(sum_lanes(total))
