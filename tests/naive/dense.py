"""Dense layers, one number at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def dense(x: Any, w: Any, b: Any) -> Any:
    """b[u] + Σ_i x[n, i]·w[i, u] for x [N, I], w [I, U], b [U]."""
    out = np.zeros((len(x), len(b)))
    for n in range(len(x)):
        for u in range(len(b)):
            out[n, u] = float(b[u]) + sum(float(x[n, i]) * float(w[i, u]) for i in range(len(w)))
    return out


def perceptron(weights: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
    """Columns of the readout and the last hidden layer of an MLP with weights w1, b1, … over x [N, D]."""
    layers = len(weights) // 2
    for number in range(1, layers):
        linear = dense(x, weights[f"w{number}"], weights[f"b{number}"])
        x = np.array([[math.tanh(a) for a in row] for row in linear])
    return dense(x, weights[f"w{layers}"], weights[f"b{layers}"]), x
