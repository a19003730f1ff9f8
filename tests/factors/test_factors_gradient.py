"""Gradient shapes: each against the rule that it declares, against plain loops, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.finite_differences import REACH, derivative_of
from kdrun.factors.contract import GradientShape, Progress
from kdrun.factors.discover import levels
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.gradient.smoothstep_plateau import SmoothstepPlateau
from kdrun.factors.gradient.smoothstep_unit import SmoothstepUnit
from kdrun.factors.gradient.ste import Ste
from tests.core.comparing import assert_bits, assert_gradient
from tests.factors.discovered import END, ENDS, START, battery, draw
from tests.naive.quantization import MASKS

every_shape = battery(GradientShape)
ends = pytest.mark.parametrize("progress", ENDS.values(), ids=ENDS)
max_codes = pytest.mark.parametrize("max_code", [1, 2, 7])
STEP = 2e-4


def problem(max_code, dtype="float64", rows=40, columns=17):
    """Weights over all codes and beyond, and cells of several widths."""
    unit = draw("unit", (columns,), 0.2, 1.5, dtype)
    return draw(f"w{max_code}", (rows, columns), -max_code - 1.5, max_code + 1.5, dtype) * unit, unit


def mask_of(level, w, unit, max_code, progress):
    """m(w) as training uses it."""
    mask = np.full_like(w, np.nan)
    return mask if level.mask(w, unit, max_code, progress, mask) else np.ones_like(w)


def at(level, position, max_code=1, progress=START, dtype="float64"):
    """m at weights that are so many cells from zero."""
    w = np.array([position]).T.astype(dtype)
    return mask_of(level, w, np.ones(1, dtype), max_code, progress)[:, 0]


# ------------------------------------------------------------------------------------------------ battery


@every_shape
@ends
@max_codes
def test_a_mask_is_the_derivative_of_its_antiderivative(level, progress, max_code):
    """Away from kinks, m is the numeric derivative of the M that its level declares, everywhere and at any β."""
    w, unit = problem(max_code)
    kinks = level.kinks(unit, max_code, progress)
    step = STEP * unit
    smooth = (np.abs(w[np.newaxis] - kinks[:, np.newaxis]) > REACH * step).all(axis=0)
    assert smooth.mean() > 0.8
    got = mask_of(level, w, unit, max_code, progress)
    steps = np.broadcast_to(step, w.shape)
    expected = derivative_of(lambda x: level.antiderivative(x, unit, max_code, progress), w, steps)
    assert_gradient(got[smooth], expected[smooth], 1e-9)
    np.testing.assert_allclose(got[smooth], expected[smooth], rtol=1e-8, atol=1e-8)


@every_shape
@ends
@max_codes
def test_a_mask_is_finite_and_not_negative(level, progress, max_code, dtype):
    """Every weight has a finite mask ≥ 0, also at kinks, at zero and far outside, and some weight moves."""
    w, unit = problem(max_code, dtype)
    edges = level.kinks(unit, max_code, progress).astype(dtype)
    outside = np.array([[0.0], [-0.0], [1e6], [-1e6], [1e30], [-1e30]]).astype(dtype) * np.ones_like(unit)
    got = mask_of(level, np.concatenate([w, edges, outside]), unit, max_code, progress)
    assert np.isfinite(got).all()
    assert (got >= 0.0).all()
    assert got.max() > 0.0


@every_shape
@ends
def test_a_mask_is_pure(level, progress, dtype):
    """The same weights give the same bits again, and neither weights nor cells change."""
    w, unit = problem(2, dtype)
    before = w.copy(), unit.copy()
    first = mask_of(level, w, unit, 2, progress)
    mask_of(level, -2.0 * w, unit, 7, END)
    assert_bits(mask_of(level, w, unit, 2, progress), first)
    assert_bits(w, before[0])
    assert_bits(unit, before[1])


@every_shape
@ends
def test_a_mask_does_not_depend_on_neighbours(level, progress, dtype):
    """A column alone has the bits that it has among others."""
    w, unit = problem(2, dtype)
    together = mask_of(level, w, unit, 2, progress)
    for column in (0, 15, 16):
        alone = np.ascontiguousarray(w[:, column : column + 1])
        assert_bits(mask_of(level, alone, unit[column : column + 1].copy(), 2, progress)[:, 0], together[:, column])


@every_shape
@ends
def test_a_mask_depends_on_the_weight_in_cells_only(level, progress):
    """Weights and cells twice as large have the same mask: it has no unit."""
    w, unit = problem(2)
    got = mask_of(level, 2.0 * w, 2.0 * unit, 2, progress)
    assert_bits(got, mask_of(level, w, unit, 2, progress))


@every_shape
@ends
@max_codes
def test_masks_in_float32_are_those_of_float64(level, progress, max_code):
    """Training precision computes the same mask, but for a steepness times its rounding."""
    w, unit = problem(max_code, "float32")
    got = mask_of(level, w, unit, max_code, progress)
    expected = mask_of(level, w.astype(float), unit.astype(float), max_code, progress)
    assert_gradient(got, expected, 1e-4)


@pytest.mark.parametrize("name", MASKS)
@ends
@max_codes
def test_masks_are_those_of_plain_loops(name, progress, max_code):
    """m(w) is what the sine study writes down, weight by weight, for the four shapes that it names."""
    level = levels("gradient")[name]()
    w, unit = problem(max_code)
    beta = 1.0 + 19.0 * progress.fraction
    got = mask_of(level, w, unit, max_code, progress)
    rule = MASKS[name]
    expected = [[rule(w[r, c], unit[c], max_code, beta) for c in range(w.shape[1])] for r in range(w.shape[0])]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)


# ------------------------------------------------------------------------------------------------ by hand


@pytest.mark.parametrize("shape", [Smoothstep, SmoothstepUnit, SmoothstepPlateau])
def test_beta_grows_from_1_to_20(shape):
    """β(p) = 1 + 19p."""
    got = [shape().beta(Progress(step, 4)) for step in range(5)]
    assert got == [1.0, 5.75, 10.5, 15.25, 20.0]


@pytest.mark.parametrize("shape", [Smoothstep, SmoothstepUnit, SmoothstepPlateau])
def test_beta_follows_its_parameters(shape):
    """A study may choose both ends of β."""
    got = shape(beta_start=2.0, beta_end=6.0).beta(Progress(1, 4))
    assert got == 3.0


def test_ste_lets_everything_pass(dtype):
    """m = 1: nothing is written, and the antiderivative is w itself."""
    mask = np.full((2, 3), 7.0, dtype)
    got = Ste().mask(np.zeros((2, 3), dtype), np.ones(3, dtype), 1, START, mask)
    assert got is False
    assert (mask == 7.0).all()
    assert Ste().antiderivative(mask, np.ones(3), 1, START) is mask


def test_smoothstep_by_hand(dtype):
    """β = 1: 6t(1 − t) with t = |w|/s; a window over the whole first cell, its peak 1.5 at the boundary."""
    got = at(Smoothstep(), [0.0, 0.25, -0.25, 0.5, -0.5, 0.75, 1.0, 1.5], dtype=dtype)
    np.testing.assert_array_equal(got, [0.0, 1.125, 1.125, 1.5, 1.5, 1.125, 0.0, 0.0])


def test_smoothstep_is_hard_at_the_end(dtype):
    """β = 20: the peak is 30, and the window ends 1/40 from the boundary."""
    got = at(Smoothstep(), [0.5, 0.47, 0.53, 0.4875], progress=END, dtype=dtype)
    np.testing.assert_allclose(got, [30.0, 0.0, 0.0, 120 * 0.25 * 0.75], rtol=1e-5)


def test_smoothstep_has_a_window_at_every_boundary(dtype):
    """With codes up to 2 the boundaries ½ and 1½ have windows, and 2½ has none."""
    got = at(Smoothstep(), [0.5, 1.0, 1.5, -1.5, 2.0, 2.5], max_code=2, dtype=dtype)
    np.testing.assert_array_equal(got, [1.5, 0.0, 1.5, 1.5, 0.0, 0.0])


def test_smoothstep_rises_by_one_code_per_boundary():
    """The soft quantizer passes through the codes: M = 0, s, 2s at weights 0, s, 2s."""
    w = np.array([[0.0], [0.35], [0.7], [1.4], [2.8], [-1.4]])
    got = Smoothstep().antiderivative(w, np.array([0.7]), 2, START)[:, 0]
    np.testing.assert_allclose(got, [0.0, 0.35, 0.7, 1.4, 1.4, -1.4])


def test_smoothstep_unit_by_hand(dtype):
    """β = 1: 4t(1 − t), peak 1."""
    got = at(SmoothstepUnit(), [0.0, 0.25, 0.5, -0.75, 1.0], dtype=dtype)
    np.testing.assert_array_equal(got, [0.0, 0.75, 1.0, 0.75, 0.0])


@ends
def test_smoothstep_unit_is_smoothstep_with_another_height(progress):
    """The two masks differ by the factor 2/(3β), and so do their antiderivatives."""
    w, unit = problem(2)
    factor = 2.0 / (3.0 * Smoothstep().beta(progress))
    expected = factor * mask_of(Smoothstep(), w, unit, 2, progress)
    np.testing.assert_allclose(mask_of(SmoothstepUnit(), w, unit, 2, progress), expected, rtol=0, atol=1e-14)
    declared = [shape.antiderivative(w, unit, 2, progress) for shape in (SmoothstepUnit(), Smoothstep())]
    np.testing.assert_allclose(declared[0], factor * declared[1], rtol=0, atol=1e-14)


def test_plateau_by_hand(dtype):
    """β = 1: 1 at every code, ½ at half a cell from it, and beyond the last code 1 − z²(3 − 2z) until z = 1."""
    got = at(SmoothstepPlateau(), [0.0, 1.0, -1.0, 0.5, -0.5, 0.25, 1.5, 2.0, 2.5], dtype=dtype)
    np.testing.assert_array_equal(got, [1.0, 1.0, 1.0, 0.5, 0.5, 0.84375, 0.5, 0.0, 0.0])


def test_plateau_is_closed_between_codes_at_the_end(dtype):
    """β = 20: closed at the boundary where smoothstep is open, half open 1/40 from a code."""
    got = at(SmoothstepPlateau(), [0.5, 0.0, 0.025, 1.025, 0.05, 0.1], progress=END, dtype=dtype)
    np.testing.assert_allclose(got, [0.0, 1.0, 0.5, 0.5, 0.0, 0.0], atol=1e-5)


def test_plateau_opens_at_codes_of_any_size(dtype):
    """With codes up to 7 every integer is open, and 8 is not."""
    got = at(SmoothstepPlateau(), np.arange(-8, 9).astype(float), max_code=7, progress=END, dtype=dtype)
    np.testing.assert_array_equal(got, [0.0, *[1.0] * 15, 0.0])


def test_plateau_antiderivative_by_hand():
    """±(z − z³ + z⁴/2)·s/β around a code, s/(2β) beyond its window."""
    w, unit = np.array([[0.0], [0.5], [-0.5], [1.0], [3.0], [6.0]]), np.array([2.0])
    got = SmoothstepPlateau(beta_start=2.0).antiderivative(w, unit, 1, START)[:, 0]
    z = 0.5
    inside = (z - z**3 + z**4 / 2) * 2.0 / 2.0
    np.testing.assert_allclose(got, [0.0, inside, -inside, 0.5, 0.5, 0.5])
