"""Heads side by side: columns of one readout, split for terms and joined again for the backward pass."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.finite_differences import gradient_of, relative_error
from kdrun.core.random import Stream
from kdrun.models.cfc import Cfc
from kdrun.models.contract import Readout
from kdrun.models.discover import cells
from tests.core.comparing import assert_bits, assert_gradient, too_slow_without_jit, unchanged

HEADS = {"logits": 4, "valence": 1, "prediction": 2}
STREAM = Stream(9, 0, "readout")
STEPS, BATCH, INPUTS = 3, 4, 2
every_cell = pytest.mark.parametrize("cell", cells().values(), ids=cells())


class Case:
    """A small network with three heads, its parameters and inputs, and gradients of its heads."""

    def __init__(self, cell, dtype="float64", heads=HEADS):
        self.network = cell.example().build(INPUTS, heads, 0.5, dtype)
        self.parameters = self.network.initial_parameters(STREAM, dtype)
        for name, array in self.parameters.items():
            array[...] += STREAM.child(name).uniform(1, array.shape, -0.2, 0.2, "float32").astype(dtype)
        self.inputs = STREAM.uniform(0, (STEPS, BATCH, INPUTS), -1.0, 1.0, "float32").astype(dtype)
        self.slopes = {
            name: STREAM.child(name).uniform(2, (STEPS, BATCH, columns), -1.0, 1.0, "float32").astype(dtype)
            for name, columns in heads.items()
        }

    def forward(self, want=frozenset(HEADS)):
        """Copies of some outputs."""
        found = self.network.forward(self.parameters, self.inputs, frozenset(want))
        return {name: array.copy() for name, array in found.items()}

    def backward(self, slopes):
        """Gradients of every parameter, after a forward pass."""
        gradients = self.parameters.like()
        self.network.backward(self.parameters, self.inputs, slopes, gradients)
        return gradients

    def loss(self):
        """The scalar whose gradient `backward` gives for all slopes."""
        return float(sum((self.slopes[name] * output).sum() for name, output in self.forward().items()))


def test_heads_stand_side_by_side_in_their_order():
    """Three heads of widths 4, 1 and 2 are columns 0 … 3, 4, and 5 … 6."""
    readout, columns = Readout(HEADS), np.arange(14.0).reshape(2, 7)
    got = readout.split(columns, frozenset(HEADS))
    assert (readout.width, readout.names) == (7, frozenset(HEADS))
    np.testing.assert_array_equal(got["logits"], columns[:, :4])
    np.testing.assert_array_equal(got["valence"], columns[:, 4:5])
    np.testing.assert_array_equal(got["prediction"], columns[:, 5:])
    assert all(array.flags.c_contiguous for array in got.values())


def test_only_wanted_heads_are_split_off():
    """What nobody wants is not copied, of several heads or of one."""
    columns = np.arange(14.0).reshape(2, 7)
    assert set(Readout(HEADS).split(columns, frozenset({"valence", "hidden"}))) == {"valence"}
    assert Readout({"logits": 7}).split(columns, frozenset({"hidden"})) == {}


def test_an_only_head_is_the_array_itself():
    """A network with one head copies nothing, forward or backward."""
    readout, columns = Readout({"logits": 7}), np.arange(14.0).reshape(2, 7)
    assert readout.split(columns, frozenset({"logits"}))["logits"] is columns
    assert readout.join({"logits": columns}, np.empty((2, 7))) is columns


def test_joining_undoes_splitting():
    """Split and joined again the columns have their bits, whatever stood in their place."""
    readout, columns = Readout(HEADS), np.arange(14.0).reshape(2, 7)
    parts = readout.split(columns, frozenset(HEADS))
    unchanged(parts, lambda: readout.join(parts, np.empty((2, 7))))
    assert_bits(readout.join(parts, np.full((2, 7), np.nan)), columns)


def test_a_head_without_a_gradient_has_zeros():
    """Gradients of one head leave nothing of a step before in the columns of the others."""
    got = Readout(HEADS).join({"valence": np.ones((2, 1))}, np.full((2, 7), np.nan))
    np.testing.assert_array_equal(got, [[0, 0, 0, 0, 1, 0, 0]] * 2)


@pytest.mark.parametrize("heads", [HEADS, {"logits": 7}], ids=["three heads", "one head"])
def test_no_gradient_of_any_head_is_none(heads):
    """Where only hidden states have a gradient the readout takes no part."""
    assert Readout(heads).join({"hidden": np.ones((2, 3))}, np.empty((2, 7))) is None


@every_cell
def test_a_network_has_the_heads_that_it_is_asked_for(cell, dtype):
    """Each head is an output of its own, of its width, contiguous."""
    case = Case(cell, dtype)
    found = case.network.forward(case.parameters, case.inputs, frozenset(case.network.outputs))
    assert set(found) == {*HEADS, "hidden"}
    for name, columns in HEADS.items():
        assert case.network.outputs[name] == (columns,)
        assert found[name].shape == (STEPS, BATCH, columns)
        assert found[name].dtype == dtype
        assert found[name].flags.c_contiguous


@every_cell
def test_heads_are_columns_of_one_readout(cell, dtype):
    """A network with one head of the same width and parameters has the same bits in its columns."""
    several, one = Case(cell, dtype), Case(cell, dtype, {"all": 7})
    expected = one.forward(frozenset({"all"}))["all"]
    got = several.forward()
    assert_bits(np.concatenate([got[name] for name in HEADS], axis=-1), expected)


@every_cell
def test_a_head_is_the_same_whatever_else_is_wanted(cell, dtype):
    """Each head alone has the bits that it has among all."""
    case = Case(cell, dtype)
    expected = case.forward()
    for name in HEADS:
        got = case.forward(frozenset({name}))
        assert set(got) == {name}
        assert_bits(got[name], expected[name])


@pytest.mark.parametrize("want", [set(HEADS), {next(iter(HEADS))}, {"hidden", [*HEADS][-1]}], ids=sorted)
@pytest.mark.parametrize("places", [(0,), (1, 0)])
@pytest.mark.parametrize("shape", [(STEPS, BATCH, INPUTS), (1, 1, INPUTS)])
def test_passes_of_several_students_have_the_heads_that_are_wanted(want, places, shape, dtype):
    """They are what each student's own passes give, whatever gradients another head had before."""
    network, rng = Case(Cfc, dtype).network, np.random.default_rng(4)
    wide = {name: (*tensor.shape[:-1], 2 * tensor.shape[-1]) for name, tensor in network.tensors.items()}
    weights = {name: rng.uniform(-0.5, 0.5, size).astype(dtype) for name, size in wide.items()}
    alone, together = ({name: np.zeros_like(array) for name, array in weights.items()} for _ in range(2))
    inputs = rng.uniform(-1.0, 1.0, shape).astype(dtype)
    slopes = {name: rng.uniform(-1.0, 1.0, (*shape[:2], *size)).astype(dtype) for name, size in network.outputs.items()}
    passes = network.passes(places, shape, frozenset(want))
    passes.forward(weights, inputs)
    outputs = {name: array.copy() for name, array in passes.outputs.items()}
    for student, place in enumerate(places):
        expected = network.forward(weights, inputs, frozenset(want), place)
        for name in want:
            assert_bits(outputs[name][student], expected[name])
        network.backward(weights, inputs, {name: slopes[name] for name in want}, alone, place)
        network.backward(weights, inputs, slopes, together, place)
    passes.forward(weights, inputs)
    for name in want:
        passes.slopes[name][...] = slopes[name]
    passes.backward(weights, together)
    for place in places:
        for name, array in together.items():
            own = np.split(array, 2, axis=-1)[place]
            assert_bits(np.ascontiguousarray(own), np.ascontiguousarray(np.split(alone[name], 2, axis=-1)[place]))


@too_slow_without_jit
@every_cell
def test_gradients_through_all_heads_are_those_of_finite_differences(cell):
    """Every parameter's gradient is the numeric slope of the sum over heads."""
    case = Case(cell)
    case.forward()
    got = case.backward(case.slopes)
    for name, array in case.parameters.items():
        expected = gradient_of(case.loss, array, 1e-2)
        assert np.linalg.norm(expected) > 0.0
        assert relative_error(got[name], expected).max() < 1e-6, name


@every_cell
def test_heads_add_up(cell, dtype):
    """Gradients of single heads, one after another, add up to those of all: nothing is left from the head before."""
    case = Case(cell, dtype)
    case.forward()
    expected = case.backward(case.slopes).flat
    got = np.zeros_like(expected, dtype=np.float64)
    for name, slope in case.slopes.items():
        part = case.backward({name: slope}).flat
        assert np.linalg.norm(part) > 0.0
        got += part
    assert_gradient(got, expected, 1e-5 if dtype == np.float32 else 1e-13)


@every_cell
def test_gradients_of_heads_are_only_read(cell, dtype):
    """A backward pass leaves the gradients that it is handed alone."""
    case = Case(cell, dtype)
    case.forward()
    unchanged(case.slopes, lambda: case.backward(case.slopes))
