"""Sine waves, one number at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def sine_waves(phases: Sequence[float], dt: float, steps: int) -> Any:
    """sin(t·dt + φ_b), [steps, B]."""
    return np.array([[math.sin(t * dt + float(phase)) for phase in phases] for t in range(steps)])
