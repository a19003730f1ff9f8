"""Quantization of columns against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.parameters import ParameterSet
from kdrun.core.quantize import (
    SCALE_FLOOR,
    count_flips,
    floor_inplace,
    largest_magnitude,
    lsq_scale_gradient,
    mean_above,
    mean_magnitude,
    multiply_columns_inplace,
    pull_inplace,
    quantize_columns,
    scale_codes,
    scale_gradient,
    signed_gradients,
    signed_magnitudes,
    sum_into,
    threshold_codes,
)
from tests.core.comparing import assert_bits, assert_gradient, unchanged
from tests.naive import quantization as naive

SHAPES = [(1, 1), (3, 16), (4, 17), (2, 33)]
shapes = pytest.mark.parametrize("shape", SHAPES)
max_codes = pytest.mark.parametrize("max_code", [1, 2, 7])


def problem(shape, max_code, dtype, rng):
    """Weights over all codes and beyond, some exactly between two codes, and scales."""
    scale = rng.uniform(0.3, 2.0, shape[1]).astype(dtype)
    w = rng.uniform(-max_code - 1.5, max_code + 1.5, shape).astype(dtype) * scale
    w[0, 0], scale[0] = dtype.type(0.25), dtype.type(0.5)
    return w, scale


def quantized(w, scale, max_code):
    """Codes and effective weights by the kernel."""
    codes, w_eff = np.full_like(w, np.nan), np.full_like(w, np.nan)
    quantize_columns(w, scale, max_code, codes, w_eff)
    return codes, w_eff


@shapes
@max_codes
def test_codes_are_those_of_the_equation(shape, max_code, dtype, rng):
    """codes = clip(round(w/s)), column by column."""
    w, scale = problem(shape, max_code, dtype, rng)
    got, _ = quantized(w, scale, max_code)
    assert_bits(np.abs(got), np.abs(naive.codes(w, scale, max_code)))
    np.testing.assert_array_equal(got, naive.codes(w, scale, max_code))


@shapes
@max_codes
def test_effective_weights_are_scaled_codes(shape, max_code, dtype, rng):
    """w_eff = s·q, one rounding."""
    w, scale = problem(shape, max_code, dtype, rng)
    codes, got = quantized(w, scale, max_code)
    assert np.abs(got).sum() > 0.0 or shape == (1, 1)
    np.testing.assert_array_equal(got, naive.effective(codes, scale))


def test_ties_go_to_the_even_code(dtype):
    """Halfway between two codes the even one is taken, on both sides of zero."""
    w = np.array([[0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3.5, 6.5]]).T.astype(dtype) * dtype.type(0.5)
    got, _ = quantized(w, np.array([0.5], dtype), 7)
    np.testing.assert_array_equal(got[:, 0], [0, 0, 2, -2, 2, -2, 4, 6])


def test_weights_far_outside_are_clipped(dtype):
    """A weight of any size, even infinite, takes the outermost code."""
    w = np.array([[1e30, -1e30, np.inf, -np.inf, 4e6, -3e9]]).T.astype(dtype)
    got, _ = quantized(w, np.array([1e-6], dtype), 2)
    np.testing.assert_array_equal(got[:, 0], [2, -2, 2, -2, 2, -2])


@pytest.mark.parametrize("column", [0, 15, 16, 32])
def test_each_column_has_its_own_scale(column, dtype):
    """A change of one scale changes that column and no other."""
    w, scale = np.full((2, 33), 0.8, dtype), np.ones(33, dtype)
    before, _ = quantized(w, scale, 1)
    scale[column] = 2.0
    after, _ = quantized(w, scale, 1)
    np.testing.assert_array_equal(np.flatnonzero((before != after).any(axis=0)), [column])


@shapes
def test_frozen_codes_give_the_same_weights(shape, dtype, rng):
    """scale_codes does what quantize_columns does once codes are known."""
    w, scale = problem(shape, 2, dtype, rng)
    codes, expected = quantized(w, scale, 2)
    got = np.full_like(w, np.nan)
    scale_codes(codes, scale, got)
    assert_bits(got, expected)


@shapes
def test_scale_gradients_sum_over_their_column(shape, dtype, rng):
    """dscale = Σ dw_eff·codes."""
    codes = rng.integers(1, 8, shape).astype(dtype) * rng.choice([-1, 1], shape).astype(dtype)
    dw_eff = rng.normal(size=shape).astype(dtype)
    got = np.full(shape[1], np.nan, dtype)
    scale_gradient(dw_eff, codes, got)
    assert_gradient(got, naive.scale_gradient(dw_eff, codes), 1e-6 if dtype == np.float32 else 1e-15)


def test_scale_gradients_are_those_of_finite_differences(rng):
    """The gradient of a linear loss by the scales, with codes frozen, is its numeric slope."""
    w, scale = problem((4, 17), 2, np.dtype(np.float64), rng)
    slopes, codes = rng.normal(size=w.shape), quantized(w, scale, 2)[0]
    got, w_eff = np.empty(17), np.empty_like(w)
    scale_gradient(slopes, codes, got)

    def loss(scales):
        scale_codes(codes, scales, w_eff)
        return (slopes * w_eff).sum()

    steps = 1e-3 * np.eye(17)
    assert_gradient(got, [(loss(scale + step) - loss(scale - step)) / 2e-3 for step in steps], 1e-9)


@shapes
def test_scales_start_at_the_mean_magnitude(shape, dtype, rng):
    """scale = mean |w| of each column."""
    w = rng.normal(size=shape).astype(dtype)
    got = np.full(shape[1], np.nan, dtype)
    mean_magnitude(w, got)
    np.testing.assert_allclose(got, naive.mean_magnitude(w), rtol=1e-6 if dtype == np.float32 else 1e-15)


def test_a_column_of_zeros_has_the_smallest_scale(dtype):
    """A scale is never zero: it starts at 1e−6 at least, by whatever it is measured."""
    zeros, expected = np.zeros((3, 17), dtype), np.full(17, SCALE_FLOOR, dtype)
    got = np.empty(17, dtype)
    mean_magnitude(zeros, got)
    assert_bits(got, expected)
    largest_magnitude(zeros, 7, got)
    assert_bits(got, expected)
    mean_above(zeros, np.full(17, 0.1, dtype), got)
    assert_bits(got, expected)


@shapes
@max_codes
def test_the_largest_weight_takes_the_largest_code(shape, max_code, dtype, rng):
    """scale = max |w|/max_code of each column, whatever the sign of the largest."""
    w = rng.normal(size=shape).astype(dtype)
    got = np.full(shape[1], np.nan, dtype)
    largest_magnitude(w, max_code, got)
    np.testing.assert_allclose(got, naive.largest_magnitude(w, max_code), rtol=1e-6 if dtype == np.float32 else 1e-15)
    codes, _ = quantized(w, got, max_code)
    np.testing.assert_array_equal(np.abs(codes).max(axis=0), np.full(shape[1], max_code))


def thresholds(w, rng):
    """A threshold for each column that some weights exceed; one weight lies at it."""
    limit = (np.abs(w).max(axis=0) * rng.uniform(0.2, 0.8, w.shape[1])).astype(w.dtype)
    w[0] = np.where(np.abs(w[0]) < np.abs(w).max(axis=0), -limit, w[0])
    return limit


@shapes
def test_codes_by_a_threshold_are_signs(shape, dtype, rng):
    """±1 strictly beyond the threshold of the column, else 0."""
    w = rng.normal(size=shape).astype(dtype)
    limit, got = thresholds(w, rng), np.full_like(w, np.nan)
    threshold_codes(w, limit, got)
    np.testing.assert_array_equal(got, naive.threshold_codes(w, limit))


@shapes
def test_the_mean_beyond_a_threshold_leaves_out_the_rest(shape, dtype, rng):
    """scale = mean |w| over |w| > threshold."""
    w = rng.normal(size=shape).astype(dtype)
    limit, got = thresholds(w, rng), np.full(shape[1], np.nan, dtype)
    mean_above(w, limit, got)
    np.testing.assert_allclose(got, naive.mean_above(w, limit), rtol=1e-6 if dtype == np.float32 else 1e-15)
    assert (got > limit).all()


def signs(shape, dtype, rng):
    """Codes −1, 0, 1; in the first row none is 0."""
    codes = rng.integers(-1, 2, shape).astype(dtype)
    codes[0] = rng.choice([-1, 1], shape[1])
    return codes


@shapes
def test_each_sign_has_its_magnitude(shape, dtype, rng):
    """w_eff is one of three values in each column."""
    codes, got = signs(shape, dtype, rng), np.full(shape, np.nan, dtype)
    positive, negative = (rng.uniform(0.5, 2.0, shape[1]).astype(dtype) for _ in range(2))
    signed_magnitudes(codes, positive, negative, got)
    np.testing.assert_array_equal(got, naive.signed_magnitudes(codes, positive, negative))


@shapes
def test_gradients_of_two_magnitudes_sum_over_their_codes(shape, dtype, rng):
    """Each magnitude takes the slopes of its own codes, the negative one with the other sign."""
    codes, slopes = signs(shape, dtype, rng), rng.normal(size=shape).astype(dtype)
    got = [np.full(shape[1], np.nan, dtype) for _ in range(2)]
    signed_gradients(slopes, codes, *got)
    for found, expected in zip(got, naive.signed_gradients(slopes, codes), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 if dtype == np.float32 else 1e-15)
    assert np.abs(got[0]).max() + np.abs(got[1]).max() > 0.0


@shapes
@max_codes
def test_the_lsq_gradient_is_its_residual_inside_and_its_code_outside(shape, max_code, dtype, rng):
    """dscale = Σ dw_eff·(round(w/s) − w/s), and ±max_code beyond the clip range."""
    w, scale = problem(shape, max_code, dtype, rng)
    slopes = rng.normal(size=shape).astype(dtype)
    got = np.full(shape[1], np.nan, dtype)
    lsq_scale_gradient(slopes, w, scale, max_code, got)
    expected = naive.lsq_scale_gradient(slopes, w, scale, max_code)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 if dtype == np.float32 else 1e-14)
    assert np.abs(got).max() > 0.0


def test_the_lsq_gradient_by_hand():
    """s = 0.5, codes to 2: places 0.6, −1.2, 5, −2.3 have directions 0.4, 0.2, 2, −2, weighed by 1, 2, 3, 4."""
    w, slopes, got = np.array([[0.3], [-0.6], [2.5], [-1.15]]), np.array([[1.0], [2.0], [3.0], [4.0]]), np.empty(1)
    lsq_scale_gradient(slopes, w, np.array([0.5]), 2, got)
    np.testing.assert_allclose(got, [0.4 + 0.4 + 6.0 - 8.0], rtol=1e-12)


@pytest.mark.parametrize("size", [1, 16, 17, 33])
def test_sums_run_in_order(size, dtype, rng):
    """The sum is that of a loop in the array's own precision, to the bit."""
    values, got, expected = rng.normal(size=size).astype(dtype), np.full(1, np.nan, dtype), dtype.type(0.0)
    for value in values:
        expected += value
    sum_into(values, got)
    assert_bits(got, np.array([expected], dtype))


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0, 50.0])
def test_a_pull_is_a_weighted_mean_with_the_target(strength, dtype, rng):
    """w becomes (w + ρ·target)/(1 + ρ); nothing moves at ρ = 0, nor what is at its target."""
    w, target = rng.normal(size=(3, 17)).astype(dtype), rng.normal(size=(3, 17)).astype(dtype)
    w[1] = target[1]
    got = w.copy()
    pull_inplace(got, target, strength)
    expected = (w + strength * target) / (1.0 + strength)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 if dtype == np.float32 else 1e-15)
    assert_bits(got[1], target[1])
    if strength == 0.0:
        assert_bits(got, w)


def test_the_floor_lifts_small_scales_and_no_others(dtype):
    """Scales below 1e−6, negative ones included, become 1e−6; others keep their bits."""
    got = np.array([-3.0, 0.0, 1e-7, 1e-6, 2e-6, 5.0], dtype)
    floor_inplace(got)
    assert_bits(got, np.array([1e-6, 1e-6, 1e-6, 1e-6, 2e-6, 5.0], dtype))


@pytest.mark.parametrize(("places", "columns"), [([0], 18), ([0, 2], 6), ([1], 9), ([17, 3], 1)])
def test_columns_are_multiplied_and_no_others(places, columns, dtype, rng):
    """a·b in the columns of some places, a in the rest."""
    a, b = rng.normal(size=(3, 18)).astype(dtype), rng.normal(size=(3, 18)).astype(dtype)
    expected = a.copy()
    for place in places:
        expected[:, place * columns : (place + 1) * columns] *= b[:, place * columns : (place + 1) * columns]
    multiply_columns_inplace(a, b, np.array(places), columns)
    assert_bits(a, expected)


def test_inputs_are_only_read(dtype, rng):
    """Only what is documented as overwritten changes."""
    w, scale = problem((4, 17), 2, dtype, rng)
    codes, _ = quantized(w, scale, 2)
    out, columns = np.empty_like(w), np.empty_like(scale)

    def run():
        quantized(w, scale, 2)
        scale_codes(codes, scale, out)
        scale_gradient(w, codes, columns)
        mean_magnitude(w, columns)
        multiply_columns_inplace(out, codes, np.array([0]), 17)
        largest_magnitude(w, 2, columns)
        mean_above(w, scale, columns)
        threshold_codes(w, scale, out)
        signed_magnitudes(codes, scale, scale, out)
        signed_gradients(w, codes, columns, columns.copy())
        lsq_scale_gradient(w, w, scale, 2, columns)
        sum_into(scale, columns)

    unchanged({"w": w, "scale": scale, "codes": codes}, run)


def test_neighbours_of_a_matrix_stay_untouched(dtype, rng):
    """The tail of a row of 17 columns writes nothing into the next row's memory or beyond the last."""
    w, scale = problem((3, 17), 1, dtype, rng)
    room = np.full((5, 17), 9.0, dtype)
    quantize_columns(w, scale, 1, room[1:4], np.empty_like(w))
    assert (room[[0, 4]] == 9.0).all()
    np.testing.assert_array_equal(room[1:4], naive.codes(w, scale, 1))


def test_flips_are_counted_for_each_student(dtype, rng):
    """Three students side by side; gaps between arrays count for none, and what is there is remembered."""
    shapes, students = {"w": (3, 3 * 5), "out": (17, 3)}, 3
    codes, before = ParameterSet(shapes, dtype), ParameterSet(shapes, dtype)
    for name, shape in shapes.items():
        before[name][...] = rng.integers(-1, 2, shape)
        codes[name][...] = rng.integers(-1, 2, shape)
    flips = np.full(students, np.nan)
    expected = [
        sum(
            int(np.sum(codes[name].reshape(-1, 3, own)[:, s] != before[name].reshape(-1, 3, own)[:, s]))
            for name, own in (("w", 5), ("out", 1))
        )
        for s in range(students)
    ]
    assert len(set(expected)) > 1
    unchanged({"codes": codes.flat}, lambda: count_flips(codes.flat, before.flat, codes.layout(students), flips))
    assert flips.tolist() == expected
    assert_bits(before.flat, codes.flat)
    count_flips(codes.flat, before.flat, codes.layout(students), flips)
    assert flips.tolist() == [0.0, 0.0, 0.0]
