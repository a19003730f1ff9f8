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
