"""What a network is: named parameters, a forward pass to named outputs, and its backward pass.

A network owns the arrays that its passes write to, sized on first use and reused; what `forward` returns is valid until
its next call. It knows nothing of quantization: it is handed effective weights and gives gradients of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from numpy.typing import DTypeLike

from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.factors.contract import Array, Arrays, Named


@dataclass(frozen=True)
class Tensor:
    """One parameter: its shape, whether a quantizer acts on it, and U(low, high) that it starts from."""

    shape: tuple[int, ...]
    quantized: bool
    low: float
    high: float


class Pricing(Protocol):
    """A network as it is now, on some inputs: what the squared error would be if one weight were another."""

    def errors(self, tensor: str, row: int, column: int, values: Array, bound: float) -> Array:
        """Σ (prediction − target)² [V], float64, with each of `values` [V] in one place; infinity where > bound."""
        ...

    def change(self, tensor: str, row: int, column: int, value: float) -> None:
        """Let one weight be another from now on."""
        ...


class Network(ABC):
    """A network of one architecture and dtype."""

    tensors: Mapping[str, Tensor]
    outputs: Mapping[str, tuple[int, ...]]

    @abstractmethod
    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str]) -> Arrays:
        """Outputs by name, at least those in `want`."""

    @abstractmethod
    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays) -> None:
        """Write the gradient of every parameter, from those of the outputs of the last `forward`."""

    def pricing(self, weights: Arrays, inputs: Array, target: Array) -> Pricing | None:
        """Prices of changes of single weights, where the network knows a cheaper way than running all of itself."""
        return None

    def initial_parameters(self, stream: Stream, dtype: DTypeLike) -> ParameterSet:
        """Random initial values, each tensor from its own part of the stream."""
        parameters = ParameterSet({name: tensor.shape for name, tensor in self.tensors.items()}, dtype)
        for name, tensor in self.tensors.items():
            if tensor.low < tensor.high:
                parameters[name][...] = stream.child(name).uniform(0, tensor.shape, tensor.low, tensor.high, dtype)
        return parameters


class ModelSpec(Named):
    """The `model` section of a study: the sizes of one kind of network."""

    @classmethod
    @abstractmethod
    def example(cls) -> ModelSpec:
        """A small instance that stands for this kind of network in gradient checks."""

    @abstractmethod
    def build(self, inputs: int, outputs: int, step_time: float, dtype: DTypeLike) -> Network:
        """The network for D inputs and O outputs; `step_time` is the time between two steps of a sequence."""
