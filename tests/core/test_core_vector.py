"""The vector type: every operation on sixteen lanes, compiled and as its numpy twin."""

from __future__ import annotations

import operator
from fractions import Fraction

import numpy as np
import pytest

from kdrun.core.jit import kernel
from kdrun.core.vector import (
    LANES,
    absolute,
    as_floats,
    as_integers,
    copy_sign,
    fma,
    load,
    load_part,
    select,
    splat_by_precision,
    splat_like,
    square_root,
    store,
    store_part,
    sum_lanes,
    widened,
)
from tests.core.comparing import assert_bits, needs_jit, unchanged
from tests.naive.arithmetic import fused_multiply_add, rounded, tree_sum

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3.5, -2.5, 1e30, -1e30, 0.1, 0.5, 2.0]


@kernel
def copy_vector(source, source_at, target, target_at):
    """One vector from one array to another."""
    store(target, target_at, load(source, source_at))


@kernel
def copy_part(source, source_at, target, target_at, count):
    """The first `count` lanes from one array to another."""
    store_part(target, target_at, load_part(source, source_at, count), count)


@kernel
def load_part_whole(source, source_at, count, target):
    """All lanes of a partial load."""
    store(target, 0, load_part(source, source_at, count))


@kernel
def float_arithmetic(a, b, c, out):
    """Rows of results of every operation on floats."""
    x, y, z = load(a, 0), load(b, 0), load(c, 0)
    store(out, (0, 0), x + y)
    store(out, (1, 0), x - y)
    store(out, (2, 0), x * y)
    store(out, (3, 0), x / y)
    store(out, (4, 0), fma(x, y, z))
    store(out, (5, 0), square_root(x))
    store(out, (6, 0), absolute(x))
    store(out, (7, 0), copy_sign(x, y))


@kernel
def float_comparisons(a, b, out):
    """Rows of ones where a comparison holds, zeros where it does not."""
    x, y, one, zero = load(a, 0), load(b, 0), splat_like(1.0, a), splat_like(0.0, a)
    store(out, (0, 0), select(x < y, one, zero))
    store(out, (1, 0), select(x <= y, one, zero))
    store(out, (2, 0), select(x > y, one, zero))
    store(out, (3, 0), select(x >= y, one, zero))
    store(out, (4, 0), select(x == y, one, zero))
    store(out, (5, 0), select(x != y, one, zero))
    store(out, (6, 0), select((x < y) & (x > zero), one, zero))
    store(out, (7, 0), select((x < y) | (x > zero), one, zero))
    store(out, (8, 0), select((x < y) ^ (x > zero), one, zero))


@kernel
def integer_arithmetic(a, b, shift, out):
    """Rows of results of every operation on integers."""
    x, y, by = load(a, 0), load(b, 0), load(shift, 0)
    store(out, (0, 0), x + y)
    store(out, (1, 0), x - y)
    store(out, (2, 0), x & y)
    store(out, (3, 0), x | y)
    store(out, (4, 0), x ^ y)
    store(out, (5, 0), x << by)
    store(out, (6, 0), x >> by)
    store(out, (7, 0), select(x < y, x, y))
    store(out, (8, 0), select(x == y, x, y))


@kernel
def bits_of(a, integers, floats):
    """Bits of floats as integers, and back."""
    store(integers, 0, as_integers(load(a, 0)))
    store(floats, 0, as_floats(load(integers, 0)))


@kernel
def in_double(a, out):
    """A vector in float64."""
    store(out, 0, widened(load(a, 0)))


@kernel
def splats(value, like, out):
    """A number in every lane, and one chosen by precision."""
    store(out, (0, 0), splat_like(value, like))
    store(out, (1, 0), splat_by_precision(1.25, 2.75, like))
    store(out, (2, 0), splat_like(value, load(like, 0)))


@kernel
def lanes_sum(a):
    """The sum of one vector's lanes."""
    return sum_lanes(load(a, 0))


def vectors(dtype, rng, count):
    """Random vectors of one sign pattern and many magnitudes."""
    shape = (count, LANES)
    return (rng.choice([-1.0, 1.0], shape) * 2.0 ** rng.uniform(-6, 6, shape)).astype(dtype)


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize(("source_at", "target_at"), [(0, 0), (1, 5), (16, 3)])
def test_load_and_store_move_sixteen_elements(source_at, target_at, dtype, rng):
    """A vector arrives where it is put, from where it is taken, aligned or not."""
    source, got = rng.normal(size=40).astype(dtype), np.zeros(40, dtype)
    expected = got.copy()
    expected[target_at : target_at + LANES] = source[source_at : source_at + LANES]
    unchanged({"source": source}, lambda: copy_vector(source, source_at, got, target_at))
    assert_bits(got, expected)


def test_a_tuple_indexes_rows_and_columns(dtype, rng):
    """A vector may run from one row of a matrix into the next, as memory does."""
    source, got = rng.normal(size=(3, 20)).astype(dtype), np.zeros((3, 20), dtype)
    copy_vector(source, (1, 7), got, (0, 2))
    expected = np.zeros((3, 20), dtype)
    expected.reshape(-1)[2 : 2 + LANES] = source.reshape(-1)[27 : 27 + LANES]
    assert_bits(got, expected)


@pytest.mark.parametrize("count", range(LANES + 1))
def test_store_part_touches_nothing_beyond(count, dtype, rng):
    """Exactly the first `count` elements change."""
    source, got = rng.normal(size=20).astype(dtype), np.full(20, 7.0, dtype)
    copy_part(source, 2, got, 3, count)
    expected = np.full(20, 7.0, dtype)
    expected[3 : 3 + count] = source[2 : 2 + count]
    assert_bits(got, expected)


@pytest.mark.parametrize("count", range(LANES + 1))
def test_load_part_fills_up_with_zeros(count, dtype, rng):
    """Lanes from `count` on are zero, whatever stands there in memory."""
    source, got = rng.normal(size=20).astype(dtype), np.full(LANES, 7.0, dtype)
    load_part_whole(source, 2, count, got)
    expected = np.zeros(LANES, dtype)
    expected[:count] = source[2 : 2 + count]
    assert_bits(got, expected)


def test_load_part_reads_the_last_elements_of_an_array(dtype):
    """A partial load at the end of an array gives what is there."""
    source, got = np.arange(1, 20).astype(dtype), np.empty(LANES, dtype)
    load_part_whole(source, 17, 2, got)
    np.testing.assert_array_equal(got, [18, 19] + [0] * 14)


# ------------------------------------------------------------------------------------------------ lanes


def test_splat_rounds_to_the_element_type(dtype):
    """A double is rounded once to the type of `like`, an array or a vector, and stands in every lane."""
    got, like = np.empty((3, LANES), dtype), np.zeros(LANES, dtype)
    splats(0.1, like, got)
    assert_bits(got[0], np.full(LANES, 0.1, dtype))
    assert_bits(got[2], np.full(LANES, 0.1, dtype))


def test_splat_by_precision_chooses_by_the_element_type(dtype):
    """Thirty-two bits take the first number, sixty-four the second."""
    got = np.empty((3, LANES), dtype)
    splats(0.1, np.zeros(LANES, dtype), got)
    assert_bits(got[1], np.full(LANES, 1.25 if dtype == np.float32 else 2.75, dtype))


def test_lanes_are_summed_by_the_written_tree(dtype, rng):
    """The sum has the bits of the tree i + 8, + 4, + 2, + 1, which a sum in order does not have."""
    differing = 0
    for vector in vectors(dtype, rng, 50):
        got = lanes_sum(vector)
        assert got == tree_sum(list(vector))
        in_order = dtype.type(0)
        for lane in vector:
            in_order += lane
        differing += got != in_order
    assert differing > 0


# ------------------------------------------------------------------------------------------------ arithmetic


def float_results(a, b, c):
    """Rows of `float_arithmetic`."""
    out = np.empty((8, LANES), a.dtype)
    float_arithmetic(a, b, c, out)
    return out


def test_arithmetic_is_that_of_ieee(dtype, rng):
    """Sum, difference, product, quotient and square root are correctly rounded, as numpy's are."""
    a, b, c = vectors(dtype, rng, 3)
    got = float_results(np.abs(a), b, c)
    for row, expected in enumerate([np.abs(a) + b, np.abs(a) - b, np.abs(a) * b, np.abs(a) / b]):
        assert_bits(got[row], expected)
    assert_bits(got[5], np.sqrt(np.abs(a)))


@pytest.mark.parametrize("shift", range(3))
def test_special_values_follow_ieee(shift, dtype):
    """Infinities, nan, signed zeros and subnormals go through arithmetic as IEEE 754 has it."""
    a, c = np.array(SPECIAL).astype(dtype), np.ones(LANES, dtype)
    b = np.roll(a, shift + 1)
    got = float_results(a, b, c)
    with np.errstate(all="ignore"):
        expected = [a + b, a - b, a * b, a / b]
        assert_bits(got[5], np.sqrt(a))
    for row, values in enumerate(expected):
        assert_bits(got[row], values)
    assert_bits(got[6], np.abs(a))
    assert_bits(got[7], np.copysign(a, b))


@needs_jit
def test_fma_rounds_once(dtype, rng):
    """a·b + c has the bits of the exact result rounded once, also where product and sum cancel."""
    a, b, c = vectors(dtype, rng, 3)
    c[:8] = -(a[:8] * b[:8])
    got = float_results(a, b, c)[4]
    assert_bits(got, np.array([fused_multiply_add(*lane) for lane in zip(a, b, c, strict=True)]))
    assert (got[:8] != 0).any()


def test_the_reference_rounds_like_ieee(dtype):
    """The naive rounding gives numpy's own on sums that it can do, subnormals included."""
    smallest = np.finfo(dtype).smallest_subnormal
    for value, expected in [(0.1, dtype.type(0.1)), (-3.0, dtype.type(-3.0)), (float(smallest), smallest)]:
        got = rounded(Fraction(value), dtype)
        assert got == expected


# ------------------------------------------------------------------------------------------------ comparisons


@pytest.mark.parametrize("shift", range(4))
def test_comparisons_are_those_of_ieee(shift, dtype):
    """Every comparison of floats, nan included, and the logic of their results."""
    a = np.array(SPECIAL).astype(dtype)
    b = np.roll(a, shift)
    got = np.empty((9, LANES), dtype)
    float_comparisons(a, b, got)
    positive = a > 0
    operators = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
    expected = [compare(a, b) for compare in operators]
    expected += [(a < b) & positive, (a < b) | positive, (a < b) ^ positive]
    np.testing.assert_array_equal(got, np.array(expected).astype(dtype))


# ------------------------------------------------------------------------------------------------ integers


def test_integer_arithmetic_wraps_and_shifts_with_the_sign(dtype, rng):
    """Sums wrap around, shifts to the right keep the sign, and logic works on bits."""
    kind = np.int32 if dtype == np.float32 else np.int64
    limit = np.iinfo(kind).max
    a, b = rng.integers(-limit, limit, (2, LANES), dtype=kind)
    a[0], b[0] = limit, 1
    shift = rng.integers(0, 31, LANES).astype(kind)
    got = np.empty((9, LANES), kind)
    integer_arithmetic(a, b, shift, got)
    expected = [a + b, a - b, a & b, a | b, a ^ b, a << shift, a >> shift, np.minimum(a, b), np.where(a == b, a, b)]
    np.testing.assert_array_equal(got, np.array(expected))


def test_bits_go_to_integers_and_back(dtype):
    """The bits of a float are read as an integer of its width, and the other way."""
    a = np.array(SPECIAL).astype(dtype)
    kind = np.int32 if dtype == np.float32 else np.int64
    integers, floats = np.zeros(LANES, kind), np.zeros(LANES, dtype)
    bits_of(a, integers, floats)
    np.testing.assert_array_equal(integers, a.view(kind))
    np.testing.assert_array_equal(floats.view(kind), a.view(kind))


def test_a_vector_in_double_precision_is_the_same_number(dtype, rng):
    """Every lane is exact, infinities and signs of zero too; float64 stays as it is."""
    a, out = vectors(dtype, rng, 1)[0], np.empty(LANES)
    a[:4] = np.inf, -np.inf, -0.0, np.finfo(dtype).tiny / 2
    in_double(a, out)
    assert_bits(out, a.astype(np.float64))
