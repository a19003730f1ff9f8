"""Axes on the analysis scale: positions are analysis values, labels are values as they were measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from kdrun.report.text import is_scientific
from kdrun.stats.scales import Floats, ScaleName, from_analysis, to_analysis

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SCALE_WORDS = {"log10": "log scale", "linear": "linear scale", "logit": "logit scale"}
MEAN_WORDS = {"log10": "geometric mean", "linear": "mean", "logit": "mean of logits"}
AXIS_WORDS = {
    "log10": "log scale, geometric mean",
    "linear": "linear scale, mean",
    "logit": "logit scale, mean of logits",
}
# Half the width of an axis on which nothing varies.
ALONE = {"log10": 0.3, "logit": 0.5}


@dataclass(frozen=True)
class Ticks:
    """Where labels stand, what they say, and where small marks stand."""

    places: list[float]
    labels: list[str]
    minor: list[float]


def scale_ticks(scale: ScaleName, low: float, high: float, most: int = 6) -> Ticks:
    """Ticks between two analysis values; about `most` labels at most."""
    minor: list[float] = []
    values: list[float] = []
    if scale == "log10" and high - low > 0.8:
        values, minor = _log_values(low, high, most)
    elif scale == "logit" and high - low > 3.0:
        values = _logit_values(low, high, most)
    even = len(values) < 2
    if even:
        values = _even_values(float(from_analysis(low, scale)), float(from_analysis(high, scale)), most)
    places = [float(to_analysis(value, scale)) for value in values]
    kept = [(place, value) for place, value in zip(places, values, strict=True) if low <= place <= high]
    return Ticks([place for place, _ in kept], number_labels([value for _, value in kept], even), minor)


def _log_values(low: float, high: float, most: int) -> tuple[list[float], list[float]]:
    decades = list(range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1))
    between = [d + math.log10(k) for d in range(math.floor(low), math.ceil(high)) for k in range(2, 10)]
    minor = [place for place in between if low <= place <= high]
    if len(decades) > 2:
        step = -(-len(decades) // most)
        return [10.0**d for d in decades if d % step == 0], minor if step == 1 else []
    wanted = (1, 2, 5) if high - low < 1.6 else (1, 3)
    values = [float(f"{k}e{d}") for d in range(math.floor(low), math.ceil(high) + 1) for k in wanted]
    return [value for value in values if low <= math.log10(value) <= high], minor


def _logit_values(low: float, high: float, most: int) -> list[float]:
    tails = [float(f"1e-{k}") for k in range(1, 16)]
    inside = [p for p in (*reversed(tails), 0.5, *(1 - p for p in tails)) if low <= to_analysis(p, "logit") <= high]
    step = -(-len(inside) // most)
    middle = inside.index(0.5) % step if 0.5 in inside else 0
    return inside[middle::step]


def _even_values(low: float, high: float, most: int) -> list[float]:
    values = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    spacing = float(values[1] - values[0]) if len(values) > 1 else 1.0
    return [0.0 if abs(value) < 1e-9 * spacing else float(value) for value in values]


def number_labels(values: Sequence[float], even: bool = False) -> list[str]:
    """Numbers that stand together on an axis, all plain or all with powers of ten; `even`: with the same decimals."""
    if is_scientific(values):
        return [_power(value) for value in values]
    labels = [_plain(value) for value in values]
    decimals = max((len(label.partition(".")[2]) for label in labels), default=0)
    return [f"{value:.{decimals}f}".replace("-", "−") for value in values] if even else labels


def _plain(value: float) -> str:
    digits = np.format_float_positional(float(f"{value:.12g}"), trim="-")
    return digits.replace("-", "−")


def _power(value: float) -> str:
    if not value:
        return "0"
    mantissa, exponent = f"{value:.11e}".split("e")
    digits = _plain(float(mantissa))
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return power if digits == "1" else f"−{power}" if digits == "−1" else f"{digits}×{power}"


def padded(scale: ScaleName, low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """Limits of an axis around analysis values from `low` to `high`, with room where they are the same."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):
        room = ALONE.get(scale, 0.1 * abs(high) or 1.0)
        return low - room, high + room
    return low - share * span, high + share * span


def limits(scale: ScaleName, points: Any, bounds: Any = ()) -> tuple[float, float]:
    """Limits of an axis that holds `points`, and of `bounds` of intervals what leaves the points a third of it."""
    inner, outer = (_finite(values) for values in (points, bounds))
    low, high = padded(scale, float(inner.min()), float(inner.max()), 0.0)
    if len(outer):
        reach = high - low
        low = max(min(low, float(outer.min())), low - reach)
        high = min(max(high, float(outer.max())), high + reach)
    return padded(scale, low, high)


def _finite(values: Any) -> Floats:
    flat = np.asarray(values, np.float64).ravel()
    return flat[np.isfinite(flat)]
