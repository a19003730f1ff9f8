"""The multilayer perceptron: dense layers with tanh, and a linear readout of the last."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.arrays import zeros
from kdrun.core.dense import (
    dense_backward,
    dense_forward,
    dense_input_backward,
    tanh_backward_inplace,
    tanh_inplace,
)
from kdrun.core.vector import width
from kdrun.factors.contract import Array, Arrays
from kdrun.models.contract import ModelSpec, Network, Readout, Tensor

DEEPEST = 64


class Mlp(ModelSpec):
    """A multilayer perceptron of `layers` hidden layers of `hidden` units each."""

    name: ClassVar[str] = "mlp"
    source: ClassVar[str] = (
        "textbook; initial weights from U(−a, a), a = √(6/(fan_in + fan_out)), as in Glorot and Bengio, Understanding"
        " the difficulty of training deep feedforward neural networks, 2010"
    )

    hidden: int = Field(32, ge=1, le=4096, strict=True, description="number of units of each hidden layer")
    layers: int = Field(1, ge=1, le=DEEPEST, strict=True, description="number of hidden layers")

    @classmethod
    def example(cls) -> Mlp:
        """Two layers of seven units: fewer than the kernels work with, so that their padding is checked too."""
        return cls(hidden=7, layers=2)

    def build(self, inputs: int, heads: Mapping[str, int], step_time: float, dtype: DTypeLike) -> Network:
        """The network with D = inputs and O = the width of all heads; it knows no time."""
        return MlpNetwork(inputs, (self.hidden,) * self.layers, heads, dtype)


class _Layer:
    """One layer's names among the parameters, and its weights and their gradients laid out for the kernels."""

    def __init__(self, number: int, inputs: int, units: int, dtype: np.dtype[Any]) -> None:
        self.weight, self.bias, self.units = f"w{number}", f"b{number}", units
        self.padded = width(units)
        self.w_rows, self.dw_rows = zeros((inputs, self.padded), dtype), zeros((inputs, self.padded), dtype)
        self.b_row, self.w_back = zeros((1, self.padded), dtype), zeros((self.padded, width(inputs)), dtype)

    def forward(self, x: Array, weights: Arrays, place: int, out: Array) -> None:
        """The linear part, of rows x [N, ≥ inputs] to out [N, padded]."""
        w, b = weights[self.weight], weights[self.bias]
        dense_forward(x, w, b, place * self.units, self.units, self.w_rows, self.b_row, out)

    def backward(self, x: Array, dout: Array, gradients: Arrays, place: int) -> None:
        """Gradients of the weights of the last forward pass."""
        dw, db = gradients[self.weight], gradients[self.bias]
        dense_backward(x, dout, place * self.units, self.units, self.dw_rows, dw, db)


class _Space:
    """What each layer gives for one number of rows, and the gradients of it; all zero at first."""

    def __init__(self, network: MlpNetwork, rows: int) -> None:
        self.values = [zeros((rows, layer.padded), network.dtype) for layer in network.layers]
        self.gradients = [zeros((rows, layer.padded), network.dtype) for layer in network.layers]
        self.joined = zeros((rows, network.readout.width), network.dtype)


class MlpNetwork(Network):
    """Dense layers of the given widths over inputs [B, D] or [T, B, D], each row by itself.

    Outputs: each head [..., ·], columns of one readout, and `hidden` [..., H], the last hidden layer.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], heads: Mapping[str, int], dtype: DTypeLike) -> None:
        self.readout, self.dtype = Readout(heads), np.dtype(dtype)
        self.outputs = {**{name: (columns,) for name, columns in heads.items()}, "hidden": (widths[-1],)}
        sizes = [inputs, *widths, self.readout.width]
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[_Layer] = []
        for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), start=1):
            layer = _Layer(number, fan_in, fan_out, self.dtype)
            reach = math.sqrt(6.0 / (fan_in + fan_out))
            self.tensors[layer.weight] = Tensor((fan_in, fan_out), True, -reach, reach)
            self.tensors[layer.bias] = Tensor((fan_out,), False, 0.0, 0.0)
            self.layers.append(layer)
        self._spaces: dict[int, _Space] = {}

    def _space(self, inputs: Array) -> _Space:
        rows = math.prod(inputs.shape[:-1])
        space = self._spaces.get(rows)
        if space is None:
            space = self._spaces[rows] = _Space(self, rows)
        return space

    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str], place: int = 0) -> Arrays:
        """Run the layers; heads are read out where they are wanted."""
        space, x = self._space(inputs), inputs.reshape(-1, inputs.shape[-1])
        for layer, value in zip(self.layers[:-1], space.values, strict=False):
            layer.forward(x, weights, place, value)
            tanh_inplace(value, self.grid)
            x = value
        outputs: dict[str, Array] = {}
        if not want.isdisjoint(self.readout.names):
            last, y = self.layers[-1], space.values[-1]
            last.forward(x, weights, place, y)
            columns = np.ascontiguousarray(y[:, : self.readout.width])
            outputs = self.readout.split(columns.reshape(*inputs.shape[:-1], -1), want)
        if "hidden" in want:
            hidden = np.ascontiguousarray(x[:, : self.outputs["hidden"][0]])
            outputs["hidden"] = hidden.reshape(*inputs.shape[:-1], -1)
        return outputs

    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays, place: int = 0) -> None:
        """Backpropagation, from the readout to the first layer."""
        space = self._space(inputs)
        self._start_gradients(space, d_outputs, inputs.shape[:-1])
        for number in range(len(self.layers) - 1, -1, -1):
            layer, dvalue = self.layers[number], space.gradients[number]
            if number < len(self.layers) - 1:
                tanh_backward_inplace(space.values[number], dvalue)
            x = space.values[number - 1] if number else inputs.reshape(-1, inputs.shape[-1])
            layer.backward(x, dvalue, gradients, place)
            if number:
                dense_input_backward(dvalue, layer.w_rows, layer.w_back, space.gradients[number - 1])

    def _start_gradients(self, space: _Space, d_outputs: Arrays, leading: tuple[int, ...]) -> None:
        """Gradients of the readout and of the last hidden layer from those of the outputs; all others are zero."""
        for gradient in space.gradients:
            gradient.fill(0.0)
        dy = self.readout.join(d_outputs, space.joined.reshape(*leading, -1))
        if dy is not None:
            space.gradients[-1][:, : self.readout.width] = dy.reshape(-1, self.readout.width)
        dhidden = d_outputs.get("hidden")
        if dhidden is not None:
            space.gradients[-2][:, : dhidden.shape[-1]] = dhidden.reshape(-1, dhidden.shape[-1])
