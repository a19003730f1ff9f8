"""Adam with a clipped gradient, one number at a time, as algorithm 1 of Kingma and Ba has it."""

from __future__ import annotations

import math
from collections.abc import Sequence


def norm(gradient: Sequence[float]) -> float:
    """The Euclidean norm."""
    return math.sqrt(math.fsum(g * g for g in gradient))


def clip_factor(gradient: Sequence[float], largest: float) -> float:
    """What a gradient is multiplied by so that its norm is at most `largest`."""
    return min(1.0, largest / norm(gradient))


def minimize(
    parameters: Sequence[float],
    gradients: Sequence[Sequence[float]],
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> list[float]:
    """Parameters after one step for each of `gradients`."""
    theta, m, v = list(parameters), [0.0] * len(parameters), [0.0] * len(parameters)
    for t, gradient in enumerate(gradients, start=1):
        for i, g in enumerate(gradient):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            mean, square = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            theta[i] -= lr * mean / (math.sqrt(square) + epsilon)
    return theta
