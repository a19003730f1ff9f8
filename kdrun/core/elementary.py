"""exp, tanh, sigmoid, sin, cos and log of vectors, in portable bits, to at most 2 units in the last place.

Each function but tanh is written once for both precisions; what differs (polynomials, constants) is chosen by the
element type. Coefficients: fits, printed by `python tools/fit_elementary.py`. Special values are those of IEEE 754
functions: nan gives nan, exp(−inf) = 0, log(0) = −inf, log(x < 0) = nan. sin and cos hold for |x| ≤ 2¹³.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from kdrun.core.jit import inlined, kernel
from kdrun.core.vector import (
    LANES,
    VectorType,
    absolute,
    as_floats,
    as_integers,
    copy_sign,
    fma,
    load_part,
    select,
    splat_by_precision,
    splat_like,
    store_part,
)

SINE_LIMIT = 2.0**13

Function = Callable[..., Any]


def _by_precision(single: Function, double: Function) -> Function:
    """A function of vectors that is `single` for float32 lanes and `double` for float64 ones."""

    def chosen(v):
        return single(v) if v.dtype in (np.float32, np.int32) else double(v)

    @overload(chosen, jit_options={"forceinline": True, "error_model": "numpy"})
    def choose(v):
        if not isinstance(v, VectorType):
            return None
        if v.dtype in (types.float32, types.int32):
            return lambda v: single(v)  # noqa: PLW0108 - Numba compiles the source of a Python function
        return lambda v: double(v)  # noqa: PLW0108

    return chosen


# ------------------------------------------------------------------------------------------ rounding and powers of two


@inlined
def _rounder(v):
    """1.5·2^(mantissa bits): adding it rounds to the nearest integer, ties to even, and leaves that in the low bits."""
    return splat_by_precision(12582912.0, 6755399441055744.0, v)


@inlined
def smallest_normal(v):
    """The smallest normal number in every lane: below it, down to zero, are the subnormal ones."""
    return splat_by_precision(1.1754943508222875e-38, 2.2250738585072014e-308, v)


@inlined
def without_tiny(v):
    """v, or 0 where |v| is below 2²⁴ times the smallest normal number.

    A product with a number down to 2⁻²⁴ is then not subnormal, for which many processors take over a hundred cycles.
    """
    tiny = splat_by_precision(2.0**-102, 2.0**-998, v)
    return select(absolute(v) < tiny, splat_like(0.0, v), v)


@inlined
def nearest_integer(v):
    """v rounded to the nearest integer, ties to even; for |v| ≤ 2²¹."""
    return (v + _rounder(v)) - _rounder(v)


@inlined
def _low_bits(rounded):
    """The integer n of n + rounder."""
    return as_integers(rounded) - as_integers(_rounder(rounded))


@inlined
def _as_number(n, like):
    """A vector of small integers as floats."""
    return as_floats(n + as_integers(_rounder(like))) - _rounder(like)


@inlined
def _mantissa_bits(n):
    """How far the exponent of a float stands from its lowest bit."""
    return splat_by_precision(23, 52, n)


@inlined
def _power_of_two(n, origin):
    """origin·2ⁿ for a power of two `origin` and integers n that leave it in the normal range.

    Only the low bits of n count, so that n + rounder may be given as it is.
    """
    return as_floats(as_integers(origin) + (n << _mantissa_bits(n)))


# ------------------------------------------------------------------------------------------ exp


@inlined
def _exp_polynomial_single(r):
    q = splat_like(0.001393577795540422857, r)
    q = fma(q, r, splat_like(0.00836915169419187364, r))
    q = fma(q, r, splat_like(0.04166645535223390274, r))
    q = fma(q, r, splat_like(0.1666651598890411119, r))
    return fma(q, r, splat_like(0.5, r))


@inlined
def _exp_polynomial_double(r):
    q = splat_like(2.511245431124214599e-8, r)
    q = fma(q, r, splat_like(2.762578762160013643e-7, r))
    q = fma(q, r, splat_like(2.755723352968756049e-6, r))
    q = fma(q, r, splat_like(0.00002480150708672360632, r))
    q = fma(q, r, splat_like(0.0001984126989789203991, r))
    q = fma(q, r, splat_like(0.001388888892814969977, r))
    q = fma(q, r, splat_like(0.008333333333316328735, r))
    q = fma(q, r, splat_like(0.04166666666660034377, r))
    q = fma(q, r, splat_like(0.1666666666666668454, r))
    return fma(q, r, splat_like(0.5, r))


_exp_polynomial = _by_precision(_exp_polynomial_single, _exp_polynomial_double)


@inlined
def _nearest_power(x):
    """n + rounder with n = round(x/ln 2): the power of two that is nearest to eˣ."""
    return fma(x, splat_like(1.4426950408889634, x), _rounder(x))


@inlined
def _above_power(x, rounded):
    """s = eʳ − 1 with r = x − n·ln 2, so that eˣ = 2ⁿ·(1 + s); precise also where s is small."""
    n = rounded - _rounder(x)
    r = fma(n, splat_by_precision(-0.6931471824645996, -0.6931471805599453, x), x)
    r = fma(n, splat_by_precision(1.9046542121259336e-09, -2.3190468138462996e-17, x), r)
    return fma(r * r, _exp_polynomial(r), r)


@inlined
def _nearest_power_base2(x):
    """n + rounder with n = round(x): the power of two that is nearest to 2ˣ."""
    return x + _rounder(x)


@inlined
def _exp2_polynomial_single(r):
    # In two halves, which need not wait for each other: a cell's step is full of these chains.
    square, highest = r * r, splat_like(0.0001545553290898702548, r)
    high = fma(square, highest, fma(r, splat_like(0.001339086849009449588, r), splat_like(0.009618080328840558072, r)))
    low = fma(r, splat_like(0.05550360687072720488, r), splat_like(0.2402265069591007123, r))
    return fma(square, high, low)


@inlined
def _exp2_polynomial_double(r):
    q = splat_like(4.456246756704494101e-10, r)
    q = fma(q, r, splat_like(7.072440121670900886e-9, r))
    q = fma(q, r, splat_like(1.017805435870316471e-7, r))
    q = fma(q, r, splat_like(1.321544404778033707e-6, r))
    q = fma(q, r, splat_like(0.00001525273384758746377, r))
    q = fma(q, r, splat_like(0.000154035304369239767, r))
    q = fma(q, r, splat_like(0.001333355814640123561, r))
    q = fma(q, r, splat_like(0.00961812910761316751, r))
    q = fma(q, r, splat_like(0.05550410866482163947, r))
    return fma(q, r, splat_like(0.2402265069591007123, r))


_exp2_polynomial = _by_precision(_exp2_polynomial_single, _exp2_polynomial_double)


@inlined
def _above_power_base2(x, rounded):
    """s = 2ʳ − 1 with r = x − n, which is exact, so that 2ˣ = 2ⁿ·(1 + s); precise also where s is small."""
    r = x - (rounded - _rounder(x))
    return fma(r, splat_like(0.6931471805599453, x), (r * r) * _exp2_polynomial(r))


@inlined
def exp(x):
    """eˣ = 2ⁿ·(1 + s). 2ⁿ comes in two factors, so that subnormal results round once."""
    low, high = splat_by_precision(-104.0, -746.0, x), splat_by_precision(89.0, 710.0, x)
    x = select(x < low, low, select(x > high, high, x))
    rounded = _nearest_power(x)
    one, exponent = splat_like(1.0, x), _low_bits(rounded)
    half = exponent >> splat_like(1, exponent)
    return (one + _above_power(x, rounded)) * _power_of_two(half, one) * _power_of_two(exponent - half, one)


# ------------------------------------------------------------------------------------------ sigmoid and tanh


@inlined
def _below_zero(x):
    """−|x|, by its sign bit."""
    return copy_sign(x, splat_like(-1.0, x))


def _logistic(nearest: Function, above: Function, lowest_single: float, lowest_double: float) -> Function:
    """1/(1 + z), by z = e^(−|x|) or 2^(−|x|) so that nothing overflows and small values keep their precision.

    `nearest` and `above` make z = 2ⁿ·(1 + s); it is 0 from `lowest` on. z is computed 2⁶⁴ (2⁵¹²) times too large and
    scaled down, so that a subnormal one rounds once. The quotient is corrected by what the rounding of 1 + z left over:
    without that it is 2.2 units off.
    """

    @inlined
    def logistic(x):
        zero, one, lowest = splat_like(0.0, x), splat_like(1.0, x), splat_by_precision(lowest_single, lowest_double, x)
        t = _below_zero(x)
        t = select(t < lowest, lowest, t)
        rounded = nearest(t)
        power = _power_of_two(as_integers(rounded), splat_by_precision(2.0**64, 2.0**512, x))
        z = fma(above(t, rounded), power, power) * splat_by_precision(2.0**-64, 2.0**-512, x)
        denominator = one + z
        quotient = select(x < zero, z, one) / denominator
        return fma(quotient, (denominator - one) - z, quotient)

    return logistic


# 1/(1 + e⁻ˣ), and 1/(1 + 2⁻ˣ), which is the sigmoid of x·ln 2.
sigmoid = _logistic(_nearest_power, _above_power, -104.0, -746.0)
sigmoid_base2 = _logistic(_nearest_power_base2, _above_power_base2, -150.0, -1076.0)


@inlined
def _tanh_polynomial_double(z):
    p = splat_like(7.8742743453444191e-6, z)
    p = fma(p, z, splat_like(-0.00003372080112046316375, z))
    p = fma(p, z, splat_like(0.00009455133052924857961, z))
    p = fma(p, z, splat_like(-0.0002384727248015252131, z))
    p = fma(p, z, splat_like(0.0005899052969492732996, z))
    p = fma(p, z, splat_like(-0.00145581909715135121, z))
    p = fma(p, z, splat_like(0.003592126769962634705, z))
    p = fma(p, z, splat_like(-0.00886323546314680007, z))
    p = fma(p, z, splat_like(0.02186948853407390774, z))
    p = fma(p, z, splat_like(-0.05396825396822037454, z))
    p = fma(p, z, splat_like(0.1333333333333331206, z))
    return fma(p, z, splat_like(-0.3333333333333333331, z))


def _tangent(doubled: Function, nearest: Function, above: Function, lowest: float) -> Function:
    """(1 − z)/(1 + z), both from z = e^(−2|x|) or 2^(−|x|) = 2ⁿ·(1 + s), in float32; it is ±1 beyond `lowest`.

    `doubled`, `nearest` and `above` make the exponent, 2ⁿ and s. Near zero n is 0 and the numerator s itself.
    """

    @inlined
    def tangent(x):
        one, lowest_exponent = splat_like(1.0, x), splat_like(lowest, x)
        t = doubled(_below_zero(x))
        t = select(t < lowest_exponent, lowest_exponent, t)
        rounded = nearest(t)
        power = _power_of_two(as_integers(rounded), one)
        s = above(t, rounded)
        return copy_sign(fma(s, power, power - one) / fma(s, power, power + one), x)

    return tangent


@inlined
def _twice(x):
    return x + x


@inlined
def _once(x):
    return x


@inlined
def _above_power_roughly(x, rounded):
    """`_above_power` with ln 2 subtracted in one part: as precise where n is 0, and elsewhere 1 + s is."""
    r = fma(rounded - _rounder(x), splat_like(-0.6931471824645996, x), x)
    return fma(r * r, _exp_polynomial(r), r)


_tanh_single = _tangent(_twice, _nearest_power, _above_power_roughly, -40.0)
_tanh_base2_single = _tangent(_once, _nearest_power_base2, _above_power_base2, -58.0)


@inlined
def _tanh_double(x):
    """x + x³·P(x²) for |x| < 0.55, else ±(1 − 2/(e^(2|x|) + 1)), which is ±1 from |x| = 20 on."""
    magnitude = absolute(x)
    one, two, highest = splat_like(1.0, x), splat_like(2.0, x), splat_like(40.0, x)
    t = magnitude + magnitude
    t = select(t > highest, highest, t)
    rounded = _nearest_power(t)
    power = _power_of_two(as_integers(rounded), one)
    large = one - two / fma(_above_power(t, rounded), power, power + one)
    square = x * x
    small = fma(magnitude * square, _tanh_polynomial_double(square), magnitude)
    return copy_sign(select(magnitude < splat_like(0.55, x), small, large), x)


@inlined
def _tanh_base2_double(x):
    return _tanh_double(x * splat_like(0.34657359027997264, x))


# In float64, where nothing is trained, the quotient would be 2.15 units off.
tanh = _by_precision(_tanh_single, _tanh_double)
# (1 − 2⁻ˣ)/(1 + 2⁻ˣ), which is tanh of x·ln 2/2.
tanh_base2 = _by_precision(_tanh_base2_single, _tanh_base2_double)


# ------------------------------------------------------------------------------------------ sin and cos


@inlined
def _sin_polynomial_single(z):
    p = splat_like(-0.0001958789088041238579, z)
    p = fma(p, z, splat_like(0.008332748270629749485, z))
    return fma(p, z, splat_like(-0.1666666466231437862, z))


@inlined
def _sin_polynomial_double(z):
    p = splat_like(-7.586697117706917985e-13, z)
    p = fma(p, z, splat_like(1.605853161898614684e-10, z))
    p = fma(p, z, splat_like(-2.505210623244757733e-8, z))
    p = fma(p, z, splat_like(2.755731921933916652e-6, z))
    p = fma(p, z, splat_like(-0.0001984126984126506495, z))
    p = fma(p, z, splat_like(0.008333333333333331492, z))
    return fma(p, z, splat_like(-0.1666666666666666667, z))


_sin_polynomial = _by_precision(_sin_polynomial_single, _sin_polynomial_double)


@inlined
def _cos_polynomial_single(z):
    p = splat_like(0.00002454794208507157251, z)
    p = fma(p, z, splat_like(-0.001388830303589486604, z))
    return fma(p, z, splat_like(0.04166666465950220677, z))


@inlined
def _cos_polynomial_double(z):
    p = splat_like(4.745871902043291537e-14, z)
    p = fma(p, z, splat_like(-1.147046088760995911e-11, z))
    p = fma(p, z, splat_like(2.087675579108042381e-9, z))
    p = fma(p, z, splat_like(-2.755731922140282439e-7, z))
    p = fma(p, z, splat_like(0.00002480158730158464643, z))
    p = fma(p, z, splat_like(-0.001388888888888888787, z))
    return fma(p, z, splat_like(0.04166666666666666667, z))


_cos_polynomial = _by_precision(_cos_polynomial_single, _cos_polynomial_double)


@inlined
def _sine_after_quarters(x, quarters):
    """sin(x + quarters·π/2): the polynomial of sin or cos on |r| ≤ π/4, by the parity of the quadrant.

    r = x − n·π/2 in three parts, the first of them exact (docs/derivations/elementary.md).
    """
    rounded = fma(x, splat_like(0.6366197723675814, x), _rounder(x))
    n, quadrant = rounded - _rounder(x), _low_bits(rounded) + quarters
    r = fma(n, splat_by_precision(-1.5707963705062866, -1.5707963267948966, x), x)
    r = fma(n, splat_by_precision(4.371138828673793e-08, -6.123233995736766e-17, x), r)
    r = fma(n, splat_by_precision(1.7151245100058819e-15, 1.4973849048591698e-33, x), r)
    z = r * r
    sine = fma(r * z, _sin_polynomial(z), r)
    cosine = fma(z * z, _cos_polynomial(z), fma(z, splat_like(-0.5, x), splat_like(1.0, x)))
    one, two, zero = splat_like(1, quadrant), splat_like(2, quadrant), splat_like(0, quadrant)
    value = select((quadrant & one) == zero, sine, cosine)
    return select((quadrant & two) == zero, value, splat_like(0.0, x) - value)


@inlined
def sin(x):
    """sin x for |x| ≤ 2¹³; keeps the sign of zero."""
    value = _sine_after_quarters(x, splat_like(0, as_integers(x)))
    return select(x == splat_like(0.0, x), x, value)


@inlined
def cos(x):
    """cos x for |x| ≤ 2¹³."""
    return _sine_after_quarters(x, splat_like(1, as_integers(x)))


# ------------------------------------------------------------------------------------------ log


@inlined
def _log_polynomial_single(z):
    p = splat_like(0.233304672163038363, z)
    p = fma(p, z, splat_like(0.285508208159606633, z))
    p = fma(p, z, splat_like(0.4000012183980612671, z))
    return fma(p, z, splat_like(0.6666666655449709155, z))


@inlined
def _log_polynomial_double(z):
    p = splat_like(0.1308662614784010214, z)
    p = fma(p, z, splat_like(0.1326877313865688518, z))
    p = fma(p, z, splat_like(0.1538623970281465819, z))
    p = fma(p, z, splat_like(0.1818179564013290628, z))
    p = fma(p, z, splat_like(0.2222222239171391744, z))
    p = fma(p, z, splat_like(0.2857142857080361181, z))
    p = fma(p, z, splat_like(0.4000000000000087698, z))
    return fma(p, z, splat_like(0.6666666666666666646, z))


_log_polynomial = _by_precision(_log_polynomial_single, _log_polynomial_double)


@inlined
def log(x):
    """ln x = e·ln 2 + ln(1 + f) with 1 + f = x/2ᵉ in [√½, √2).

    ln(1 + f) = f − (f²/2 − s·(f²/2 + s²·P(s²))), s = f/(2 + f); subnormal x are scaled first.
    """
    zero = splat_like(0.0, x)
    tiny = x < smallest_normal(x)
    normal = select(tiny, x * splat_by_precision(2.0**24, 2.0**54, x), x)
    bits = as_integers(normal)
    mantissa_bits = _mantissa_bits(bits)
    exponent = (bits - splat_by_precision(0x3F3504F3, 0x3FE6A09E667F3BCD, bits)) >> mantissa_bits
    f = as_floats(bits - (exponent << mantissa_bits)) - splat_like(1.0, x)
    e = _as_number(exponent, x) - select(tiny, splat_by_precision(24.0, 54.0, x), zero)
    s = f / (splat_like(2.0, x) + f)
    half_square = splat_like(0.5, x) * f * f
    tail = s * fma(s * s, _log_polynomial(s * s), half_square)
    tail = half_square - fma(e, splat_by_precision(1.4286068203094172e-06, 1.9082149292705877e-10, x), tail)
    value = fma(e, splat_by_precision(0.693145751953125, 0.6931471803691238, x), f - tail)
    infinity = splat_like(np.inf, x)
    value = select(x == infinity, x, select(x == zero, zero - infinity, value))
    return select(x >= zero, value, splat_like(np.nan, x))


# ------------------------------------------------------------------------------------------ over arrays


@kernel
def exp_array(x, out):
    """out [n] = exp of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, exp(load_part(x, i, count)), count)


@kernel
def sigmoid_array(x, out):
    """out [n] = sigmoid of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, sigmoid(load_part(x, i, count)), count)


@kernel
def tanh_array(x, out):
    """out [n] = tanh of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, tanh(load_part(x, i, count)), count)


@kernel
def sigmoid_base2_array(x, out):
    """out [n] = sigmoid_base2 of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, sigmoid_base2(load_part(x, i, count)), count)


@kernel
def tanh_base2_array(x, out):
    """out [n] = tanh_base2 of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, tanh_base2(load_part(x, i, count)), count)


@kernel
def sin_array(x, out):
    """out [n] = sin of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, sin(load_part(x, i, count)), count)


@kernel
def cos_array(x, out):
    """out [n] = cos of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, cos(load_part(x, i, count)), count)


@kernel
def log_array(x, out):
    """out [n] = log of x [n], float32 or float64."""
    for i in range(0, x.size, LANES):
        count = min(LANES, x.size - i)
        store_part(out, i, log(load_part(x, i, count)), count)
