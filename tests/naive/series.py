"""A column of a CSV file, split by time and standardised, with Python's own tools."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def column(text: str, name: str, delimiter: str = ",") -> list[float]:
    """The numbers below a header, for files without quotes."""
    lines = text.strip().split("\n")
    place = lines[0].split(delimiter).index(name)
    return [float(line.split(delimiter)[place]) for line in lines[1:]]


def standardised(values: Sequence[float], share: float) -> tuple[list[float], int]:
    """Deviations from the mean of the first part, in its standard deviations, and how long that part is."""
    known = math.floor(len(values) * share)
    mean, deviation = statistics.mean(values[:known]), statistics.pstdev(values[:known])
    return [(value - mean) / deviation for value in values], known


def persistence(values: Sequence[float], known: int) -> float:
    """The mean squared error of answering the last value, over what comes after the first part."""
    return statistics.mean([(values[t] - values[t - 1]) ** 2 for t in range(known, len(values))])
