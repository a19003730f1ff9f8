"""Quantizers and granularities: a battery over every level, and ternary by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.parameters import ParameterSet
from kdrun.factors.contract import Granularity, Quantizer
from kdrun.factors.quantizer.float import Float
from kdrun.factors.quantizer.ternary import Ternary
from tests.core.comparing import assert_bits, assert_gradient
from tests.factors.discovered import ENDS, START, battery, draw, every_level
from tests.naive import quantization as naive

ROWS, COLUMNS = 9, 17


def quantizing(level_class):
    """Quantizers that do quantize."""
    return issubclass(level_class, Quantizer) and level_class().max_code > 0


found = {name: level for name, level in every_level().items() if quantizing(level)}
every_quantizer = pytest.mark.parametrize("level", [level() for level in found.values()], ids=list(found))


class Matrix:
    """One matrix under a quantizer, with measured scales."""

    def __init__(self, level, dtype, w=None):
        self.level, self.dtype = level, np.dtype(dtype)
        self.w = draw("w", (ROWS, COLUMNS), dtype=dtype) if w is None else w.astype(dtype)
        self.scales = ParameterSet(dict.fromkeys(level.scale_names, (self.w.shape[1],)), dtype)
        level.measure(self.w, self.scales)
        self.codes, self.w_eff = np.full_like(self.w, np.nan), np.full_like(self.w, np.nan)
        self.quantize()

    def quantize(self):
        """Codes and effective weights of the weights and scales that are."""
        self.level.quantize(self.w, self.scales, self.codes, self.w_eff)

    def effective(self):
        """Effective weights of the codes that are."""
        out = np.full_like(self.w, np.nan)
        self.level.effective(self.codes, self.scales, out)
        return out


# ------------------------------------------------------------------------------------------------ every quantizer


@every_quantizer
def test_codes_are_integers_within_their_range(level, dtype):
    """Every code is an integer from −max_code to max_code, and not all are the same."""
    got = Matrix(level, dtype).codes
    assert (got == np.rint(got)).all()
    assert np.abs(got).max() <= level.max_code
    assert np.unique(got).size > 1


@every_quantizer
def test_frozen_codes_give_the_weights_that_quantizing_gave(level, dtype):
    """`effective` of the codes is w_eff of `quantize`, bit for bit."""
    matrix = Matrix(level, dtype)
    assert_bits(matrix.effective(), matrix.w_eff)


@every_quantizer
def test_quantizing_effective_weights_changes_nothing(level, dtype):
    """Effective weights are fixed points under the same scales."""
    matrix = Matrix(level, dtype)
    codes, expected = matrix.codes.copy(), matrix.w_eff.copy()
    matrix.w = expected.copy()
    matrix.quantize()
    np.testing.assert_array_equal(matrix.codes, codes)
    assert_bits(np.abs(matrix.w_eff), np.abs(expected))


@every_quantizer
def test_measured_scales_are_positive(level, dtype):
    """Scales start finite and above zero, also for a matrix of zeros."""
    for w in (None, np.zeros((ROWS, COLUMNS))):
        got = Matrix(level, dtype, w).scales
        for array in got.values():
            assert np.isfinite(array).all()
            assert (array > 0).all()


@every_quantizer
@pytest.mark.parametrize("progress", ENDS.values(), ids=ENDS)
def test_projected_scales_are_positive(level, progress, dtype):
    """Whatever an update does to the scales, projecting makes them positive, and doing it twice changes nothing."""
    matrix = Matrix(level, dtype)
    for array in matrix.scales.values():
        array[...] = draw("stored", array.shape, dtype=dtype)
        array[0] = 0.0
    level.project_inplace(matrix.w, matrix.scales, progress)
    first = matrix.scales.flat.copy()
    level.project_inplace(matrix.w, matrix.scales, progress)
    assert all((array > 0).all() for array in matrix.scales.values())
    assert_bits(matrix.scales.flat, first)


@every_quantizer
def test_scale_gradients_are_those_of_finite_differences(level):
    """With codes frozen, the gradient of every scale is the numeric slope of a linear loss."""
    matrix, slopes = Matrix(level, "float64"), draw("slopes", (ROWS, COLUMNS))
    got = matrix.scales.like()
    level.backward(slopes, matrix.w, matrix.codes, matrix.scales, got)
    for name, array in matrix.scales.items():
        expected = np.empty(COLUMNS)
        for column in range(COLUMNS):
            values, middle = [], array[column]
            for offset in (1e-4, -1e-4):
                array[column] = middle + offset * middle
                values.append((slopes * matrix.effective()).sum())
            array[column] = middle
            expected[column] = (values[0] - values[1]) / (2e-4 * middle)
        assert_gradient(got[name], expected, 1e-8)


@every_quantizer
def test_codes_change_at_half_cells(level):
    """A weight just below the first boundary has another code than one just above: the cell's width is `unit`."""
    matrix = Matrix(level, "float64")
    unit = level.unit(matrix.w, matrix.scales).copy()
    codes = []
    for position in (0.499, 0.501):
        matrix.w = np.broadcast_to(position * unit, (ROWS, COLUMNS)).copy()
        matrix.quantize()
        codes.append(matrix.codes.copy())
    assert (codes[0] != codes[1]).all()


@every_quantizer
def test_a_quantizer_only_writes_what_it_says(level, dtype):
    """Measuring, quantizing and gradients leave latent weights alone; quantizing leaves the scales alone."""
    matrix = Matrix(level, dtype)
    w, scales, slopes = matrix.w.copy(), matrix.scales.flat.copy(), draw("slopes", (ROWS, COLUMNS), dtype=dtype)
    given = slopes.copy()
    matrix.quantize()
    matrix.effective()
    level.backward(slopes, matrix.w, matrix.codes, matrix.scales, matrix.scales.like())
    assert_bits(matrix.w, w)
    assert_bits(matrix.scales.flat, scales)
    assert_bits(slopes, given)


@every_quantizer
def test_columns_do_not_know_each_other(level, dtype):
    """A column alone has the scale and the weights that it has among others."""
    matrix = Matrix(level, dtype)
    alone = Matrix(level, dtype, matrix.w[:, 5:6].copy())
    assert_bits(alone.w_eff[:, 0], matrix.w_eff[:, 5])


# ------------------------------------------------------------------------------------------------ granularities


@battery(Granularity)
@pytest.mark.parametrize("columns", [1, 16, 17, 48])
def test_gathering_is_the_transpose_of_spreading(level, columns, dtype):
    """⟨spread(s), d⟩ = ⟨s, gather(d)⟩ for any scales and gradients."""
    stored, slopes = draw("stored", level.stored_shape(columns), dtype=dtype), draw("slopes", (columns,), dtype=dtype)
    spread, gathered = np.full(columns, np.nan, dtype), np.full_like(stored, np.nan)
    level.spread(stored, spread)
    level.gather(slopes, gathered)
    assert float((spread * slopes).sum()) == pytest.approx(float((stored * gathered).sum()), rel=1e-5)


@battery(Granularity)
def test_groups_are_the_weights_that_a_stored_scale_reaches(level, dtype):
    """Weights that say which scale is spread to them are, grouped, columns of one number: that of their scale."""
    stored = np.arange(np.prod(level.stored_shape(COLUMNS)), dtype=dtype)
    columns = np.full(COLUMNS, np.nan, dtype)
    level.spread(stored, columns)
    got = level.grouped(np.broadcast_to(columns, (ROWS, COLUMNS)).copy())
    np.testing.assert_array_equal(got, np.broadcast_to(stored, (ROWS * COLUMNS // stored.size, stored.size)))


# ------------------------------------------------------------------------------------------------ by hand


def test_ternary_by_hand(dtype):
    """A column 0.3, −0.1, 0.5, −0.7 has scale 0.4 and codes 1, 0, 1, −1."""
    got = Matrix(Ternary(), dtype, np.array([[0.3, -0.1, 0.5, -0.7]]).T)
    np.testing.assert_allclose(got.scales["scale"], [0.4], rtol=1e-6)
    np.testing.assert_array_equal(got.codes[:, 0], [1, 0, 1, -1])
    np.testing.assert_allclose(got.w_eff[:, 0], [0.4, 0.0, 0.4, -0.4], rtol=1e-6)


def test_ternary_scale_gradient_by_hand():
    """Codes 1, 0, −1 and slopes 2, 3, 5 give 2 − 5."""
    got = {"scale": np.empty(1)}
    codes = np.array([[1.0], [0.0], [-1.0]])
    Ternary().backward(np.array([[2.0], [3.0], [5.0]]), codes, codes, {"scale": np.ones(1)}, got)
    assert got["scale"][0] == -3.0


def test_ternary_is_that_of_plain_loops(dtype):
    """Codes and effective weights are those of the naive reference."""
    got = Matrix(Ternary(), dtype)
    expected = naive.codes(got.w, got.scales["scale"], 1)
    np.testing.assert_array_equal(got.codes, expected)
    np.testing.assert_array_equal(got.w_eff, naive.effective(expected, got.scales["scale"]))


def test_ternary_keeps_scales_above_the_floor():
    """Scales below 1e−6 become 1e−6."""
    stored = {"scale": np.array([-1.0, 0.0, 1e-9, 0.5])}
    Ternary().project_inplace(np.zeros((1, 4)), stored, START)
    np.testing.assert_array_equal(stored["scale"], [1e-6, 1e-6, 1e-6, 0.5])


def test_float_has_no_codes():
    """The float level says that weights are not quantized."""
    got = Float()
    assert got.max_code == 0
    assert got.scale_names == ()
