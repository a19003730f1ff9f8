"""The closed-form continuous-time network: one cell over time, and a linear readout of every state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.arrays import zeros
from kdrun.core.cfc import block_rows, network_backward, network_forward, take_best_values
from kdrun.core.vector import width
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
    """Arrays of one sequence length and batch size, all zero at first; see core/cfc.py for their meaning."""

    def __init__(self, network: CfcNetwork, steps: int, batch: int) -> None:
        rows, units, dtype = steps * batch, network.units, network.dtype
        inputs, outputs = network.inputs, network.readout.width
        self.operands = zeros((rows + batch, width(units + inputs)), dtype)
        self.gates, self.hidden = zeros((rows, 2 * units), dtype), zeros((rows, units), dtype)
        self.y, self.no_dy = zeros((rows, outputs), dtype), zeros((rows, outputs), dtype)
        self.dhidden, self.no_dhidden = zeros((rows, units), dtype), zeros((rows, units), dtype)
        self.no_y = self.y[:0]
        self.columns, self.dcolumns = self.y.reshape(steps, batch, outputs), zeros((steps, batch, outputs), dtype)
        self.states = self.hidden.reshape(steps, batch, units)[:, :, : network.hidden]
        self.carry, self.dgates = zeros((batch, units), dtype), zeros((block_rows(batch), 2 * units), dtype)


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
        self.units = units = width(hidden)
        self._decay, self._ddecay = zeros(units, dtype), zeros(units, dtype)
        depth = units + inputs
        self._w_rows, self._dw_rows = zeros((depth, 2 * units), dtype), zeros((depth, 2 * units), dtype)
        self._b_row, self._db_row = zeros((1, 2 * units), dtype), zeros((1, 2 * units), dtype)
        self._w_back = zeros((2 * units, units), dtype)
        self._out_rows, self._dout_rows = zeros((outputs, units), dtype), zeros((outputs, units), dtype)
        self._spaces: dict[tuple[int, ...], _Space] = {}

    def _space(self, inputs: Array) -> _Space:
        space = self._spaces.get(inputs.shape)
        if space is None:
            space = self._spaces[inputs.shape] = _Space(self, *inputs.shape[:2])
        return space

    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str], place: int = 0) -> Arrays:
        """Run the network; its outputs are read out of the states where they are wanted."""
        space = self._space(inputs)
        network_forward(
            inputs, weights["w"], weights["b"], weights["tau"], weights["w_out"], weights["b_out"], place,
            self.step_time, self.grid, self._w_rows, self._b_row, self._out_rows, self._decay,
            space.operands, space.gates, space.hidden, space.no_y if want.isdisjoint(self.readout.names) else space.y,
        )  # fmt: skip
        outputs = self.readout.split(space.columns, want)
        if "hidden" in want:
            outputs["hidden"] = np.ascontiguousarray(space.states)
        return outputs

    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays, place: int = 0) -> None:
        """Backpropagation through time."""
        space = self._space(inputs)
        dy, dhidden = self.readout.join(d_outputs, space.dcolumns), d_outputs.get("hidden")
        network_backward(
            space.no_dy if dy is None else dy.reshape(space.y.shape),
            space.no_dhidden if dhidden is None else self._padded(space, dhidden),
            weights["tau"], place, self.step_time, self._w_rows, self._w_back, self._decay, self._out_rows,
            space.operands, space.gates, space.hidden, space.carry, space.dgates,
            self._dw_rows, self._db_row, self._ddecay, self._dout_rows,
            gradients["w"], gradients["b"], gradients["tau"], gradients["w_out"], gradients["b_out"],
        )  # fmt: skip

    @property
    def packed(self) -> tuple[Array, Array, Array, Array]:
        """Weights, biases, readout and decay of the last forward pass, as the kernels have them."""
        return self._w_rows, self._b_row, self._out_rows, self._decay

    def pricing(self, weights: Arrays, inputs: Array, target: Array) -> Pricing:
        """A copy of the network in the kernels' layout, in which one weight at a time is another."""
        return _CfcPricing(self, weights, inputs, target)

    def _padded(self, space: _Space, dhidden: Array) -> Array:
        """Gradients by hidden states [T, B, H] as rows [T·B, P]."""
        if self.hidden == self.units:
            return dhidden.reshape(-1, self.hidden)
        space.dhidden[:, : self.hidden] = dhidden.reshape(-1, self.hidden)
        return space.dhidden


class _CfcPricing:
    """Packed weights, and the working space of two steps."""

    def __init__(self, network: CfcNetwork, weights: Arrays, inputs: Array, target: Array) -> None:
        batch, units, dtype = inputs.shape[1], network.units, network.dtype
        outputs = network.readout.width
        self._network, self._inputs, self._target = network, inputs, target
        network.forward(weights, inputs, frozenset())
        self._w_rows, self._b_row, self._out_rows, self._decay = (array.copy() for array in network.packed)
        self._b_out = weights["b_out"].copy()
        self._space = (
            zeros((2 * batch, width(units + network.inputs)), dtype),
            zeros((batch, 2 * units), dtype),
            zeros((batch, units), dtype),
            zeros((batch, outputs), dtype),
        )

    def _places(self, tensor: str, rows: Array, column: int) -> tuple[Array, Array, Array]:
        """Where weights of one column of the contract stand in the kernels' layout: array, rows, columns."""
        if tensor == "w_out":
            return self._out_rows, np.full_like(rows, column), rows
        inputs, hidden, units = self._network.inputs, self._network.hidden, self._network.units
        side, unit = divmod(column, hidden)
        return (
            self._w_rows,
            np.where(rows < inputs, units + rows, rows - inputs),
            np.full_like(rows, side * units + unit),
        )

    def loss(self) -> float:
        # Some weight takes the value that it has, at whatever loss.
        present = self._out_rows[0, :1].copy()
        return self._best(present, np.array([-1]), np.inf, self._places("w_out", np.array([0]), 0))

    def change(self, tensor: str, row: int, column: int, value: float) -> None:
        array, rows, columns = self._places(tensor, np.array([row]), column)
        array[rows, columns] = value

    def take_best(self, tensor: str, column: int, values: Array, taken: Array, loss: float) -> float:
        return self._best(values, taken, loss, self._places(tensor, np.arange(taken.size), column))

    def _best(self, values: Array, taken: Array, loss: float, places: tuple[Array, Array, Array]) -> float:
        best = take_best_values(
            values, taken, loss, *places, self._inputs, self._target, self._w_rows, self._b_row, self._decay,
            self._out_rows, self._b_out, self._network.grid, *self._space,
        )  # fmt: skip
        return float(best)
