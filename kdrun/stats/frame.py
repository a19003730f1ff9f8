"""The table of runs: what was planned beside what came of it. All other tables are computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdrun.records import Outcome, Run
from kdrun.stats.scales import Floats, Layout, filled

TEACHER_RATIO = "vs_float"
BASELINE_RATIO = "vs_baseline"
BASELINE = 1


def runs_table(runs: Sequence[Run], outcomes: Mapping[str, Outcome], layout: Layout) -> pd.DataFrame:
    """One row per planned run, in the order of the plan; a run without an outcome is `missing`.

    Columns, those of `runs.csv`: run_id, kind, treatment (Int64), replicate, comparator, one per factor (text, empty
    where it does not apply), status, one per response (float64, nan where there is none), then the ratios that the task
    declares, seconds, error. Measured columns hold what was measured; ratios of a diverged run use its stand-in.
    """
    found = [outcomes.get(run.run_id) or Outcome(run.run_id, "missing", seconds=np.nan) for run in runs]
    table = pd.DataFrame(
        {
            "run_id": pd.Series([run.run_id for run in runs], dtype="str"),
            "kind": pd.Series([run.kind for run in runs], dtype="str"),
            "treatment": pd.array([run.treatment for run in runs], dtype="Int64"),
            "replicate": pd.Series([run.replicate for run in runs], dtype="int64"),
            "comparator": pd.Series([run.comparator or "" for run in runs], dtype="str"),
            **{name: pd.Series([run.levels.get(name, "") for run in runs], dtype="str") for name in layout.factors},
            "status": pd.Series([outcome.status for outcome in found], dtype="str"),
            **{response.name: _measured(found, response.name) for response in layout.responses},
        }
    )
    for name in layout.ratios:
        table[name] = _ratio(table, runs, layout, name)
    table["seconds"] = np.array([outcome.seconds for outcome in found], np.float64)
    table["error"] = pd.Series([outcome.error for outcome in found], dtype="str")
    return table


def _measured(outcomes: Sequence[Outcome], name: str) -> Floats:
    return np.array([outcome.responses.get(name, np.nan) for outcome in outcomes], np.float64)


def _ratio(table: pd.DataFrame, runs: Sequence[Run], layout: Layout, name: str) -> Floats:
    """The primary response of each student over that of the run that it is compared with, in its own replicate."""
    values = filled(table, layout.primary)
    references = {TEACHER_RATIO: teachers_of, BASELINE_RATIO: baselines_of}[name](runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        return values / values_of(references, runs, values)


def values_of(references: Sequence[str], runs: Sequence[Run], values: Floats) -> Floats:
    """The value of the run that each of `references` names, from those of all runs; nan where there is none."""
    place = {run.run_id: position for position, run in enumerate(runs)}
    positions = np.array([place.get(reference, -1) for reference in references], np.int64)
    return np.where(positions < 0, np.nan, values[positions]) if len(runs) else values


def teachers_of(runs: Sequence[Run]) -> list[str]:
    """For each run the teacher that it comes from, through as many needs as it takes; empty for none."""
    known = {run.run_id: run for run in runs}
    found: dict[str, str] = {}

    def teacher_of(run: Run) -> str:
        if run.run_id not in found:
            needed = [known[need] for need in run.needs if need in known]
            teachers = [need.run_id if need.kind == "teacher" else teacher_of(need) for need in needed]
            found[run.run_id] = next((teacher for teacher in teachers if teacher), "")
        return found[run.run_id]

    return [teacher_of(run) for run in runs]


def baselines_of(runs: Sequence[Run]) -> list[str]:
    """For each treatment and comparator the run of treatment 1 in its replicate; empty for a teacher."""
    baseline = {run.replicate: run.run_id for run in runs if run.kind == "treatment" and run.treatment == BASELINE}
    return ["" if run.kind == "teacher" else baseline.get(run.replicate, "") for run in runs]
