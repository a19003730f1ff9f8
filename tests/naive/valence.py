"""Regimes, valences, weights of samples and rolling ahead, by their equations, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def regime_chain(chances: Any, start: Sequence[float], moves: Any) -> Any:
    """Regimes [T, B] drawn by inversion from chances [T, B], probabilities start [K] and moves [K, K]."""
    steps, samples = chances.shape
    found = np.zeros((steps, samples), int)
    for b in range(samples):
        for t in range(steps):
            found[t, b] = _drawn(chances[t, b], moves[found[t - 1, b]] if t else start)
    return found


def _drawn(chance: float, probabilities: Sequence[float]) -> int:
    total = 0.0
    for k, probability in enumerate(probabilities):
        total += float(probability)
        if total > chance:
            return k
    return len(probabilities) - 1


def moves(regimes: int, stay: float, onward: float) -> Any:
    """Probabilities [K, K] of a chain that stays, moves on in a circle, or moves anywhere else."""
    found = np.full((regimes, regimes), 0.0)
    for k in range(regimes):
        others = [j for j in range(regimes) if j not in (k, (k + 1) % regimes)]
        found[k, k] = stay
        found[k, (k + 1) % regimes] = (1 - stay) * (onward if others else 1.0)
        for j in others:
            found[k, j] = (1 - stay) * (1 - onward) / len(others)
    return found


def mean_ahead(values: Any, horizon: int) -> Any:
    """Mean of the `horizon` values after each step, [T − horizon, B]."""
    return np.array([values[t + 1 : t + 1 + horizon].mean(axis=0) for t in range(len(values) - horizon)])


def softmax(logits: Any) -> Any:
    """Over the last axis."""
    raised = np.exp(np.asarray(logits, float) - np.max(logits, axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def saliency(valence: Any, logits: Any) -> Any:
    """0.6·mean v + 0.25·min v − 0.15·entropy for each sample, of valence [T, B] and logits [T, B, K]."""
    p = softmax(logits)
    entropy = -(p * np.log(p)).sum(axis=-1).mean(axis=0)
    v = np.asarray(valence, float)
    return 0.6 * v.mean(axis=0) + 0.25 * v.min(axis=0) - 0.15 * entropy


def standard_scores(s: Any) -> Any:
    """(s − μ)/σ, with σ the root of the mean square."""
    return (s - np.mean(s)) / np.std(s)


def effective_sample_size(weights: Any) -> float:
    """(Σw)²/Σw²."""
    return float(np.sum(weights) ** 2 / np.sum(np.square(weights)))


def cross_entropy(logits: Any, label: Any) -> Any:
    """−log p[label], mean over times, [B], of logits [T, B, K] and label [T, B]."""
    steps, samples = label.shape
    p = softmax(logits)
    return np.array([-sum(math.log(p[t, b, label[t, b]]) for t in range(steps)) / steps for b in range(samples)])


def forward_kl(student: Any, teacher: Any) -> Any:
    """KL(teacher‖student) at temperature 1, mean over times, [B]."""
    p, q = softmax(teacher), softmax(student)
    return (p * (np.log(p) - np.log(q))).sum(axis=-1).mean(axis=0)


def mean_square(student: Any, target: Any) -> Any:
    """Mean over times and outputs of (student − target)², [B], of arrays [T, B, ·]."""
    return np.square(np.asarray(student, float) - np.asarray(target, float)).mean(axis=(0, 2))


def rolled_valence(forward: Callable[[Any], tuple[Any, Any]], inputs: Any, emissions: Any, steps: int) -> float:
    """Mean valence over steps after the inputs, each fed with the expected emission of the next regime.

    `forward` gives logits [T, B, K] and valence [T, B, 1] of inputs [T, B, D].
    """
    seen, found = [np.asarray(one, float) for one in inputs], []
    for _ in range(steps):
        logits, valence = forward(np.array(seen))
        found.append(np.asarray(valence, float)[-1, :, 0])
        seen.append(softmax(logits[-1]) @ np.asarray(emissions, float))
    return float(np.mean(found))
