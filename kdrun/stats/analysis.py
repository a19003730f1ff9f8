"""Everything that is computed from the runs of one study, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdrun.records import GradientCheck, Outcome, Run
from kdrun.stats.effects import effects_table
from kdrun.stats.frame import runs_table
from kdrun.stats.lenth import Lenth
from kdrun.stats.scales import Layout
from kdrun.stats.summary import comparator_summary, run_counts, treatment_summary
from kdrun.stats.verdicts import VERDICT_COLUMNS, Known, criteria_table


@dataclass(frozen=True)
class Analysis:
    """The tables of a study; the columns of each are described where it is made.

    `complete_effects` are the effects from the complete replicates alone, where others have holes, and empty where
    nothing is missing; `lenth` has Lenth's limits by response, where there is one replicate; `hypotheses` has a column
    `evidence` beside those of hypotheses.csv; `notes` are sentences about what could not be computed, and why.
    """

    layout: Layout
    runs: pd.DataFrame
    treatments: pd.DataFrame
    comparators: pd.DataFrame
    counts: pd.DataFrame
    effects: pd.DataFrame
    complete_effects: pd.DataFrame
    anova: pd.DataFrame
    lenth: Mapping[str, Lenth]
    hypotheses: pd.DataFrame
    criteria: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that a results folder holds, by file name without its ending."""
        return {
            "runs": self.runs,
            "treatments": self.treatments,
            "effects": self.effects,
            "anova": self.anova,
            "hypotheses": self.hypotheses.drop(columns="evidence"),
            "criteria": self.criteria,
        }


def analyse(
    runs: Sequence[Run],
    outcomes: Mapping[str, Outcome],
    layout: Layout,
    criteria: Sequence[Mapping[str, Any]] = (),
    gradient_checks: Sequence[GradientCheck] = (),
    reproducible: bool | None = None,
) -> Analysis:
    """All tables of a study from its planned runs and what came of them.

    `criteria` are mappings with `name`, `claim`, `required`; `reproducible` is None where that was not tried.
    """
    table = runs_table(runs, outcomes, layout)
    effects = effects_table(table, layout)
    known = Known(table, layout, effects, gradient_checks, reproducible)
    return Analysis(
        layout=layout,
        runs=table,
        treatments=treatment_summary(table, layout),
        comparators=comparator_summary(table, layout),
        counts=run_counts(table, layout),
        effects=effects,
        complete_effects=effects.iloc[:0],
        anova=pd.DataFrame(
            columns=["response", "term", "stratum", "df", "sum_sq", "mean_sq", "F", "p_value", "partial_eta_sq"]
        ),
        lenth={},
        hypotheses=pd.DataFrame(columns=[*VERDICT_COLUMNS, "evidence"]),
        criteria=criteria_table(criteria, known),
    )
