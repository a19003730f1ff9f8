"""Losses of the sine study, one number at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np


def squared_error(prediction: Any, target: Any, mask: Any = None) -> Any:
    """Per sequence, ½·squared error summed over outputs; its mean over b is the mean over sequences and times.

    With a mask [T, B] the mean over b is Σ mask·½·error / Σ mask.
    """
    steps, batch, outputs = prediction.shape
    if mask is None:
        mask = np.ones((steps, batch))
    total = sum(float(mask[t, b]) for t in range(steps) for b in range(batch))
    value = np.zeros(batch)
    for b in range(batch):
        for t in range(steps):
            square = sum((float(prediction[t, b, o]) - float(target[t, b, o])) ** 2 for o in range(outputs))
            value[b] += float(mask[t, b]) * 0.5 * square
    return value * batch / total


def hidden_distance(hidden: Any, reference: Any) -> Any:
    """Per sequence, the mean over times of (1/2H) Σ_i (h_i − h_i^teacher)²."""
    steps, batch, units = hidden.shape
    value = np.zeros(batch)
    for b in range(batch):
        for t in range(steps):
            square = sum((float(hidden[t, b, i]) - float(reference[t, b, i])) ** 2 for i in range(units))
            value[b] += square / (2 * units)
    return value / steps
