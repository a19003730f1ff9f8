"""Uniform quantization of weight columns: codes, effective weights, gradients of scales.

Weights are [fan_in, fan_out]; a column is what one unit reads, the row of the matrix in the usual notation. Scales are
one per column, [fan_out].
"""

from __future__ import annotations

from kdrun.core.elementary import nearest_integer
from kdrun.core.jit import inlined, kernel
from kdrun.core.vector import LANES, absolute, fma, load_part, select, splat_like, store_part

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
    for column in range(0, w.shape[1], LANES):
        count = min(LANES, w.shape[1] - column)
        s = load_part(scale, column, count)
        for row in range(w.shape[0]):
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
    for column in range(0, codes.shape[1], LANES):
        count = min(LANES, codes.shape[1] - column)
        total = splat_like(0.0, codes)
        for row in range(codes.shape[0]):
            total = fma(load_part(dw_eff, (row, column), count), load_part(codes, (row, column), count), total)
        store_part(dscale, column, total, count)


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
def floor_inplace(scale):
    """scale ← max(scale, 1e-6) for scale [n]."""
    floor = scale.dtype.type(SCALE_FLOOR)
    for i in range(scale.size):
        scale[i] = max(scale[i], floor)


@kernel
def multiply_into(a, b, out):
    """out = a·b elementwise, for arrays [m, n] of one dtype; out may be a or b."""
    for row in range(a.shape[0]):
        for column in range(a.shape[1]):
            out[row, column] = a[row, column] * b[row, column]
