"""The CfC by the equations of the sine study, one number at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def sigmoid(a: float) -> float:
    """1/(1 + e⁻ᵃ)."""
    return 1.0 / (1.0 + math.exp(-a))


def decay(tau: float, dt: float) -> float:
    """exp(−dt/(|τ| + 1e−6))."""
    return math.exp(-dt / (abs(tau) + 1e-6))


def forward(weights: Mapping[str, Any], x: Any, dt: float) -> tuple[Any, Any]:
    """Outputs y [T, B, O] and hidden states [T, B, H] over inputs x [T, B, D], from a state of zero.

    weights: w [D+H, 2H] (rows inputs then hidden units, columns gate then candidate), b [2H], tau [H], w_out [H, O],
    b_out [O].
    """
    steps, batch, inputs = x.shape
    hidden, outputs = weights["w_out"].shape
    h = np.zeros((steps, batch, hidden))
    y = np.zeros((steps, batch, outputs))
    for b in range(batch):
        state = [0.0] * hidden
        for t in range(steps):
            operand = [float(x[t, b, d]) for d in range(inputs)] + state
            state = [_next_state(weights, operand, state, i, dt) for i in range(hidden)]
            h[t, b] = state
            for o in range(outputs):
                y[t, b, o] = sum(float(weights["w_out"][i, o]) * state[i] for i in range(hidden))
                y[t, b, o] += float(weights["b_out"][o])
    return y, h


def _next_state(weights: Mapping[str, Any], operand: list[float], state: list[float], unit: int, dt: float) -> float:
    gate = sigmoid(_preactivation(weights, operand, unit))
    candidate = math.tanh(_preactivation(weights, operand, len(state) + unit))
    return (1.0 - gate) * decay(float(weights["tau"][unit]), dt) * state[unit] + gate * candidate


def _preactivation(weights: Mapping[str, Any], operand: list[float], column: int) -> float:
    total = float(weights["b"][column])
    for row, value in enumerate(operand):
        total += float(weights["w"][row, column]) * value
    return total
