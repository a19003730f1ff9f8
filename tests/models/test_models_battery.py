"""What every kind of network must do; a new file in kdrun/models is tested without being listed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kdrun.core.finite_differences import gradient_of, relative_error
from kdrun.core.random import Stream
from kdrun.models.cfc import Cfc
from kdrun.models.discover import cells
from tests.core.comparing import assert_bits, assert_gradient, too_slow_without_jit

every_cell = pytest.mark.parametrize("cell", cells().values(), ids=cells())
STEPS, BATCH, INPUTS, OUTPUTS = 4, 3, 2, 2
STREAM = Stream(3, 0, "battery")


class Case:
    """A small network of one kind, with random parameters, inputs and gradients of all its outputs."""

    def __init__(self, cell, dtype, steps=STEPS, batch=BATCH, outputs=OUTPUTS):
        self.network = cell.example().build(INPUTS, {"prediction": outputs}, 0.1, dtype)
        self.parameters = self.network.initial_parameters(STREAM.child("parameters"), dtype)
        for name, array in self.parameters.items():
            array[...] += STREAM.child(name).uniform(1, array.shape, -0.2, 0.2, "float32").astype(dtype)
        self.inputs = STREAM.uniform(0, (steps, batch, INPUTS), -1.0, 1.0, "float32").astype(dtype)
        self.slopes = {
            name: STREAM.child(name).uniform(2, (steps, batch, *shape), -1.0, 1.0, "float32").astype(dtype)
            for name, shape in self.network.outputs.items()
        }

    def forward(self):
        """Copies of all outputs."""
        found = self.network.forward(self.parameters, self.inputs, frozenset(self.network.outputs))
        return {name: array.copy() for name, array in found.items()}

    def backward(self, slopes=None):
        """Gradients of every parameter, after a forward pass."""
        gradients = self.parameters.like()
        gradients.flat[:] = 0.0
        for array in gradients.values():
            array[...] = np.nan
        self.network.backward(self.parameters, self.inputs, self.slopes if slopes is None else slopes, gradients)
        return gradients

    def loss(self):
        """The scalar whose gradient `backward` gives."""
        outputs = self.forward()
        return float(sum((slope * outputs[name]).sum() for name, slope in self.slopes.items()))


@every_cell
@pytest.mark.parametrize("place", range(3))
def test_a_student_among_others_is_what_it_is_alone(cell, place, dtype):
    """Outputs, and gradients in its own columns, bit for bit; those of the others stay untouched."""
    case, students = Case(cell, dtype), 3
    alone = case.forward(), case.backward()
    own = {
        name: slice(place * array.shape[-1], (place + 1) * array.shape[-1]) for name, array in case.parameters.items()
    }
    shapes = {name: (*array.shape[:-1], students * array.shape[-1]) for name, array in case.parameters.items()}
    wide, slopes = ({name: np.full(shape, np.nan, dtype) for name, shape in shapes.items()} for _ in range(2))
    for name, array in case.parameters.items():
        wide[name][..., own[name]] = array
    outputs = case.network.forward(wide, case.inputs, frozenset(case.network.outputs), place)
    case.network.backward(wide, case.inputs, case.slopes, slopes, place)
    for name, array in outputs.items():
        assert_bits(array, alone[0][name])
    for name, array in slopes.items():
        assert_bits(np.ascontiguousarray(array[..., own[name]]), alone[1][name])
        assert np.isnan(np.delete(array, np.arange(array.shape[-1])[own[name]], axis=-1)).all()


@pytest.mark.parametrize("want", [{"prediction", "hidden"}, {"prediction"}, {"hidden"}], ids=sorted)
@pytest.mark.parametrize("hidden", [8, 16, 17])
def test_passes_of_several_students_are_those_of_each(hidden, want, dtype):
    """Outputs and gradients, bit for bit, of two students of three, in an order of their own, twice."""
    case, students, places = Case(SimpleNamespace(example=lambda: Cfc(hidden=hidden)), dtype), 3, (2, 0)
    rng = np.random.default_rng(8)
    shapes = {name: (*array.shape[:-1], students * array.shape[-1]) for name, array in case.parameters.items()}
    wide = {name: rng.uniform(-0.5, 0.5, shape).astype(dtype) for name, shape in shapes.items()}
    alone, together = ({name: np.full(shape, np.nan, dtype) for name, shape in shapes.items()} for _ in range(2))
    passes = case.network.passes(places, case.inputs.shape, frozenset(want))
    assert set(passes.outputs) == set(passes.slopes) == want
    for factor in (1.0, -2.0):
        inputs = (case.inputs * factor).astype(dtype)
        passes.forward(wide, inputs)
        outputs = {name: array.copy() for name, array in passes.outputs.items()}
        for name, slope in passes.slopes.items():
            slope[...] = case.slopes[name]
        passes.backward(wide, together)
        for student, place in enumerate(places):
            expected = case.network.forward(wide, inputs, frozenset(want), place)
            for name in want:
                assert_bits(outputs[name][student], expected[name])
            case.network.backward(wide, inputs, {name: case.slopes[name] for name in want}, alone, place)
        for name, array in together.items():
            assert_bits(array, alone[name])
            assert np.isnan(array).any()


@every_cell
def test_a_kind_of_network_says_where_it_comes_from(cell):
    """Name, source and docstring are there, and the file has the name."""
    assert cell.source
    assert vars(cell)["__doc__"]
    assert cell.__module__.rsplit(".", 1)[1] == cell.name


@every_cell
def test_sizes_have_descriptions(cell):
    """Every field of the `model` section is described."""
    got = {name for name, field in cell.model_fields.items() if not field.description}
    assert not got


@every_cell
def test_defaults_are_valid_and_survive_json(cell):
    """A section without keys, and the example, come back from JSON as they were."""
    for spec in (cell(), cell.example()):
        assert cell.model_validate_json(spec.model_dump_json()) == spec


@every_cell
@pytest.mark.parametrize(("steps", "batch", "outputs"), [(1, 1, 1), (1, 3, 2), (5, 1, 1), (4, 7, 3)])
def test_outputs_have_the_declared_shapes(cell, steps, batch, outputs, dtype):
    """Every output is [T, B, ...] as the network declares, of its dtype, contiguous and finite."""
    case = Case(cell, dtype, steps, batch, outputs)
    found = case.network.forward(case.parameters, case.inputs, frozenset(case.network.outputs))
    assert set(found) == set(case.network.outputs)
    for name, shape in case.network.outputs.items():
        got = found[name]
        assert got.shape == (steps, batch, *shape)
        assert got.dtype == dtype
        assert got.flags.c_contiguous
        assert np.isfinite(got).all()


@every_cell
def test_initial_parameters_lie_within_their_ranges(cell, dtype):
    """Each tensor starts in U(low, high) with its declared shape, not all the same where low < high."""
    network = cell().build(INPUTS, {"prediction": OUTPUTS}, 0.1, dtype)
    got = network.initial_parameters(STREAM, dtype)
    for name, tensor in network.tensors.items():
        assert got[name].shape == tensor.shape
        assert got[name].dtype == dtype
        if tensor.low == tensor.high:
            assert (got[name] == tensor.low).all()
        else:
            assert (got[name] >= tensor.low).all()
            assert (got[name] <= tensor.high).all()
            assert np.ptp(got[name]) > 0.5 * (tensor.high - tensor.low)


@every_cell
def test_both_precisions_start_from_nearly_the_same_values(cell):
    """A stream gives float32 and float64 networks the same parameters, but for rounding."""
    single, double = (
        cell().build(2, {"prediction": 2}, 0.1, kind).initial_parameters(STREAM, kind)
        for kind in ("float32", "float64")
    )
    np.testing.assert_allclose(single.flat, double.flat, rtol=0, atol=1e-6)


@every_cell
def test_passes_leave_their_arguments_alone(cell, dtype):
    """Parameters, inputs and gradients of outputs keep their bits."""
    case = Case(cell, dtype)
    arrays = {"parameters": case.parameters.flat, "inputs": case.inputs, **case.slopes}
    before = {name: array.copy() for name, array in arrays.items()}
    case.forward()
    case.backward()
    for name, array in arrays.items():
        assert_bits(array, before[name])


@every_cell
def test_a_network_remembers_nothing(cell, dtype):
    """Outputs and gradients have the same bits after passes over other batches of other sizes."""
    case, other = Case(cell, dtype), Case(cell, dtype, steps=6, batch=5)
    outputs, gradients = case.forward(), case.backward()
    case.network.forward(case.parameters, other.inputs, frozenset(case.network.outputs))
    case.network.backward(case.parameters, other.inputs, other.slopes, other.parameters.like())
    for name, array in case.forward().items():
        assert_bits(array, outputs[name])
    assert_bits(case.backward().flat, gradients.flat)


@every_cell
def test_what_is_wanted_does_not_depend_on_what_else_is(cell, dtype):
    """Each output alone has the bits that it has among all, and the gradients are the same after either pass."""
    case = Case(cell, dtype)
    outputs, gradients = case.forward(), case.backward()
    for name, expected in outputs.items():
        got = case.network.forward(case.parameters, case.inputs, frozenset({name}))[name]
        assert_bits(got, expected)
        assert_bits(case.backward().flat, gradients.flat)


@every_cell
def test_a_network_that_is_only_run_says_the_same(cell, dtype):
    """Again and again."""
    case = Case(cell, dtype)
    outputs = case.forward()
    for _ in range(2):
        found = case.network.run_only(case.parameters, case.inputs, frozenset(case.network.outputs))
        for name, array in outputs.items():
            assert_bits(found[name], array)


@pytest.mark.parametrize("steps", [1, STEPS])
def test_a_cell_that_is_only_run_leaves_alone_what_a_backward_pass_reads(steps, dtype):
    case = Case(Cfc, dtype, steps=steps)
    case.forward()
    expected = case.backward()
    case.network.run_only(case.parameters, -case.inputs, frozenset(case.network.outputs))
    assert_bits(case.backward().flat, expected.flat)


@every_cell
def test_two_networks_share_nothing(cell, dtype):
    """A second network's passes do not touch what the first returned."""
    first, second = Case(cell, dtype), Case(cell, dtype)
    found = first.network.forward(first.parameters, first.inputs, frozenset(first.network.outputs))
    before = {name: array.copy() for name, array in found.items()}
    second.inputs[...] = 0.5
    second.forward()
    second.backward()
    for name, array in found.items():
        assert_bits(array, before[name])


@too_slow_without_jit
@every_cell
def test_gradients_are_those_of_finite_differences(cell):
    """Every element of every gradient is within 1e-6 of six-point differences, and every gradient is there."""
    case = Case(cell, "float64")
    case.forward()
    got = case.backward()
    for name, array in case.parameters.items():
        expected = gradient_of(case.loss, array, 1e-2)
        assert np.linalg.norm(expected) > 0.0
        assert relative_error(got[name], expected).max() < 1e-6, name


@every_cell
def test_each_output_alone_has_its_gradient(cell):
    """Outputs whose gradient is not given count as zero: the parts add up to the whole."""
    case = Case(cell, "float64")
    case.forward()
    total = np.zeros_like(case.parameters.flat)
    for name, slope in case.slopes.items():
        part = case.backward({name: slope}).flat
        assert np.linalg.norm(part) > 0.0
        total += part
    assert_gradient(total, case.backward().flat, 1e-12)


@every_cell
def test_gradients_in_float32_are_those_of_float64(cell):
    """Training precision computes the gradients of the check's precision."""
    single, double = Case(cell, "float32"), Case(cell, "float64")
    double.parameters.assign(single.parameters)
    for case in (single, double):
        case.forward()
    assert_gradient(single.backward().flat, double.backward().flat, 1e-4)


@every_cell
def test_gaps_of_the_gradient_stay_zero(cell, dtype):
    """Backward writes the arrays of the gradient and nothing between them."""
    case = Case(cell, dtype)
    case.forward()
    gradients = case.backward()
    marks = gradients.like()
    for array in marks.values():
        array[...] = 1.0
    assert not gradients.flat[marks.flat == 0.0].any()


@every_cell
def test_some_tensor_is_quantized(cell):
    """A study of quantization has something to quantize, and only matrices are."""
    tensors = cell.example().build(INPUTS, {"prediction": OUTPUTS}, 0.1, "float32").tensors
    got = [tensor.shape for tensor in tensors.values() if tensor.quantized]
    assert got
    assert all(len(shape) == 2 for shape in got)
