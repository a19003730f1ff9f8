"""Norms of students side by side, and clipping to them: each student's own, whoever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from kdrun.core.clipping import add_squared_norms, clip_inplace
from kdrun.core.parameters import ParameterSet
from tests.core.comparing import assert_bits, needs_jit, unchanged
from tests.naive import adam as naive
from tests.naive.arithmetic import fused_multiply_add, tree_sum

SHAPES = {"w": (3, 34), "b": (34,), "out": (17, 1)}


def side_by_side(sets):
    """Parameter sets of the same shapes as columns of one."""
    shapes = {name: (*shape[:-1], len(sets) * shape[-1]) for name, shape in sets[0].shapes.items()}
    wide = ParameterSet(shapes, sets[0].flat.dtype)
    wide.assign({name: np.concatenate([each[name] for each in sets], axis=-1) for name in wide})
    return wide


def gradients(students, dtype, rng, scale=1.0):
    found = [ParameterSet(SHAPES, dtype) for _ in range(students)]
    for number, each in enumerate(found):
        each.assign({name: rng.normal(size=shape) * scale * 3.0**number for name, shape in SHAPES.items()})
    return found


def squared_norms(gradient, students):
    norms = np.zeros(students)
    largest = add_squared_norms(gradient.flat, gradient.layout(students), norms)
    assert largest == norms.max()
    return norms


def test_the_norm_is_that_of_all_numbers(dtype, rng):
    """Every number counts once, whatever the number of columns."""
    (gradient,) = gradients(1, dtype, rng)
    numbers = [float(each) for array in gradient.values() for each in array.reshape(-1)]
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    assert squared_norms(gradient, 1)[0] == pytest.approx(naive.norm(numbers) ** 2, rel=tolerance)


def test_norms_are_added_to_what_is_there(dtype, rng):
    (gradient,) = gradients(1, dtype, rng)
    norms = np.array([2.0])
    add_squared_norms(gradient.flat, gradient.layout(1), norms)
    assert norms[0] == 2.0 + squared_norms(gradient, 1)[0]


@needs_jit
def test_the_norm_is_summed_in_the_written_order(dtype, rng):
    """Sixteen chains of fused operations, by column, and one tree, to the bit."""
    (gradient,) = gradients(1, dtype, rng)
    lanes = [dtype.type(0.0)] * 16
    for array in gradient.values():
        for row in array.reshape(-1, array.shape[-1]):
            for column, number in enumerate(row):
                lanes[column % 16] = fused_multiply_add(number, number, lanes[column % 16])
    assert squared_norms(gradient, 1)[0] == np.float64(tree_sum(lanes))


def test_a_students_norm_does_not_depend_on_the_others(dtype, rng):
    """Bit for bit that of the student alone; nan of one stays with it, and is not the largest."""
    alone = gradients(3, dtype, rng)
    expected = [squared_norms(each, 1)[0] for each in alone]
    assert_bits(squared_norms(side_by_side(alone), 3), np.array(expected))
    alone[1]["w"][1, 20] = np.nan
    norms, wide = np.zeros(3), side_by_side(alone)
    assert add_squared_norms(wide.flat, wide.layout(3), norms) == expected[2]
    assert np.isnan(norms[1])
    assert_bits(norms[[0, 2]], np.array(expected)[[0, 2]])


def test_norms_only_read_the_gradient(dtype, rng):
    (gradient,) = gradients(1, dtype, rng)
    unchanged({"gradient": gradient.flat}, lambda: squared_norms(gradient, 1))


def test_only_students_above_the_bound_are_scaled(dtype, rng):
    """Each to the bound, by one factor; gaps between arrays stay zero."""
    alone = gradients(3, dtype, rng, 0.05)
    wide = side_by_side(alone)
    norms = squared_norms(wide, 3)
    clip = float(np.sqrt(norms[1]))
    clip_inplace(wide.flat, wide.layout(3), norms, clip)
    alone[2].flat[:] *= dtype.type(clip / np.sqrt(norms[2]))
    assert_bits(wide.flat, side_by_side(alone).flat)
    assert np.sqrt(squared_norms(wide, 3)[2]) == pytest.approx(clip, rel=1e-5)


def test_what_is_no_number_is_left_alone(dtype, rng):
    """A gradient with nan has no norm to clip to."""
    (gradient,) = gradients(1, dtype, rng)
    gradient["b"][0] = np.nan
    before = gradient.flat.copy()
    clip_inplace(gradient.flat, gradient.layout(1), np.array([np.nan]), 1e-3)
    assert_bits(gradient.flat, before)
