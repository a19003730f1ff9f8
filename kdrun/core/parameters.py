"""Named arrays over one contiguous buffer, so that an optimizer step, a norm or a restore is one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kdrun.core.arrays import zeros
from kdrun.core.vector import LANES

Array = NDArray[Any]


class ParameterSet(Mapping[str, Array]):
    """A mapping from names to C-contiguous views of `flat`.

    Each view begins at a multiple of the vector width; the gaps between views are zero and stay zero under every
    elementwise update whose gradient is zero there.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        starts, length = {}, 0
        for name, shape in self.shapes.items():
            starts[name] = length
            length += -(-math.prod(shape) // LANES) * LANES
        self.flat, self._starts = zeros(length, dtype), starts
        self._views = {
            name: self.flat[starts[name] : starts[name] + math.prod(shape)].reshape(shape)
            for name, shape in self.shapes.items()
        }

    @classmethod
    def of(cls, arrays: Mapping[str, Array], dtype: DTypeLike) -> ParameterSet:
        """A set that holds copies of `arrays`, converted to `dtype`."""
        result = cls({name: array.shape for name, array in arrays.items()}, dtype)
        result.assign(arrays)
        return result

    def like(self) -> ParameterSet:
        """A set of the same names and shapes, all zero: for gradients and moments."""
        return ParameterSet(self.shapes, self.flat.dtype)

    def copy(self) -> ParameterSet:
        """A set of its own with the same values."""
        result = self.like()
        result.flat[:] = self.flat
        return result

    def assign(self, arrays: Mapping[str, Array]) -> None:
        """Copy values into the arrays of the same names."""
        for name, array in arrays.items():
            self._views[name][...] = array

    def layout(self, students: int) -> Array:
        """Where each array begins in `flat`, how many rows it has, and how many of its columns are one student's.

        int64 [arrays, 3]; the last axis is shared out among `students`, all others are rows.
        """
        found = []
        for name, shape in self.shapes.items():
            *rows, columns = shape or (1,)
            if columns % students:
                raise ValueError(f"{name} has {columns} columns, which {students} students cannot share out")
            found.append((self._starts[name], math.prod(rows), columns // students))
        return np.array(found, np.int64).reshape(-1, 3)

    @property
    def size(self) -> int:
        """How many numbers it holds, gaps not counted."""
        return sum(view.size for view in self._views.values())

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)
