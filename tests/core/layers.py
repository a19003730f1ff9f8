"""Multilayer perceptrons in numpy that autograd can follow, and random problems for them."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np


def differentiable_perceptron(weights: Any, x: Any) -> tuple[Any, Any]:
    """Columns of the readout and the last hidden layer, for weights w1, b1, … and x [..., D]."""
    layers = len(weights) // 2
    for number in range(1, layers):
        x = anp.tanh(anp.dot(x, weights[f"w{number}"]) + weights[f"b{number}"])
    return anp.dot(x, weights[f"w{layers}"]) + weights[f"b{layers}"], x


def automatic_gradients(weights: dict[str, Any], x: Any, dy: Any, dhidden: Any) -> dict[str, Any]:
    """Gradients of Σ dy·y + Σ dhidden·h by automatic differentiation, in float64."""

    def loss(candidate: dict[str, Any]) -> Any:
        y, h = differentiable_perceptron(candidate, np.asarray(x, np.float64))
        return anp.sum(dy * y) + anp.sum(dhidden * h)

    return autograd.grad(loss)({name: np.asarray(array, np.float64) for name, array in weights.items()})
