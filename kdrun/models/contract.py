"""What a network is: named parameters, a forward pass to named outputs, and its backward pass.

A network owns the arrays that its passes write to, sized on first use and reused; what `forward` returns is valid until
its next call. It knows nothing of quantization: it is handed effective weights and gives gradients of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
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
    """A network as it is now, on some inputs: its loss, and what that would be if single weights were others.

    The loss is half the squared error, summed over outputs, averaged over steps and samples.
    """

    def loss(self) -> float:
        """The loss as the weights are."""
        ...

    def change(self, tensor: str, row: int, column: int, value: float) -> None:
        """Let one weight be another from now on."""
        ...

    def take_best(self, tensor: str, column: int, values: Array, taken: Array, loss: float) -> float:
        """Let each weight of a column in turn be that of `values` [V] with the smallest loss; a tie keeps what is.

        taken: int64 [rows], which of the values each weight is; overwritten. `loss` is the present one; that of what is
        left is returned.
        """
        ...


class Passes(Protocol):
    """Passes of M students, which stand side by side, over batches of one shape, in working space of the network's.

    `outputs` [M, T, B, ...], by name, are written by `forward`; their gradients, `slopes`, are read by `backward`.
    """

    outputs: dict[str, Array]
    slopes: dict[str, Array]

    def forward(self, weights: Arrays, inputs: Array) -> None:
        """Write `outputs`."""
        ...

    def backward(self, weights: Arrays, gradients: Arrays) -> None:
        """Write the gradient of every parameter of the students, from `slopes` and the last `forward`."""
        ...


class Network(ABC):
    """A network of one architecture and dtype.

    Students of one architecture may stand side by side, so that what is done to all their weights is done at once: a
    parameter [..., n] is then n columns of an array [..., S·n], those of the student at `place`.

    Hidden values lie in [−1, 1]; where `grid` is not 0 they are multiples of 1/grid, in forward passes. Backward passes
    take the rounding for the identity.
    """

    grid: int = 0

    tensors: Mapping[str, Tensor]
    outputs: Mapping[str, tuple[int, ...]]
    dtype: np.dtype[Any]

    @abstractmethod
    def forward(self, weights: Arrays, inputs: Array, want: frozenset[str], place: int = 0) -> Arrays:
        """Outputs by name, at least those in `want`."""

    def run_only(self, weights: Arrays, inputs: Array, want: frozenset[str]) -> Arrays:
        """`forward` where no `backward` will follow."""
        return self.forward(weights, inputs, want)

    @abstractmethod
    def backward(self, weights: Arrays, inputs: Array, d_outputs: Arrays, gradients: Arrays, place: int = 0) -> None:
        """Write the gradient of every parameter, from those of the outputs of the last `forward`."""

    def passes(self, places: Sequence[int], shape: tuple[int, ...], want: frozenset[str]) -> Passes:
        """Passes of the students at some places at once, over inputs of one shape, where the network has them.

        `want` names outputs, each of which is given a gradient. What stands there is lost in any other pass.
        """
        raise NotImplementedError

    def most_at_once(self, shape: tuple[int, ...]) -> int:
        """How many students' passes over inputs of one shape are best made at once."""
        return 1

    @classmethod
    def takes_several(cls) -> bool:
        """Whether it has `passes` of its own."""
        return cls.passes is not Network.passes

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


class Readout:
    """Heads that are columns of one array [..., O], side by side: split into arrays of their own, and joined again."""

    def __init__(self, heads: Mapping[str, int]) -> None:
        ends = np.cumsum(list(heads.values())).tolist()
        self._columns = {name: slice(end - heads[name], end) for name, end in zip(heads, ends, strict=True)}
        self._only = next(iter(heads)) if len(heads) == 1 else None
        self.names = frozenset(heads)
        self.width: int = ends[-1]

    def split(self, columns: Array, want: frozenset[str]) -> dict[str, Array]:
        """Each wanted head's columns [..., width]; those of an only head are the array itself."""
        if self._only is not None:
            return {self._only: columns} if self._only in want else {}
        return {name: np.ascontiguousarray(columns[..., at]) for name, at in self._columns.items() if name in want}

    def columns_of(self, name: str) -> slice:
        """Which columns a head is."""
        return self._columns[name]

    def join(self, gradients: Arrays, out: Array) -> Array | None:
        """Gradients of heads as those of all columns; a head without one has zeros. None where no head has one.

        `out` [..., O] is written where there are several heads.
        """
        if self._only is not None:
            return gradients.get(self._only)
        given = {name: gradients[name] for name in self._columns if name in gradients}
        if not given:
            return None
        out.fill(0.0)
        for name, gradient in given.items():
            out[..., self._columns[name]] = gradient
        return out


class ModelSpec(Named):
    """The `model` section of a study: the sizes of one kind of network.

    `layers_shown` are the outputs that it has beside the heads that a task asks for; one that `needs_time` runs over
    sequences alone.
    """

    needs_time: ClassVar[bool] = False
    layers_shown: ClassVar[frozenset[str]] = frozenset({"hidden"})

    @classmethod
    @abstractmethod
    def example(cls) -> ModelSpec:
        """A small instance that stands for this kind of network in gradient checks."""

    @abstractmethod
    def build(self, inputs: int, heads: Mapping[str, int], step_time: float, dtype: DTypeLike) -> Network:
        """The network for D inputs and some heads; `step_time` is the time between two steps of a sequence.

        `heads` are the outputs that a task asks for, name and width: columns side by side of one linear readout.
        """
