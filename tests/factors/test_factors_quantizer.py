"""Quantizers and granularities: a battery over every level, and ternary by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.parameters import ParameterSet
from kdrun.engine.combinations import variants
from kdrun.factors.contract import Granularity, Quantizer
from kdrun.factors.granularity.per_row import PerRow
from kdrun.factors.granularity.per_tensor import PerTensor
from kdrun.factors.quantizer.float import Float
from kdrun.factors.quantizer.int4 import Int4
from kdrun.factors.quantizer.int8 import Int8
from kdrun.factors.quantizer.prox import Prox
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.factors.quantizer.ttq import Ttq
from kdrun.factors.quantizer.twn import Twn
from tests.core.comparing import assert_bits, assert_gradient
from tests.factors.discovered import END, ENDS, START, Progress, battery, draw, every_level
from tests.naive import quantization as naive

ROWS, COLUMNS = 9, 17


def quantizing(level_class):
    """Quantizers that do quantize."""
    return issubclass(level_class, Quantizer) and level_class().max_code > 0


def kinds_of(level_class):
    """A quantizer by default, and with each other word for one of its parameters but its granularity."""
    return [level_class(), *(level for level in variants(level_class) if "granularity" not in level.model_fields_set)]


found = [level for kind in every_level().values() if quantizing(kind) for level in kinds_of(kind)]
every_quantizer = pytest.mark.parametrize("level", found, ids=repr)


def trained_names(level):
    """The scales that are trained."""
    return [name for name in level.scale_names if name not in level.measured_names]


every_trained_quantizer = pytest.mark.parametrize("level", [level for level in found if trained_names(level)], ids=repr)
every_measured_quantizer = pytest.mark.parametrize(
    "level", [level for level in found if level.measured_names], ids=repr
)


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

    def along_scales(self, start):
        """Effective weights along which gradients of scales are declared, from `start` to the scales that are."""
        out = np.full_like(self.w, np.nan)
        self.level.along_scales(self.w, self.codes, start, self.scales, out)
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


@every_trained_quantizer
@pytest.mark.parametrize("progress", ENDS.values(), ids=ENDS)
def test_projected_scales_are_positive(level, progress, dtype):
    """Whatever an update does to the scales, projecting makes them positive, and doing it twice changes nothing."""
    matrix = Matrix(level, dtype)
    for name in trained_names(level):
        array = matrix.scales[name]
        array[...] = draw("stored", array.shape, dtype=dtype)
        array[0] = 0.0
    level.project_inplace(matrix.w, matrix.scales, progress)
    first = matrix.scales.flat.copy()
    level.project_inplace(matrix.w, matrix.scales, progress)
    assert all((array > 0).all() for array in matrix.scales.values())
    assert_bits(matrix.scales.flat, first)


@every_trained_quantizer
def test_scale_gradients_are_those_of_finite_differences(level):
    """The gradient of every scale is the numeric slope of a linear loss, along what the quantizer declares."""
    matrix, slopes = Matrix(level, "float64"), draw("slopes", (ROWS, COLUMNS))
    start, got = matrix.scales.copy(), matrix.scales.like()
    level.backward(slopes, matrix.w, matrix.codes, matrix.scales, got)
    for name in trained_names(level):
        array, expected = matrix.scales[name], np.empty(COLUMNS)
        for column in range(COLUMNS):
            values, middle = [], array[column]
            for offset in (1e-4, -1e-4):
                array[column] = middle + offset * middle
                values.append((slopes * matrix.along_scales(start)).sum())
            array[column] = middle
            expected[column] = (values[0] - values[1]) / (2e-4 * middle)
        assert_gradient(got[name], expected, 1e-8)


@every_quantizer
def test_what_scales_are_checked_along_begins_at_the_weights_that_run(level):
    """Scales that have not moved give the effective weights, and so does a scale's rule without a slope."""
    matrix = Matrix(level, "float64")
    np.testing.assert_allclose(matrix.along_scales(matrix.scales), matrix.w_eff, rtol=1e-12, atol=1e-15)


@every_quantizer
def test_bits_tell_all_codes_apart(level):
    """As many bits as there must be for 2·max_code + 1 codes, and not one more."""
    assert 2 ** (level.bits - 1) < 2 * level.max_code + 1 <= 2**level.bits


@every_measured_quantizer
def test_measuring_anew_reaches_measured_scales_alone(level, dtype):
    """They become those that the weights measure; trained scales keep their bits, and weights theirs."""
    matrix = Matrix(level, dtype)
    expected, w = matrix.scales.copy(), matrix.w.copy()
    for name in level.scale_names:
        matrix.scales[name][...] = 7.0
        if name not in level.measured_names:
            expected[name][...] = 7.0
    level.remeasure(matrix.w, matrix.scales)
    assert_bits(matrix.scales.flat, expected.flat)
    assert_bits(matrix.w, w)


@every_quantizer
def test_measured_names_are_names_of_scales(level):
    """What is measured anew is stored with the others."""
    assert set(level.measured_names) <= set(level.scale_names)


@every_quantizer
@pytest.mark.parametrize("progress", ENDS.values(), ids=ENDS)
def test_pulling_leaves_effective_weights_where_they_are(level, progress, dtype):
    """Weights at their effective ones stay there to the bit, and others come no farther from them."""
    matrix = Matrix(level, dtype)
    before, at = np.abs(matrix.w - matrix.w_eff), matrix.w_eff.copy()
    level.pull_inplace(at, matrix.w_eff, progress)
    assert_bits(at, matrix.w_eff)
    level.pull_inplace(matrix.w, matrix.w_eff, progress)
    assert (np.abs(matrix.w - matrix.w_eff) <= before).all()


@every_quantizer
def test_training_ends_quantized(level):
    """Every quantizer is in force once training is over."""
    assert level.is_in_force(END)


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
    if trained_names(level):
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
    assert got.bits == 32


def column(*weights):
    """One column of weights."""
    return np.array([weights]).T


def test_bits_by_hand():
    """8, 4, and 2 for a trit."""
    got = {level.name: level.bits for level in (Int8(), Int4(), Ternary(), Twn(), Ttq(), Prox())}
    assert got == {"int8": 8, "int4": 4, "ternary": 2, "twn": 2, "ttq": 2, "prox": 2}


def test_int8_by_hand(dtype):
    """A largest weight of −2.54 makes s = 0.02: 1.0 is 50 steps, and 0.009 none."""
    got = Matrix(Int8(), dtype, column(1.0, -2.54, 0.009, 0.03125))
    np.testing.assert_allclose(got.scales["scale"], [0.02], rtol=1e-6)
    np.testing.assert_array_equal(got.codes[:, 0], [50, -127, 0, 2])
    np.testing.assert_allclose(got.w_eff[:, 0], [1.0, -2.54, 0.0, 0.04], rtol=1e-6)


def test_int4_by_hand(dtype):
    """A largest weight of 1.4 makes s = 0.2: −0.45 is −2 steps, 0.31 is 2, and −0.05 none."""
    got = Matrix(Int4(), dtype, column(1.4, -0.45, 0.31, -0.05))
    np.testing.assert_allclose(got.scales["scale"], [0.2], rtol=1e-6)
    np.testing.assert_array_equal(got.codes[:, 0], [7, -2, 2, 0])
    np.testing.assert_allclose(got.w_eff[:, 0], [1.4, -0.4, 0.4, 0.0], rtol=1e-6)


def test_a_scale_that_has_shrunk_clips():
    """With s = 0.1 int4 reaches ±0.7, whatever the weight."""
    got = Matrix(Int4(), "float64", column(1.4, -0.5, -3.0))
    got.scales["scale"][:] = 0.1
    got.quantize()
    np.testing.assert_array_equal(got.codes[:, 0], [7, -5, -7])


@pytest.mark.parametrize(("scale", "expected"), [("learned", 0.4), ("absmean", 0.4), ("absmax", 0.7)])
def test_a_ternary_scale_is_the_mean_or_the_largest(scale, expected):
    """Mean 0.4 and largest 0.7 of 0.3, −0.1, 0.5, −0.7; a learned scale starts at the mean."""
    got = Matrix(Ternary(scale=scale), "float64", column(0.3, -0.1, 0.5, -0.7))
    np.testing.assert_allclose(got.scales["scale"], [expected], rtol=1e-12)


def test_lsq_scale_gradient_by_hand():
    """Places 0.75, −0.25, 1.25, −1.75 have slopes 0.25, 0.25 inside and 1, −1 outside, weighed by 1, 2, 3, 4."""
    got, w = {"scale": np.empty(1)}, column(0.3, -0.1, 0.5, -0.7)
    codes, slopes = column(1.0, 0.0, 1.0, -1.0), column(1.0, 2.0, 3.0, 4.0)
    Ternary(scale_grad="lsq").backward(slopes, w, codes, {"scale": np.array([0.4])}, got)
    np.testing.assert_allclose(got["scale"], [0.25 + 0.5 + 3.0 - 4.0], rtol=1e-12)


def test_lsq_moves_weights_by_their_residuals_inside_and_their_codes_outside():
    """From s = 0.4 to 0.5: 0.3 becomes 0.4 + 0.25·0.1, and −0.7 becomes −0.5."""
    got, w = np.empty((2, 1)), column(0.3, -0.7)
    start, scales = {"scale": np.array([0.4])}, {"scale": np.array([0.5])}
    Ternary(scale_grad="lsq").along_scales(w, column(1.0, -1.0), start, scales, got)
    np.testing.assert_allclose(got[:, 0], [0.425, -0.5], rtol=1e-12)


def test_the_lsq_gradient_jumps_at_the_ends_of_the_clip_range():
    """The check keeps away from ±7 units of int4, and from no more than boundaries where the gradient is exact."""
    unit = np.array([0.5, 1.0])
    np.testing.assert_array_equal(Int4(scale_grad="lsq").scale_kinks(unit), [[-3.5, -7.0], [3.5, 7.0]])
    assert Int4().scale_kinks(unit).shape == (0, 2)


def test_a_measured_scale_has_no_gradient_to_choose():
    """A study that asks for the surrogate of a scale that is not learned is told what to do."""
    with pytest.raises(ValueError, match="leave scale_grad out, or let scale be learned"):
        Int4(scale="absmax", scale_grad="lsq")


def test_twn_by_hand(dtype):
    """Mean 0.4 makes Δ = 0.28; beyond it lie 0.3, 0.5 and −0.7, whose mean magnitude is 0.5."""
    got = Matrix(Twn(), dtype, column(0.3, -0.1, 0.5, -0.7))
    np.testing.assert_allclose(got.scales["threshold"], [0.28], rtol=1e-6)
    np.testing.assert_allclose(got.scales["scale"], [0.5], rtol=1e-6)
    np.testing.assert_array_equal(got.codes[:, 0], [1, 0, 1, -1])
    np.testing.assert_allclose(got.w_eff[:, 0], [0.5, 0.0, 0.5, -0.5], rtol=1e-6)
    np.testing.assert_allclose(Twn().unit(got.w, got.scales), [0.56], rtol=1e-6)


def test_twn_is_that_of_plain_loops(dtype):
    """Threshold, scale and weights are those of the naive reference."""
    got = Matrix(Twn(), dtype)
    threshold = 0.7 * naive.mean_magnitude(got.w)
    np.testing.assert_allclose(got.scales["threshold"], threshold, rtol=1e-6)
    np.testing.assert_allclose(got.scales["scale"], naive.mean_above(got.w, threshold), rtol=1e-6)
    np.testing.assert_array_equal(got.codes, naive.threshold_codes(got.w, threshold))
    np.testing.assert_array_equal(got.w_eff, naive.effective(got.codes, got.scales["scale"]))


def test_no_scale_is_nearer_than_that_of_twn():
    """For the codes of its threshold, the mean beyond it is the scale of least squared error."""
    matrix = Matrix(Twn(), "float64")
    least = ((matrix.w_eff - matrix.w) ** 2).sum(axis=0)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert (((factor * matrix.w_eff - matrix.w) ** 2).sum(axis=0) > least).all()


def test_ttq_by_hand(dtype):
    """Largest 0.8 makes Δ = 0.04: 0.3, 0.5 and −0.8 lie beyond it, and both magnitudes start at their mean 8/15."""
    got = Matrix(Ttq(), dtype, column(0.3, -0.03, 0.5, -0.8))
    np.testing.assert_allclose(got.scales["threshold"], [0.04], rtol=1e-6)
    np.testing.assert_array_equal(got.codes[:, 0], [1, 0, 1, -1])
    for name in ("positive", "negative"):
        np.testing.assert_allclose(got.scales[name], [1.6 / 3], rtol=1e-6)
    got.scales["positive"][:], got.scales["negative"][:] = 2.0, 3.0
    np.testing.assert_array_equal(got.effective()[:, 0], [2.0, 0.0, 2.0, -3.0])


def test_ttq_gradients_by_hand():
    """Codes 1, 0, 1, −1 and slopes 2, 3, 5, 7 give 2 + 5 for positive weights and −7 for negative ones."""
    got = {"positive": np.empty(1), "negative": np.empty(1)}
    codes, ones = column(1.0, 0.0, 1.0, -1.0), {name: np.ones(1) for name in Ttq.scale_names}
    Ttq().backward(column(2.0, 3.0, 5.0, 7.0), codes, codes, ones, got)
    assert (got["positive"][0], got["negative"][0]) == (7.0, -7.0)


def test_ttq_is_that_of_plain_loops(dtype):
    """Codes, weights and gradients are those of the naive reference, with magnitudes that differ."""
    level, got = Ttq(), Matrix(Ttq(), dtype)
    got.scales["negative"][:] *= 2.0
    got.quantize()
    threshold = 0.05 * naive.largest_magnitude(got.w, 1)
    np.testing.assert_array_equal(got.codes, naive.threshold_codes(got.w, threshold))
    expected = naive.signed_magnitudes(got.codes, got.scales["positive"], got.scales["negative"])
    np.testing.assert_array_equal(got.w_eff, expected)
    slopes, gradients = draw("slopes", got.w.shape, dtype=dtype), got.scales.like()
    level.backward(slopes, got.w, got.codes, got.scales, gradients)
    for name, gradient in zip(("positive", "negative"), naive.signed_gradients(slopes, got.codes), strict=True):
        assert_gradient(gradients[name], gradient, 1e-5)


def test_prox_by_hand():
    """ρ = 0.5 halfway to 1: 0.3 is drawn a third of the way to 0.5, and −0.1 to 0."""
    level, matrix = Prox(rho_end=1.0), Matrix(Prox(), "float64", column(0.3, -0.1, 0.5, -0.7))
    level.pull_inplace(matrix.w, matrix.w_eff, Progress(50, 100))
    np.testing.assert_allclose(matrix.w[:, 0], [1.1 / 3, -0.2 / 3, 0.5, -1.9 / 3], rtol=1e-12)


def test_prox_pulls_harder_and_harder():
    """ρ grows linearly from 0, so what is left of the distance is 1, 1/(1 + ρ/2), 1/(1 + ρ)."""
    level, left = Prox(rho_end=3.0), []
    for progress in ENDS.values():
        matrix = Matrix(level, "float64")
        before = matrix.w - matrix.w_eff
        level.pull_inplace(matrix.w, matrix.w_eff, progress)
        left.append(((matrix.w - matrix.w_eff) / before).mean())
    np.testing.assert_allclose(left, [1.0, 1.0 / 2.5, 1.0 / 4.0], rtol=1e-12)


def test_prox_ends_at_ternary_weights():
    """Drawn again and again, latent weights become three values in each column, and then stay."""
    level, matrix = Prox(rho_end=1.0), Matrix(Prox(), "float64")
    for _ in range(200):
        level.remeasure(matrix.w, matrix.scales)
        matrix.quantize()
        level.pull_inplace(matrix.w, matrix.w_eff, END)
    np.testing.assert_allclose(matrix.w, matrix.w_eff, rtol=1e-12, atol=1e-50)
    assert all(np.unique(np.round(matrix.w[:, c], 9)).size <= 3 for c in range(COLUMNS))


def test_prox_runs_on_latent_weights_until_the_end():
    """It is in force after the last step and not before."""
    assert [Prox().is_in_force(Progress(step, 3)) for step in range(4)] == [False, False, False, True]


# ------------------------------------------------------------------------------------------------ theory


def reconstruction_errors(level, granularity, w):
    """Squared errors of effective weights, with scales that a granularity shares out."""
    stored = ParameterSet(dict.fromkeys(level.scale_names, granularity.stored_shape(w.shape[1])), w.dtype)
    level.measure(granularity.grouped(w), stored)
    columns = ParameterSet(dict.fromkeys(level.scale_names, w.shape[1:]), w.dtype)
    for name, array in stored.items():
        granularity.spread(array, columns[name])
    codes, w_eff = np.empty_like(w), np.empty_like(w)
    level.quantize(w, columns, codes, w_eff)
    return (w_eff - w) ** 2


@pytest.mark.parametrize("level", [Int8(), Int4(), Ternary(), Twn(), Prox()], ids=repr)
def test_scales_of_ones_own_reconstruct_rows_of_different_sizes_better(level, dtype):
    """Where rows differ in size, per_row leaves a smaller error than per_tensor."""
    w = draw("sizes", (40, 17), dtype=dtype) * np.geomspace(0.01, 1.0, 17).astype(dtype)
    own, shared = (reconstruction_errors(level, granularity, w).sum() for granularity in (PerRow(), PerTensor()))
    assert 0.0 < own < shared


@pytest.mark.parametrize("level", [Int8(), Int4()], ids=repr)
@pytest.mark.parametrize("granularity", [PerRow(), PerTensor()], ids=repr)
def test_rounding_is_off_by_half_a_step_at_most(level, granularity):
    """|ŵ − w| ≤ s/2 where s comes from the largest weight, and some weight is nearly as far."""
    w = draw("bound", (300, 17))
    got = np.sqrt(reconstruction_errors(level, granularity, w))
    half = np.abs(granularity.grouped(w)).max(axis=0) / level.max_code / 2
    assert (got <= half * (1 + 1e-9)).all()
    assert (got.max(axis=0) > 0.9 * half).all()


def test_more_bits_reconstruct_better():
    """The error falls from ternary to int4 to int8."""
    w = draw("bits", (40, 17))
    got = [reconstruction_errors(level, PerRow(), w).sum() for level in (Ternary(), Int4(), Int8())]
    assert got[0] > 10 * got[1] > 100 * got[2] > 0.0


def test_a_shared_gradient_is_summed_in_order(dtype):
    """One rounding after another, from the first column to the last."""
    slopes, got = draw("slopes", (17,), dtype=dtype), np.full(1, np.nan, dtype)
    PerTensor().gather(slopes, got)
    expected = np.dtype(dtype).type(0.0)
    for slope in slopes:
        expected += slope
    assert_bits(got, np.array([expected], dtype))


def test_twn_per_tensor_is_that_of_all_its_weights():
    """Threshold and scale of the whole matrix, not means of those of its rows."""
    w = draw("sizes", (40, 17)) * np.geomspace(0.01, 1.0, 17)
    got = {name: np.empty(1) for name in Twn.scale_names}
    Twn().measure(PerTensor().grouped(w), got)
    magnitudes = np.abs(w)
    np.testing.assert_allclose(got["threshold"], [0.7 * magnitudes.mean()], rtol=1e-12)
    np.testing.assert_allclose(got["scale"], [magnitudes[magnitudes > 0.7 * magnitudes.mean()].mean()], rtol=1e-12)
