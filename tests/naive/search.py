"""Coordinate search as the sine study tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def coordinate_search(
    codes: Mapping[str, Any], loss: Callable[[Mapping[str, Any]], float], max_code: int, sweeps: int
) -> list[float]:
    """Change `codes` in place; the loss before the first sweep and after each.

    Tensor by tensor, unit by unit, along each unit's inputs; a tie keeps what is; stops when a sweep gained nothing.
    """
    losses = [loss(codes)]
    for _ in range(sweeps):
        for tensor in codes.values():
            for column in range(tensor.shape[1]):
                for row in range(tensor.shape[0]):
                    _improve(codes, tensor, (row, column), loss, max_code)
        losses.append(loss(codes))
        if losses[-1] >= losses[-2]:
            break
    return losses


def _improve(codes: Any, tensor: Any, where: tuple[int, int], loss: Callable[[Any], float], max_code: int) -> None:
    present = tensor[where]
    tried = {present: loss(codes)}
    for code in range(-max_code, max_code + 1):
        tensor[where] = code
        tried.setdefault(code, loss(codes))
    tensor[where] = min(tried, key=lambda code: (tried[code], code != present))
