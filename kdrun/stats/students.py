"""What quantized students save, what of their teacher's score is left, and what their training takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdrun.records import Run
from kdrun.stats.frame import baselines_of, teachers_of, values_of
from kdrun.stats.scales import Floats, Layout, filled


def with_students(
    treatments: pd.DataFrame,
    runs: Sequence[Run],
    table: pd.DataFrame,
    layout: Layout,
    compression: Mapping[int, float],
) -> pd.DataFrame:
    """The summary of treatments with three more columns; as it is where no student is quantized (no `compression`).

    compression, by treatment as given. retention, percent of the teacher's primary response in the same replicate,
    where higher is better: the student's over the teacher's; of an error the teacher's over the student's. Means of
    these ratios over replicates, geometric where the response is judged on log10. training_cost: seconds of a run over
    those of treatment 1 in its replicate, the median over replicates in which both are done.
    """
    if not compression:
        return treatments
    numbers, groups = treatments["treatment"], table["treatment"].to_numpy()
    kept = pd.Series(_retention(runs, table, layout)).groupby(groups)
    cost = pd.Series(_cost(runs, table)).groupby(groups)
    retention = kept.apply(_geometric_mean) if layout.primary.scale == "log10" else kept.mean()
    return treatments.assign(
        compression=numbers.map(compression).astype(np.float64),
        retention=100.0 * numbers.map(retention).astype(np.float64),
        training_cost=numbers.map(cost.median()).astype(np.float64),
    )


def _retention(runs: Sequence[Run], table: pd.DataFrame, layout: Layout) -> Floats:
    """Each run's share of its teacher's score; nan where the divisor is not positive, or a value is not there."""
    student = filled(table, layout.primary)
    teacher = values_of(teachers_of(runs), runs, student)
    upper, lower = (student, teacher) if layout.primary.better == "higher" else (teacher, student)
    usable = (teacher > 0.0) & (lower > 0.0)
    ratios: Floats = np.divide(upper, lower, out=np.full(len(table), np.nan), where=usable)
    return ratios


def _cost(runs: Sequence[Run], table: pd.DataFrame) -> Floats:
    """Each run's seconds over those of treatment 1; nan unless both are done."""
    seconds = table["seconds"].where(table["status"] == "done").to_numpy(np.float64)
    plain = values_of(baselines_of(runs), runs, seconds)
    ratios: Floats = np.divide(seconds, plain, out=np.full(len(table), np.nan), where=plain > 0.0)
    return ratios


def _geometric_mean(ratios: pd.Series[float]) -> float:
    return float(np.exp(np.log(ratios).mean()))
