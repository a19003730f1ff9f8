"""Seconds of runs in step: each has its own, and an equal share of what is done for several of them at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Ledger:
    """Whose step it is, and `metered`, the seconds of all meters together, which are nobody's own."""

    def __init__(self) -> None:
        self.stepping, self.metered, self.meters = 0, 0.0, list[Meter]()

    def shares(self, run: int) -> float:
        """What a run has of all meters."""
        return sum(meter.seconds / len(meter.runs) for meter in self.meters if run in meter.runs)


class Meter:
    """Something that is done for some runs at once: the seconds that it took, without those of meters inside it."""

    def __init__(self, ledger: Ledger, runs: set[int]) -> None:
        self.seconds, self.runs, self._ledger = 0.0, runs, ledger
        ledger.meters.append(self)

    def time(self, do: Callable[..., None], *arguments: Any) -> None:
        """Do it."""
        ledger = self._ledger
        start = time.perf_counter() - ledger.metered
        try:
            do(*arguments)
        finally:
            own = time.perf_counter() - ledger.metered - start
            self.seconds += own
            ledger.metered += own
