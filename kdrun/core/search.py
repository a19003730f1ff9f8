"""Coordinate search over the codes of a quantized network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def losses(self, tensor: str, row: int, column: int, codes: Sequence[int], bound: float) -> Sequence[float]:
        """Loss with each of `codes` in one place, which keeps the code that it has; infinity may stand for > bound."""
        ...


def coordinate_search(network: CodedNetwork, sweeps: int) -> list[float]:
    """Let each weight in turn take the code with the smallest loss, until a sweep changes nothing.

    Weights are visited tensor by tensor in the order of `codes`, unit by unit (columns), then along the unit's inputs.
    A tie keeps the code that is. Returns the loss before the first sweep and after each; it never rises.
    """
    losses = [network.loss()]
    for _ in range(sweeps):
        best = losses[-1]
        for tensor, codes in network.codes.items():
            for column in range(codes.shape[1]):
                for row in range(codes.shape[0]):
                    best = _take_best_code(network, tensor, row, column, best)
        losses.append(best)
        if not losses[-1] < losses[-2]:
            break
    return losses


def _take_best_code(network: CodedNetwork, tensor: str, row: int, column: int, loss: float) -> float:
    """Leave the best code in place; `loss` is that of the present code. Returns the loss of what is left."""
    present = best = int(network.codes[tensor][row, column])
    others = [code for code in range(-network.max_code, network.max_code + 1) if code != present]
    for code, tried in zip(others, network.losses(tensor, row, column, others, loss), strict=True):
        if tried < loss:
            best, loss = code, tried
    if best != present:
        network.set_code(tensor, row, column, best)
    return loss
