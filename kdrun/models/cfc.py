"""The closed-form continuous-time network: one cell over time, and a linear readout of every state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.arrays import zeros
from kdrun.core.cfc import block_rows, network_backward, network_forward, space_shapes, take_best_values, units_of
from kdrun.core.vector import width
from kdrun.core.views import cut, size_of
from kdrun.factors.contract import Array, Arrays
from kdrun.models.contract import ModelSpec, Network, Passes, Pricing, Readout, Tensor

TAU_RANGE = (0.5, 2.0)
# A core's second cache, or half of it.
CACHE_BYTES = 2**20


class Cfc(ModelSpec):
    """A CfC cell of `hidden` units."""

    name: ClassVar[str] = "cfc"
    source: ClassVar[str] = "Hasani et al., Closed-form continuous-time neural networks, 2022 (arXiv 2106.13898)"

    needs_time: ClassVar[bool] = True

    hidden: int = Field(16, ge=1, le=4096, strict=True, description="number of hidden units")

    @classmethod
    def example(cls) -> Cfc:
        """Eight units: fewer than the kernels work with, so that their padding is checked too."""
        return cls(hidden=8)

    def build(self, inputs: int, heads: Mapping[str, int], step_time: float, dtype: DTypeLike) -> Network:
        """The network with D = inputs, O = the width of all heads, dt = step_time."""
        return CfcNetwork(inputs, self.hidden, heads, step_time, dtype)


class _Space:
    """What the passes of some students over one sequence length and batch size write to, all zero at first.

    `kept` steps are there for a backward pass: all of them, or 1, which is written over, where none will follow.
    `flat` [M, N] is the kernels' own (see core/cfc.py); `packed` are the weights, biases, readout and decay of the
    first student in it. Outputs and their gradients are [M, T, B, ...], those of `no_…` the same for all students.
    """

    def __init__(self, network: CfcNetwork, shape: tuple[int, ...], students: int, keeps: bool) -> None:
        (steps, batch, *_), units, outputs, dtype = shape, network.units, network.readout.width, network.dtype
        self.kept, self.block = steps if keeps else 1, block_rows(batch)
        shapes = space_shapes(self.kept, batch, network.inputs, units, outputs, self.block)
        self.flat = zeros((students, size_of(shapes)), dtype)
        self.packed = cut(self.flat[0], shapes[:4])
        self.y, self.dy = (zeros((students, steps, batch, outputs), dtype) for _ in range(2))
        self.hidden, self.dhidden = (zeros((students, steps, batch, units), dtype) for _ in range(2))
        self.no_dy, self.no_dhidden = (zeros((1, steps, batch, columns), dtype) for columns in (outputs, units))
        self.no_y = self.y[:, :0]

    @property
    def nbytes(self) -> int:
        """Bytes of all that passes write to and read from."""
        return sum(array.nbytes for array in (self.flat, self.y, self.dy, self.hidden, self.dhidden))


class CfcNetwork(Network):
    """A CfC with D inputs, H hidden units and O outputs, over time-major inputs [T, B, D].

    Outputs: each head [T, B, ·], columns of one readout [T, B, O], and `hidden` [T, B, H].
    """

    def __init__(self, inputs: int, hidden: int, heads: Mapping[str, int], step_time: float, dtype: DTypeLike) -> None:
        self.readout = Readout(heads)
        outputs = self.readout.width
        reach = 1.0 / np.sqrt(inputs + hidden)
        out_reach = 1.0 / np.sqrt(hidden)
        self.tensors = {
            "w": Tensor((inputs + hidden, 2 * hidden), True, -reach, reach),
            "b": Tensor((2 * hidden,), False, 0.0, 0.0),
            "tau": Tensor((hidden,), False, *TAU_RANGE),
            "w_out": Tensor((hidden, outputs), True, -out_reach, out_reach),
            "b_out": Tensor((outputs,), False, 0.0, 0.0),
        }
        self.outputs = {**{name: (columns,) for name, columns in heads.items()}, "hidden": (hidden,)}
        self.inputs, self.hidden, self.step_time, self.dtype = inputs, hidden, step_time, np.dtype(dtype)
        self.units = width(hidden)
        self._is_padded = hidden != self.units
        self._spaces: dict[tuple[tuple[int, ...], int, bool], _Space] = {}

    def _space(self, shape: tuple[int, ...], students: int = 1, keeps: bool = True) -> _Space:
        """Working space for inputs of a shape, of passes that keep all steps or none."""
        key = shape, students, keeps
        return self._spaces.get(key) or self._spaces.setdefault(key, _Space(self, shape, students, keeps))

    def run(self, weights: Arrays, inputs: Array, places: Array, space: _Space, y: Array) -> None:
        """The forward pass of the students at some places."""
        network_forward(
            inputs, weights["w"], weights["b"], weights["tau"], weights["w_out"], weights["b_out"], places,
            self.step_time, self.grid, space.kept, space.block, space.flat, space.hidden, y,
        )  # fmt: skip

    def run_back(
        self, weights: Arrays, places: Array, space: _Space, dy: Array, dhidden: Array, gradients: Arrays
    ) -> None:
        """The backward pass of the students at some places."""
        network_backward(
            dy, dhidden, weights["tau"], places, self.step_time, space.block, space.flat,
            gradients["w"], gradients["b"], gradients["tau"], gradients["w_out"], gradients["b_out"],
        )  # fmt: skip

    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str], place: int = 0) -> Arrays:
        """Run the network; its outputs are read out of the states where they are wanted."""
        return self._outputs(weights, inputs, want, place, self._space(inputs.shape))

    def run_only(self, weights: Arrays, inputs: Array, want: frozenset[str]) -> Arrays:
        """The same, without what a backward pass would read: what a step leaves is in a cache at the next."""
        return self._outputs(weights, inputs, want, 0, self._space(inputs.shape, keeps=False))

    def _outputs(self, weights: Arrays, inputs: Array, want: frozenset[str], place: int, space: _Space) -> Arrays:
        y = space.no_y if want.isdisjoint(self.readout.names) else space.y
        self.run(weights, inputs, _alone(place), space, y)
        outputs = self.readout.split(space.y[0], want)
        if "hidden" in want:
            hidden = space.hidden[0]
            outputs["hidden"] = hidden[:, :, : self.hidden].copy() if self._is_padded else hidden
        return outputs

    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays, place: int = 0) -> None:
        """Backpropagation through time."""
        space = self._space(inputs.shape)
        dy, dhidden = self.readout.join(d_outputs, space.dy[0]), d_outputs.get("hidden")
        if dhidden is not None and self._is_padded:
            space.dhidden[0, :, :, : self.hidden], dhidden = dhidden, space.dhidden[0]
        self.run_back(
            weights, _alone(place), space,
            space.no_dy if dy is None else dy[np.newaxis],
            space.no_dhidden if dhidden is None else dhidden[np.newaxis],
            gradients,
        )  # fmt: skip

    def passes(self, places: Sequence[int], shape: tuple[int, ...], want: frozenset[str]) -> Passes:
        """Passes of several students, one after another in each kernel."""
        return _CfcPasses(self, places, self._space(shape, len(places)), want)

    def most_at_once(self, shape: tuple[int, ...]) -> int:
        """As many as find what they have written in a forward pass still in a cache in the backward pass."""
        return max(1, CACHE_BYTES // self._space(shape).nbytes)

    def packed(self, weights: Arrays, inputs: Array) -> tuple[Array, ...]:
        """Copies of weights, biases, readout and decay as the kernels have them."""
        self.forward(weights, inputs, frozenset())
        return tuple(array.copy() for array in self._space(inputs.shape).packed)

    def pricing(self, weights: Arrays, inputs: Array, target: Array) -> Pricing:
        """A copy of the network in the kernels' layout, in which one weight at a time is another."""
        return _CfcPricing(self, weights, inputs, target)


@cache
def _alone(place: int) -> Array:
    """One place, as passes take several."""
    return np.array([place])


class _CfcPasses:
    """Students side by side. Heads among others and hidden values that are padded for the kernels are copied."""

    def __init__(self, network: CfcNetwork, places: Sequence[int], space: _Space, want: frozenset[str]) -> None:
        self._network, self._places, self._space = network, np.array(places), space
        is_read_out, has_hidden = not want.isdisjoint(network.readout.names), "hidden" in want
        self._y, self._dy = (space.y, space.dy) if is_read_out else (space.no_y, space.no_dy)
        self._dhidden = space.dhidden if has_hidden else space.no_dhidden
        outputs = {name: self._part(name, space.y, space.hidden) for name in want}
        slopes = {name: self._part(name, space.dy, space.dhidden) for name in want}
        self.outputs = {name: _contiguous(part) for name, part in outputs.items()}
        self.slopes = {name: _contiguous(part) for name, part in slopes.items()}
        copied = [name for name in want if self.outputs[name] is not outputs[name]]
        self._read = [(self.outputs[name], outputs[name]) for name in copied]
        self._written = [(slopes[name], self.slopes[name]) for name in copied]
        others = network.readout.names - want if is_read_out else ()
        self._left_out = [self._part(name, space.dy, space.dhidden) for name in others]

    def _part(self, name: str, y: Array, hidden: Array) -> Array:
        """Where an output stands among those of the kernels."""
        network = self._network
        return hidden[..., : network.hidden] if name == "hidden" else y[..., network.readout.columns_of(name)]

    def forward(self, weights: Arrays, inputs: Array) -> None:
        self._network.run(weights, inputs, self._places, self._space, self._y)
        for output, part in self._read:
            output[...] = part

    def backward(self, weights: Arrays, gradients: Arrays) -> None:
        for part in self._left_out:
            part.fill(0.0)
        for part, slope in self._written:
            part[...] = slope
        self._network.run_back(weights, self._places, self._space, self._dy, self._dhidden, gradients)


def _contiguous(part: Array) -> Array:
    """A part of an array as kernels take it: itself, or zeros to copy it to."""
    return part if part.flags.c_contiguous else zeros(part.shape, part.dtype)


class _Places(NamedTuple):
    """Where weights of one column of the contract stand in the kernels' layout, and what they are multiplied by there.

    `rows` and `columns` are int64 [weights]; `scale` is of the network's dtype.
    """

    array: Array
    rows: Array
    columns: Array
    scale: Any


class _CfcPricing:
    """Packed weights, and the working space of two steps."""

    def __init__(self, network: CfcNetwork, weights: Arrays, inputs: Array, target: Array) -> None:
        batch, units, dtype = inputs.shape[1], network.units, network.dtype
        self._network, self._inputs, self._target = network, inputs, target
        self._w_rows, self._b_row, self._out_rows, self._decay = network.packed(weights, inputs)
        self._b_out = weights["b_out"].copy()
        self._space = (
            zeros((2 * batch, width(units + network.inputs)), dtype),
            zeros((batch, 2 * units), dtype),
            zeros((batch, units), dtype),
        )

    def _places(self, tensor: str, rows: Array, column: int) -> _Places:
        number = self._network.dtype.type
        if tensor == "w_out":
            return _Places(self._out_rows, np.full_like(rows, column), rows, number(1.0))
        inputs, hidden, units = self._network.inputs, self._network.hidden, self._network.units
        side, unit = divmod(column, hidden)
        packed_rows = np.where(rows < inputs, units + rows, rows - inputs)
        packed_columns = np.full_like(rows, side * units + unit)
        return _Places(self._w_rows, packed_rows, packed_columns, number(units_of(side)))

    def loss(self) -> float:
        # Some weight takes the value that it has, at whatever loss.
        present = self._out_rows[0, :1].copy()
        return self._best(present, np.array([-1]), np.inf, self._places("w_out", np.array([0]), 0))

    def change(self, tensor: str, row: int, column: int, value: float) -> None:
        places = self._places(tensor, np.array([row]), column)
        places.array[places.rows, places.columns] = places.scale * places.scale.dtype.type(value)

    def take_best(self, tensor: str, column: int, values: Array, taken: Array, loss: float) -> float:
        return self._best(values, taken, loss, self._places(tensor, np.arange(taken.size), column))

    def _best(self, values: Array, taken: Array, loss: float, places: _Places) -> float:
        best = take_best_values(
            values * places.scale, taken, loss, places.array, places.rows, places.columns, self._inputs, self._target,
            self._w_rows, self._b_row, self._decay, self._out_rows, self._b_out, self._network.grid, *self._space,
        )  # fmt: skip
        return float(best)
