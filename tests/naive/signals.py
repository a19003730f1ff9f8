"""Sine waves, one number at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def sine_waves(phases: Sequence[float], dt: float, steps: int) -> Any:
    """sin(t·dt + φ_b), [steps, B]."""
    return np.array([[math.sin(t * dt + float(phase)) for phase in phases] for t in range(steps)])


def sine_sums(starts: Sequence[float], dt: float, frequencies: Sequence[float], steps: int) -> Any:
    """Σ_k sin(ω_k·(start_b + t·dt)), [steps, B]."""
    return np.array(
        [[sum(math.sin(w * (float(start) + t * dt)) for w in frequencies) for start in starts] for t in range(steps)]
    )


def _lorenz_slope(point: Any) -> Any:
    x, y, z = point
    return np.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def lorenz_orbit(start: Sequence[float], dt: float, burn_in: int, every: int, steps: int) -> Any:
    """Lorenz's system from one point by the classical Runge–Kutta method, [steps, 3]."""
    point = np.array(start, float)
    found = []
    for number in range(burn_in + (steps - 1) * every + 1):
        if number >= burn_in and (number - burn_in) % every == 0:
            found.append(point)
        k1 = _lorenz_slope(point)
        k2 = _lorenz_slope(point + dt / 2 * k1)
        k3 = _lorenz_slope(point + dt / 2 * k2)
        k4 = _lorenz_slope(point + dt * k3)
        point = point + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.array(found)
