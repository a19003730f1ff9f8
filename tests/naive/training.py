"""A whole training of a ternary student by the equations of the sine study, with numeric gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.naive import adam, cfc, losses, quantization

QUANTIZED = ("w", "w_out")
STENCIL = ((1, 45.0), (2, -9.0), (3, 1.0))
STEP = 1e-2


def gradient(value: Callable[[], float], array: Any) -> Any:
    """Six-point central differences by every element of `array`."""
    result = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        middle = array[index]
        for distance, weight in STENCIL:
            for sign in (1, -1):
                array[index] = middle + sign * distance * STEP
                result[index] += sign * weight * value() / (60 * STEP)
        array[index] = middle
    return result


def loss(weights: Mapping[str, Any], batch: tuple[Any, Any], dt: float, alpha: float, states: Any) -> float:
    """(1 − α)·½(y − y*)² + α·(1/2H) Σ (h − h_teacher)², averaged over sequences and times."""
    x, target = batch
    y, h = cfc.forward(weights, x, dt)
    value = (1 - alpha) * losses.squared_error(y, target).mean()
    return float(value + alpha * losses.hidden_distance(h, states).mean()) if alpha else float(value)


def train(
    latent: dict[str, Any],
    teacher: Mapping[str, Any],
    batches: Sequence[tuple[Any, Any]],
    dt: float,
    shape: str,
    alpha: Callable[[float], float],
    lr: float,
    clip: float,
) -> list[float]:
    """Loss of every epoch of a ternary student; `latent` is changed as training changes it."""
    scales = {name: quantization.mean_magnitude(latent[name]) for name in QUANTIZED}
    history: list[list[float]] = []
    start = _flat(latent, scales)
    found = []
    for epoch, batch in enumerate(batches):
        progress = epoch / len(batches)
        codes = {name: quantization.codes(latent[name], scales[name], 1) for name in QUANTIZED}
        weights = {**latent, **{name: quantization.effective(codes[name], scales[name]) for name in QUANTIZED}}
        states = cfc.forward(teacher, batch[0], dt)[1]

        def value(weights=weights, batch=batch, progress=progress, states=states) -> float:
            return loss(weights, batch, dt, alpha(progress), states)

        found.append(value())
        slopes = {name: gradient(value, weights[name]) for name in latent}
        scale_slopes = {name: quantization.scale_gradient(slopes[name], codes[name]) for name in QUANTIZED}
        for name in QUANTIZED:
            slopes[name] *= _mask(shape, latent[name], scales[name], 1 + 19 * progress)
        flat = _flat(slopes, scale_slopes)
        factor = adam.clip_factor(flat, clip)
        history.append([factor * slope for slope in flat])
        _assign(latent, scales, adam.minimize(start, history, lr))
    return found


def _mask(shape: str, w: Any, scale: Any, beta: float) -> Any:
    rule = quantization.MASKS[shape]
    return np.array([[rule(w[r, c], scale[c], 1, beta) for c in range(w.shape[1])] for r in range(w.shape[0])])


def _flat(arrays: Mapping[str, Any], scales: Mapping[str, Any]) -> list[float]:
    parts = [*arrays.values(), *scales.values()]
    return [float(number) for part in parts for number in part.reshape(-1)]


def _assign(arrays: Mapping[str, Any], scales: Mapping[str, Any], numbers: list[float]) -> None:
    place = 0
    for array in [*arrays.values(), *scales.values()]:
        array[...] = np.array(numbers[place : place + array.size]).reshape(array.shape)
        place += array.size
    for scale in scales.values():
        np.maximum(scale, 1e-6, out=scale)
