"""The two records that every room hands on: a run to do, and what came of it. Both are frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Stands between what went wrong with a run and what it had printed until then.
PRINTED = "\n\n--- printed last ---\n"
LONGEST_REASON = 500

Kind = Literal["treatment", "teacher", "comparator"]
Status = Literal["done", "failed", "diverged", "missing", "running"]


@dataclass(frozen=True, slots=True)
class Run:
    """One treatment in one replicate, or a teacher or comparator of that replicate.

    `spec` holds the resolved values that the run depends on, as plain JSON data: with the outcomes of the runs in
    `needs` and the random streams of (`seed` in the spec, `replicate`) it determines every bit of the outcome.
    `levels` maps each factor that applies to the level as the study file writes it.
    """

    run_id: str
    kind: Kind
    replicate: int
    spec: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    treatment: int | None = None
    comparator: str | None = None
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How progress and errors name the run, e.g. `treatment 3, replicate 2`."""
        if self.kind == "treatment":
            return f"treatment {self.treatment}, replicate {self.replicate}"
        name = self.comparator if self.kind == "comparator" else "teacher"
        levels = ", ".join(f"{factor}={level}" for factor, level in self.levels.items())
        return f"{name}{f' ({levels})' if levels else ''}, replicate {self.replicate}"


@dataclass(frozen=True, slots=True)
class History:
    """One named series of a run: `epochs` int64 [n], `values` float64 [n]."""

    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    `responses` are measured values by name (`train_mse`, `eval_mse`, …); `parameters` the trained network, named
    arrays, empty where nothing was trained; `seconds` wall time, of runs trained together each one's share; `error` a
    traceback or a reason.
    """

    run_id: str
    status: Status
    responses: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    history: Mapping[str, History] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    @property
    def reason(self) -> str:
        """The line of `error` that says most: the last one of a traceback, not of what was printed before it."""
        lines = self.error.partition(PRINTED)[0].strip().splitlines()
        # The traceback of a group of errors ends with a frame around it.
        words = next((line for line in reversed(lines) if re.search(r"\w", line)), "").strip(" |\t")
        return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}…"


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """One row of the gradient check: the worst relative error over all `parameters` of one combination."""

    name: str
    dtype: str
    parameters: int
    max_relative_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the worst error is within the tolerance."""
        return self.max_relative_error <= self.tolerance
