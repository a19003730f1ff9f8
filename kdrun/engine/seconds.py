"""Seconds of runs in step: each has its own, and an equal share of what is done for several of them at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any


class Ledger:
    """Whose step it is, and `metered`, the seconds of all meters together, which are nobody's own."""

    def __init__(self) -> None:
        self.stepping, self.metered, self.meters, self.ended = 0, 0.0, list[Meter](), set[int]()

    def settle(self, run: int) -> float:
        """What a run that ends has of all meters. From now on the others share without it."""
        self.ended.add(run)
        shared = [meter for meter in self.meters if run in meter.runs]
        for meter in shared:
            meter.runs.remove(run)
        return sum(meter.share for meter in shared)


class Meter:
    """Something that is done for some runs at once, and the seconds that each has of it; not of meters inside it."""

    def __init__(self, ledger: Ledger, runs: Iterable[int] = ()) -> None:
        self.share, self.runs, self._ledger = 0.0, set(runs) - ledger.ended, ledger
        ledger.meters.append(self)

    def time(self, do: Callable[..., Any], *arguments: Any) -> None:
        """Do it. Where all of the runs have ended it counts for whose step it is."""
        if not self.runs:
            do(*arguments)
            return
        ledger = self._ledger
        start = time.perf_counter() - ledger.metered
        try:
            do(*arguments)
        finally:
            own = time.perf_counter() - ledger.metered - start
            self.share += own / len(self.runs)
            ledger.metered += own
