"""Distributions over classes and what compares them, one number at a time, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def log_probabilities(logits: Any, temperature: float = 1.0) -> list[float]:
    """Logarithms of the softmax of one row."""
    scaled = [float(z) / temperature for z in logits]
    highest = max(scaled)
    total = math.log(sum(math.exp(a - highest) for a in scaled))
    return [a - highest - total for a in scaled]


def log_softmax(logits: Any, temperature: float = 1.0) -> Any:
    """Logarithms of the softmax of every row [N, K]."""
    return np.array([log_probabilities(row, temperature) for row in logits])


def forward_kl(student: Any, teacher: Any, temperature: float) -> float:
    """Σ p·ln(p/q) of two rows of logits."""
    log_q, log_p = log_probabilities(student, temperature), log_probabilities(teacher, temperature)
    return sum(math.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True))


def reverse_kl(student: Any, teacher: Any, temperature: float) -> float:
    """Σ q·ln(q/p): the other with student and teacher exchanged."""
    return forward_kl(teacher, student, temperature)


def js(student: Any, teacher: Any, temperature: float) -> float:
    """½Σ p·ln(p/m) + ½Σ q·ln(q/m) with m = (p + q)/2; a probability of zero counts nothing."""
    total = 0.0
    for a, b in zip(log_probabilities(teacher, temperature), log_probabilities(student, temperature), strict=True):
        p, q = math.exp(a), math.exp(b)
        for probability in (p, q):
            if probability > 0.0:
                total += 0.5 * probability * math.log(2.0 * probability / (p + q))
    return total


def tv(student: Any, teacher: Any, temperature: float) -> float:
    """½Σ |q − p|."""
    pairs = zip(log_probabilities(teacher, temperature), log_probabilities(student, temperature), strict=True)
    return 0.5 * sum(abs(math.exp(b) - math.exp(a)) for a, b in pairs)


def logit_mse(student: Any, teacher: Any, temperature: float) -> float:
    """Half the mean square of the difference of logits less its mean; the temperature is not looked at."""
    differences = [float(s) - float(t) for s, t in zip(student, teacher, strict=True)]
    mean = sum(differences) / len(differences)
    return 0.5 * sum((d - mean) ** 2 for d in differences) / len(differences)


def per_sample(rows: Any, mask: Any = None) -> Any:
    """From one value for each time and sample [T, B] those of samples, whose mean is that of what the mask leaves."""
    steps, batch = np.shape(rows)
    if mask is None:
        mask = np.ones((steps, batch))
    total = sum(float(mask[t][b]) for t in range(steps) for b in range(batch))
    return np.array(
        [batch * sum(float(mask[t][b]) * float(rows[t][b]) for t in range(steps)) / total for b in range(batch)]
    )


def cross_entropy(logits: Any, labels: Any, mask: Any = None) -> Any:
    """Per sample, −ln of the probability of the right class; logits [T, B, K], labels and mask [T, B]."""
    steps, batch = labels.shape
    rows = [[-log_probabilities(logits[t, b])[labels[t, b]] for b in range(batch)] for t in range(steps)]
    return per_sample(rows, mask)


def divergence(name: str, student: Any, teacher: Any, temperature: float, mask: Any = None) -> Any:
    """Per sample, one of the five above; logits [T, B, K]."""
    function = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "js": js, "tv": tv, "logit_mse": logit_mse}[name]
    steps, batch = student.shape[:2]
    rows = [[function(student[t, b], teacher[t, b], temperature) for b in range(batch)] for t in range(steps)]
    return per_sample(rows, mask)
