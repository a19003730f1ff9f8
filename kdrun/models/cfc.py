"""The closed-form continuous-time network: one cell over time, and a linear readout of every state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.cfc import (
    cfc_backward,
    cfc_forward,
    decay_backward,
    decay_forward,
    pack_weights,
    readout_backward,
    readout_forward,
    unpack_gradients,
    width,
)
from kdrun.factors.contract import Array, Arrays
from kdrun.models.contract import ModelSpec, Network, Tensor

TAU_RANGE = (0.5, 2.0)


class Cfc(ModelSpec):
    """A CfC cell of `hidden` units."""

    name: ClassVar[str] = "cfc"
    source: ClassVar[str] = "Hasani et al., Closed-form continuous-time neural networks, 2022 (arXiv 2106.13898)"

    hidden: int = Field(16, ge=1, le=4096, strict=True, description="number of hidden units")

    @classmethod
    def example(cls) -> Cfc:
        """Eight units: fewer than the kernels work with, so that their padding is checked too."""
        return cls(hidden=8)

    def build(self, inputs: int, outputs: int, step_time: float, dtype: DTypeLike) -> Network:
        """The network with D = inputs, O = outputs, dt = step_time."""
        return CfcNetwork(inputs, self.hidden, outputs, step_time, dtype)


@dataclass
class _Space:
    """Arrays of one sequence length and batch size; see core/cfc.py for their meaning."""

    operands: Array
    gates: Array
    hidden: Array
    y: Array
    dhidden: Array
    dgates: Array
    carry: Array


class CfcNetwork(Network):
    """A CfC with D inputs, H hidden units and O outputs, over time-major inputs [T, B, D].

    Outputs: `prediction` [T, B, O] and `hidden` [T, B, H].
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, step_time: float, dtype: DTypeLike) -> None:
        reach = 1.0 / np.sqrt(inputs + hidden)
        out_reach = 1.0 / np.sqrt(hidden)
        self.tensors = {
            "w": Tensor((inputs + hidden, 2 * hidden), True, -reach, reach),
            "b": Tensor((2 * hidden,), False, 0.0, 0.0),
            "tau": Tensor((hidden,), False, *TAU_RANGE),
            "w_out": Tensor((hidden, outputs), True, -out_reach, out_reach),
            "b_out": Tensor((outputs,), False, 0.0, 0.0),
        }
        self.outputs = {"prediction": (outputs,), "hidden": (hidden,)}
        self.inputs, self.hidden, self.step_time, self.dtype = inputs, hidden, step_time, np.dtype(dtype)
        self.units = units = width(hidden)
        self._decay, self._ddecay = self._zeros(units), self._zeros(units)
        self._w_rows, self._dw_rows = self._zeros(units + inputs, 2 * units), self._zeros(units + inputs, 2 * units)
        self._b_row, self._db_row = self._zeros(2 * units), self._zeros(2 * units)
        self._w_back = self._zeros(2 * units, units)
        self._out_rows, self._dout_rows = self._zeros(outputs, units), self._zeros(outputs, units)
        self._spaces: dict[tuple[int, int], _Space] = {}

    def _zeros(self, *shape: int) -> Array:
        return np.zeros(shape, self.dtype)

    def _space(self, steps: int, batch: int) -> _Space:
        if (steps, batch) not in self._spaces:
            rows, units, outputs = steps * batch, self.units, self.outputs["prediction"][0]
            self._spaces[steps, batch] = _Space(
                operands=self._zeros(rows + batch, units + self.inputs),
                gates=self._zeros(rows, 2 * units),
                hidden=self._zeros(rows, units),
                y=self._zeros(rows, outputs),
                dhidden=self._zeros(rows, units),
                dgates=self._zeros(rows, 2 * units),
                carry=self._zeros(batch, units),
            )
        return self._spaces[steps, batch]

    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str]) -> Arrays:
        """Run the network; all its outputs come at no extra cost."""
        steps, batch = inputs.shape[:2]
        space = self._space(steps, batch)
        decay_forward(weights["tau"], self.step_time, self._decay)
        pack_weights(
            weights["w"], weights["b"], weights["w_out"], self.hidden,
            self._w_rows, self._b_row, self._w_back, self._out_rows,
        )  # fmt: skip
        cfc_forward(inputs, self._w_rows, self._b_row, self._decay, space.operands, space.gates, space.hidden)
        readout_forward(space.hidden, self._out_rows, weights["b_out"], space.y)
        return {
            "prediction": space.y.reshape(steps, batch, -1),
            "hidden": self._true_units(space.hidden).reshape(steps, batch, self.hidden),
        }

    def _true_units(self, rows: Array) -> Array:
        """The first H units of each row, contiguous; the array itself where there are no others."""
        return np.ascontiguousarray(rows[:, : self.hidden])

    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays) -> None:
        """Backpropagation through time."""
        steps, batch = inputs.shape[:2]
        space = self._space(steps, batch)
        self._start_dhidden(space, d_outputs.get("hidden"))
        dy = d_outputs["prediction"].reshape(steps * batch, -1) if "prediction" in d_outputs else np.zeros_like(space.y)
        readout_backward(dy, space.hidden, self._out_rows, space.dhidden, self._dout_rows, gradients["b_out"])
        cfc_backward(
            space.dhidden, self._w_back, self._decay, space.operands, space.gates, self.units + self.inputs,
            space.carry, space.dgates, self._dw_rows, self._db_row, self._ddecay,
        )  # fmt: skip
        decay_backward(weights["tau"], self.step_time, self._decay, self._ddecay, gradients["tau"])
        unpack_gradients(
            self._dw_rows, self._db_row, self._dout_rows, self.hidden,
            gradients["w"], gradients["b"], gradients["w_out"],
        )  # fmt: skip

    def _start_dhidden(self, space: _Space, dhidden: Any) -> None:
        if dhidden is None:
            space.dhidden.fill(0.0)
        else:
            space.dhidden[:, : self.hidden] = dhidden.reshape(-1, self.hidden)
