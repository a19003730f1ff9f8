"""Quantized parameters: scales that each column has of its own, and scales that columns share."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.engine.quantized import QuantizedParameters
from kdrun.factors.contract import Progress
from kdrun.factors.gradient.smoothstep import Smoothstep
from kdrun.factors.granularity.per_row import PerRow
from kdrun.factors.granularity.per_tensor import PerTensor
from kdrun.factors.quantizer.ternary import Ternary
from kdrun.models.cfc import Cfc
from tests.core.comparing import assert_bits

NOW = Progress(1, 4)


def quantized_with(granularity, dtype="float64"):
    """A small network's parameters, quantized."""
    network = Cfc(hidden=3).build(2, {"prediction": 1}, 0.1, dtype)
    latent = network.initial_parameters(Stream(2, 1, "init"), dtype)
    found = QuantizedParameters(network, latent, Ternary(), granularity)
    found.quantize()
    return found


def same_scales(per_tensor):
    """A set with a scale for each column, all of them those that the tensors share."""
    found = quantized_with(PerRow(), per_tensor.latent.flat.dtype)
    for name in found.stored:
        found.stored[name][:] = per_tensor.stored[name][0]
    found.quantize()
    return found


def test_per_row_is_a_scale_of_ones_own():
    """Nothing is pooled, spread or gathered."""
    assert PerRow().is_own
    assert not PerTensor().is_own


@pytest.mark.parametrize("name", ["grouped", "spread", "gather"])
def test_one_rule_is_enough_to_share(name):
    """A granularity that has any of the three rules itself is asked for all of them."""
    kind = type("Sharing", (PerRow,), {name: lambda *_: None, "name": "sharing", "__module__": __name__})
    assert not kind().is_own


def test_an_inherited_rule_counts():
    """A level below one that shares, shares."""

    class Below(PerTensor):
        name: ClassVar[str] = "below"

    assert not Below().is_own


def test_a_shared_scale_starts_from_what_the_columns_measure():
    """All weights of the matrix in one: the mean magnitude is that of its columns' own."""
    shared, own = quantized_with(PerTensor()), quantized_with(PerRow())
    for name in own.stored:
        np.testing.assert_allclose(shared.stored[name], [own.stored[name].mean()], rtol=1e-14)


def test_a_shared_scale_is_the_scale_of_every_column(dtype):
    """Codes, weights and cells are those of columns that all have that scale."""
    shared = quantized_with(PerTensor(), dtype)
    own = same_scales(shared)
    for name in shared.tensors:
        assert_bits(shared.codes[name], own.codes[name])
        assert_bits(shared.weights[name], own.weights[name])
        assert_bits(shared.unit(name), own.unit(name))


def test_the_gradient_of_a_shared_scale_is_the_sum_over_columns():
    """And gradients of latent weights are those of columns that all have that scale."""
    shared = quantized_with(PerTensor())
    own = same_scales(shared)
    rng = np.random.default_rng(3)
    gradient = {name: rng.normal(size=shared.latent[name].shape) for name in shared.tensors}
    again = {name: array.copy() for name, array in gradient.items()}
    for quantized, slopes in ((shared, gradient), (own, again)):
        quantized.backward(slopes)
        quantized.shape_inplace(slopes, Smoothstep(), NOW, np.array([0]), 1)
    for name, array in gradient.items():
        assert_bits(array, again[name])
        np.testing.assert_allclose(shared.dtrained[f"scale.{name}"], [own.dtrained[f"scale.{name}"].sum()], rtol=1e-14)


@pytest.mark.parametrize("granularity", [PerRow(), PerTensor()], ids=lambda level: level.name)
def test_a_step_of_the_stored_scales_reaches_the_weights(granularity):
    """Twice the scale is twice the weight while codes are frozen, and other codes once they are not."""
    quantized = quantized_with(granularity)
    before = {name: quantized.weights[name].copy() for name in quantized.tensors}
    codes = {name: quantized.codes[name].copy() for name in quantized.tensors}
    quantized.trained.flat[:] *= 2.0
    quantized.freeze()
    for name, array in before.items():
        assert_bits(quantized.weights[name], 2.0 * array)
    quantized.quantize()
    assert (quantized.codes["w"] != codes["w"]).any()


@pytest.mark.parametrize("granularity", [PerRow(), PerTensor()], ids=lambda level: level.name)
def test_weights_of_codes_are_those_that_run(granularity, dtype):
    """Each weight is found at the place of its code among its column's values."""
    quantized = quantized_with(granularity, dtype)
    for name in quantized.tensors:
        codes = quantized.codes[name]
        for row, column in np.ndindex(codes.shape):
            value = quantized.values_of_codes(name, column)[int(codes[row, column]) + 1]
            assert value == quantized.weights[name][row, column]


@pytest.mark.parametrize("granularity", [PerRow(), PerTensor()], ids=lambda level: level.name)
def test_a_finished_run_is_taken_over(granularity):
    """Scales and codes of one set give another the same weights."""
    first, second = quantized_with(granularity), quantized_with(granularity)
    first.trained.flat[:] *= 3.0
    first.quantize()
    arrays = {**first.stored, **{f"codes.{name}": first.codes[name] for name in first.tensors}}
    second.load(arrays)
    for name in first.tensors:
        assert_bits(second.weights[name], first.weights[name])


class OtherShape(PerRow):
    """Stores one scale, and does not say how it spreads."""

    name = "other_shape"

    def stored_shape(self, fan_out):
        return (1,)


def test_a_granularity_that_does_not_say_how_it_spreads_is_refused():
    """Scales that are not one for each column would be read beyond their end."""
    with pytest.raises(TypeError, match="needs grouped, spread and gather"):
        quantized_with(OtherShape())
