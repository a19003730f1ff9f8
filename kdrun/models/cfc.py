"""The closed-form continuous-time network: one cell over time, and a linear readout of every state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.arrays import zeros
from kdrun.core.cfc import block_rows, network_backward, network_forward, space_shapes, take_best_values, units_of
from kdrun.core.vector import width
from kdrun.core.views import cut, size_of
from kdrun.factors.contract import Array, Arrays
from kdrun.models.contract import ModelSpec, Network, Pricing, Readout, Tensor

TAU_RANGE = (0.5, 2.0)


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
    """What the passes over one sequence length and batch size write to, all zero at first.

    `flat` is the kernels' own (see core/cfc.py); `packed` are the weights, biases, readout and decay in it.
    """

    def __init__(self, network: CfcNetwork, steps: int, batch: int) -> None:
        units, outputs, dtype = network.units, network.readout.width, network.dtype
        self.block = block_rows(batch)
        shapes = space_shapes(steps, batch, network.inputs, units, outputs, self.block)
        self.flat = zeros(size_of(shapes), dtype)
        self.packed = cut(self.flat, shapes[:4])
        self.y, self.dy, self.no_dy = (zeros((steps, batch, outputs), dtype) for _ in range(3))
        self.hidden, self.dhidden, self.no_dhidden = (zeros((steps, batch, units), dtype) for _ in range(3))
        self.no_y = self.y[:0]


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
        self._spaces: dict[tuple[int, ...], _Space] = {}

    def _started(self, shape: tuple[int, ...]) -> _Space:
        """Working space for inputs of another shape."""
        return self._spaces.setdefault(shape, _Space(self, *shape[:2]))

    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str], place: int = 0) -> Arrays:
        """Run the network; its outputs are read out of the states where they are wanted."""
        space = self._spaces.get(inputs.shape) or self._started(inputs.shape)
        network_forward(
            inputs, weights["w"], weights["b"], weights["tau"], weights["w_out"], weights["b_out"], place,
            self.step_time, self.grid, space.block, space.flat, space.hidden,
            space.no_y if want.isdisjoint(self.readout.names) else space.y,
        )  # fmt: skip
        outputs = self.readout.split(space.y, want)
        if "hidden" in want:
            outputs["hidden"] = space.hidden[:, :, : self.hidden].copy() if self._is_padded else space.hidden
        return outputs

    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays, place: int = 0) -> None:
        """Backpropagation through time."""
        space = self._spaces.get(inputs.shape) or self._started(inputs.shape)
        dy, dhidden = self.readout.join(d_outputs, space.dy), d_outputs.get("hidden")
        if dhidden is not None and self._is_padded:
            space.dhidden[:, :, : self.hidden], dhidden = dhidden, space.dhidden
        network_backward(
            space.no_dy if dy is None else dy, space.no_dhidden if dhidden is None else dhidden,
            weights["tau"], place, self.step_time, space.block, space.flat,
            gradients["w"], gradients["b"], gradients["tau"], gradients["w_out"], gradients["b_out"],
        )  # fmt: skip

    def packed(self, weights: Arrays, inputs: Array) -> tuple[Array, ...]:
        """Copies of weights, biases, readout and decay as the kernels have them."""
        self.forward(weights, inputs, frozenset())
        return tuple(array.copy() for array in self._spaces[inputs.shape].packed)

    def pricing(self, weights: Arrays, inputs: Array, target: Array) -> Pricing:
        """A copy of the network in the kernels' layout, in which one weight at a time is another."""
        return _CfcPricing(self, weights, inputs, target)


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
