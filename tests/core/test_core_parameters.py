"""Named arrays over one buffer."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.parameters import ParameterSet

SHAPES = {"w": (3, 7), "b": (1,), "tau": (16,), "empty": (0, 4), "last": (2,)}


@pytest.fixture
def parameters(dtype):
    """A set of arrays that need gaps between them."""
    return ParameterSet(SHAPES, dtype)


def test_arrays_have_their_shapes(parameters, dtype):
    """Names come in the order that was given, each with its shape and the set's dtype."""
    got = {name: array.shape for name, array in parameters.items()}
    assert list(got.items()) == list(SHAPES.items())
    assert {array.dtype for array in parameters.values()} == {dtype}


def test_arrays_begin_at_multiples_of_the_lanes(parameters):
    """Every array starts where a vector may start, and the buffer is whole vectors."""
    start = parameters.flat.__array_interface__["data"][0]
    size = parameters.flat.itemsize
    got = [(array.__array_interface__["data"][0] - start) // size % 16 for array in parameters.values() if array.size]
    assert got == [0] * len(got)
    assert parameters.flat.size % 16 == 0


def test_the_layout_says_where_the_columns_of_a_student_are(dtype):
    """By the layout alone, each number of each student is found in the buffer."""
    wide = ParameterSet({"w": (3, 10), "b": (4,)}, dtype)
    for number, array in enumerate(wide.values()):
        array[...] = 100 * number + np.arange(array.size).reshape(array.shape)
    for array, (start, rows, columns) in zip(wide.values(), wide.layout(2), strict=True):
        found = wide.flat[start : start + rows * 2 * columns].reshape(rows, 2, columns)
        np.testing.assert_array_equal(found[:, 1].reshape(-1), array.reshape(rows, -1)[:, columns:].reshape(-1))


def test_a_single_number_is_one_column(dtype):
    """An array without axes belongs to a student alone, and columns are shared out evenly or not at all."""
    number = ParameterSet({"theta": ()}, dtype)
    np.testing.assert_array_equal(number.layout(1), [[0, 1, 1]])
    with pytest.raises(ValueError, match="theta has 1 columns, which 2 students cannot share out"):
        number.layout(2)


def test_arrays_are_views_that_do_not_overlap(parameters):
    """Writing one array fills its part of the buffer and nothing else; gaps stay zero."""
    for number, array in enumerate(parameters.values(), start=1):
        assert array.flags.c_contiguous
        array[...] = number
    got = {number: int((parameters.flat == number).sum()) for number in range(1, 6)}
    assert got == {1: 21, 2: 1, 3: 16, 4: 0, 5: 2}
    assert (parameters.flat == 0).sum() == parameters.flat.size - 40


def test_size_counts_no_gaps(parameters):
    """The number of parameters is that of the arrays."""
    assert parameters.size == 21 + 1 + 16 + 0 + 2
    assert len(parameters) == 5


def test_of_copies_and_converts(dtype):
    """A set made of arrays holds copies in its own dtype."""
    source = {"w": np.arange(6.0).reshape(2, 3)}
    got = ParameterSet.of(source, dtype)
    source["w"][0, 0] = 99.0
    np.testing.assert_array_equal(got["w"], [[0, 1, 2], [3, 4, 5]])
    assert got["w"].dtype == dtype


def test_like_is_zero_and_apart(parameters):
    """A set of the same shapes starts at zero and shares no memory."""
    parameters.flat[:] = 1.0
    got = parameters.like()
    assert got.shapes == parameters.shapes
    assert not got.flat.any()
    assert not np.shares_memory(got.flat, parameters.flat)


def test_a_copy_is_apart(parameters):
    """A copy has the same values and does not follow later changes."""
    parameters["w"][...] = 2.0
    got = parameters.copy()
    parameters["w"][...] = 3.0
    assert (got["w"] == 2.0).all()


def test_assign_writes_the_arrays_that_are_named(parameters):
    """Arrays that are not named keep their values."""
    parameters.assign({"b": np.array([5.0])})
    assert parameters["b"][0] == 5.0
    assert parameters.flat.sum() == 5.0
