"""Clipping of gradients to a norm, for students whose parameters stand side by side in one flat buffer.

A layout, int64 [M, 3], says of each array in the buffer where it begins, how many rows it has, and how many columns of
each row are those of one student: with S students a row has S times as many.
"""

from __future__ import annotations

import math

import numpy as np

from kdrun.core.jit import kernel
from kdrun.core.vector import LANES, fma, load_part, splat_like, sum_lanes


@kernel
def add_squared_norms(gradient, layout, norms):
    """Add the squared norm of each student's gradient to a number of its own.

    Equation
        norms[s] ← norms[s] + Σ gradient², over the arrays of the layout, their rows, then their columns of student s:
        16 partial sums in the dtype of the gradient, by column modulo 16, and one fixed tree
    Parameters
        gradient: flat. layout int64 [M, 3]. norms float64 [S], changed in place. The largest of them that is a number
        is given.
    """
    students, largest = norms.size, 0.0
    for student in range(students):
        total = splat_like(0.0, gradient)
        for m in range(layout.shape[0]):
            start, rows, columns = layout[m, 0], layout[m, 1], layout[m, 2]
            for row in range(rows):
                first = start + (row * students + student) * columns
                for column in range(0, columns, LANES):
                    part = load_part(gradient, first + column, min(LANES, columns - column))
                    total = fma(part, part, total)
        norms[student] += np.float64(sum_lanes(total))
        largest = max(largest, norms[student])
    return largest


@kernel
def clip_inplace(gradient, layout, norms, clip):
    """Scale the gradient of each student whose norm is above a bound down to it.

    Equation, where √norms[s] > clip
        gradient ← (clip/√norms[s])·gradient, over all that is student s's; the factor is rounded to the dtype
    Parameters
        gradient: flat, changed in place. layout int64 [M, 3]. norms float64 [S]: squared. clip: number > 0.
    """
    students = norms.size
    for student in range(students):
        norm = math.sqrt(norms[student])
        if not norm > clip:
            continue
        factor = gradient.dtype.type(clip / norm)
        for m in range(layout.shape[0]):
            start, rows, columns = layout[m, 0], layout[m, 1], layout[m, 2]
            for row in range(rows):
                first = start + (row * students + student) * columns
                for i in range(first, first + columns):
                    gradient[i] *= factor
