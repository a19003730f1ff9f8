"""Coordinate search over the codes of a quantized network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray


class CodedNetwork(Protocol):
    """A quantized network whose codes can be tried one at a time."""

    codes: Mapping[str, NDArray[Any]]
    max_code: int

    def set_code(self, tensor: str, row: int, column: int, code: float) -> None:
        """Change one code, and its effective weight."""
        ...

    def loss(self) -> float:
        """Loss on the calibration set."""
        ...

    def improve_column(self, tensor: str, column: int, loss: float) -> float:
        """`take_best_codes`, or what comes to the same; `loss` is that of the present codes."""
        ...


def coordinate_search(network: CodedNetwork, sweeps: int) -> list[float]:
    """Let each weight in turn take the code with the smallest loss, until a sweep changes nothing.

    Weights are visited tensor by tensor in the order of `codes`, unit by unit (columns), then along the unit's inputs.
    A tie keeps the code that is. Returns the loss before the first sweep and after each; it never rises.
    """
    losses = [network.loss()]
    for _ in range(sweeps):
        loss = losses[-1]
        for tensor, codes in network.codes.items():
            for column in range(codes.shape[1]):
                loss = network.improve_column(tensor, column, loss)
        losses.append(loss)
        if not losses[-1] < losses[-2]:
            break
    return losses


def take_best_codes(network: CodedNetwork, tensor: str, column: int, loss: float) -> float:
    """Let each weight of a column, row by row, take its best code. Returns the loss of what is left."""
    codes = network.codes[tensor]
    for row in range(codes.shape[0]):
        present = best = int(codes[row, column])
        for code in range(-network.max_code, network.max_code + 1):
            if code != present:
                network.set_code(tensor, row, column, code)
                tried = network.loss()
                if tried < loss:
                    best, loss = code, tried
        network.set_code(tensor, row, column, best)
    return loss
