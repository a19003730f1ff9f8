"""Every level that is discovered, for batteries that list none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdrun.core.random import Stream
from kdrun.factors.contract import Context, Level, Progress
from kdrun.factors.discover import families, levels

START, END = Progress(0, 100), Progress(100, 100)
ENDS = {"start": START, "middle": Progress(50, 100), "end": END}
STREAM = Stream(7, 0, "battery")


def every_level() -> dict[str, type[Level]]:
    """All levels of all families, by `family.level`."""
    return {f"{family}.{name}": level for family in families() for name, level in levels(family).items()}


def battery(contract: type[Level]) -> Any:
    """A parametrization over every discovered level of a contract, as `level`: one instance with its defaults."""
    found = {name: level for name, level in every_level().items() if issubclass(level, contract)}
    return pytest.mark.parametrize("level", [level() for level in found.values()], ids=list(found))


def context(progress: Progress = START, own: Any = None, state: Any = None) -> Context:
    """What a slot is handed besides its arguments."""
    return Context(own or {}, state or {}, progress, STREAM)


def draw(purpose: str, shape: tuple[int, ...], low: float = -1.0, high: float = 1.0, dtype: Any = "float64") -> Any:
    """Random numbers that float32 holds exactly."""
    return np.float32(STREAM.child(purpose).uniform(0, shape, low, high, "float32")).astype(dtype)
