"""Small studies with chosen numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import pandas as pd

from kdrun.records import Outcome, Run
from kdrun.stats.effects import Contrasts, contrasts_of, effects_table
from kdrun.stats.frame import runs_table
from kdrun.stats.scales import Layout

# Worked example of the statistics page: three replicates, factor A fastest.
WORKED = [
    [10, 14, 9, 15, 8, 13, 6, 13],
    [12, 14, 12, 16, 9, 11, 8, 14],
    [11, 17, 9, 14, 10, 12, 7, 12],
]


@dataclass
class Drawn:
    """Planned runs and their outcomes."""

    runs: list[Run] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def add(self, run: Run, responses: Mapping[str, float], status: str = "done") -> Run:
        """Plan a run and store what came of it."""
        self.runs.append(run)
        self.outcomes[run.run_id] = Outcome(run.run_id, status, responses)  # type: ignore[arg-type]
        return run

    def treatments(
        self, name: str, values: Sequence[Sequence[float]], layout: Layout, first_replicate: int = 1
    ) -> None:
        """Plan treatments in standard order; `values` [R, treatments]."""
        factors = list(layout.factors)
        cells = [tuple(reversed(cell)) for cell in product(*(layout.factors[name] for name in reversed(factors)))]
        for replicate, row in enumerate(values, first_replicate):
            for treatment, (value, cell) in enumerate(zip(row, cells, strict=True), 1):
                levels = dict(zip(factors, cell, strict=True))
                run_id = f"r{replicate}t{treatment}"
                self.add(Run(run_id, "treatment", replicate, {}, (), treatment, None, levels), {name: value})

    def table(self, layout: Layout) -> pd.DataFrame:
        """The table of these runs."""
        return runs_table(self.runs, self.outcomes, layout)

    def contrasts(self, layout: Layout, name: str = "") -> Contrasts:
        """The contrasts of a response, the primary one by default."""
        return contrasts_of(self.table(layout), layout, layout.response(name or layout.judged[0]))

    def effects(self, layout: Layout) -> pd.DataFrame:
        """The effects on the primary response."""
        return effects_table(self.contrasts(layout))
