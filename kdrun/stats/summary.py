"""Means of treatments and comparators over replicates, with 95% intervals.

Means and intervals are taken on the analysis scale and turned back. Ratios to the teacher and to the baseline are
paired within replicates, 10^(mean d ± t·s/√n): never ratios of two means.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdrun.stats.frame import BASELINE, BASELINE_RATIO
from kdrun.stats.intervals import difference_intervals, t_intervals
from kdrun.stats.scales import Floats, Layout, Response, analysis_values, from_analysis

# For each row of runs: its row and its column in a matrix of groups by replicates.
Place = tuple[NDArray[np.int64], NDArray[np.int64]]
STATUSES = ("done", "failed", "diverged", "missing")


def treatment_summary(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """One row per treatment, by number.

    Columns, those of `treatments.csv`: treatment, factors, replicates (with a value of the primary response), then
    <name>_mean, <name>_ci_low, <name>_ci_high of each response and ratio.

    A bound is nan where there is no interval: one replicate, values that do not vary, or treatment 1 against itself.
    """
    rows = table[table["kind"] == "treatment"]
    summary = _summary(rows, ["treatment", *layout.factors], layout).sort_values("treatment", ignore_index=True)
    if BASELINE_RATIO in layout.ratios:
        bounds = [f"{BASELINE_RATIO}_ci_low", f"{BASELINE_RATIO}_ci_high"]
        summary.loc[summary["treatment"] == BASELINE, bounds] = np.nan
    return summary


def comparator_summary(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """One row per comparator and the levels that it was made at, in the order of the plan.

    Columns as of `treatment_summary`, with `comparator` in place of `treatment`.
    """
    return _summary(table[table["kind"] == "comparator"], ["comparator", *layout.factors], layout)


def run_counts(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """How the runs of each teacher, treatment and comparator ended, in the order of the plan.

    Columns: kind, treatment, comparator, factors, done, failed, diverged, missing.
    """
    keys = ["kind", "treatment", "comparator", *layout.factors]
    groups = table.groupby(keys, sort=False, dropna=False)["status"]
    counts = {status: (table["status"] == status).groupby(groups.ngroup()).sum() for status in STATUSES}
    heads = table[keys].groupby(groups.ngroup()).first()
    return heads.assign(**counts).reset_index(drop=True)


def _summary(rows: pd.DataFrame, keys: list[str], layout: Layout) -> pd.DataFrame:
    rows = rows.reset_index(drop=True)
    group = rows.groupby(keys, sort=False, dropna=False).ngroup()
    heads = rows[keys].groupby(group).first()
    place: Place = np.asarray(group, np.int64), _columns(rows["replicate"])
    columns = [_response_columns(rows, response, place, response.name in layout.ratios) for response in layout.columns]
    replicates = pd.Series(_present(rows, layout.primary, place), index=heads.index, name="replicates")
    return pd.concat([heads, replicates, *columns], axis=1).reset_index(drop=True)


def _columns(replicates: pd.Series[int]) -> NDArray[np.int64]:
    """The column of each row's replicate in a matrix of groups by replicates."""
    return np.unique(replicates.to_numpy(np.int64), return_inverse=True)[1]


def _matrix(values: Floats, place: Place) -> Floats:
    """Values [rows] as a matrix [groups, replicates], nan where there is no run."""
    shape = tuple(int(index.max(initial=-1)) + 1 for index in place)
    matrix = np.full(shape, np.nan)
    matrix[place] = values
    return matrix


def _present(rows: pd.DataFrame, response: Response, place: Place) -> list[int]:
    """How many replicates of each group have a value."""
    return [int(np.sum(~np.isnan(values))) for values in _matrix(analysis_values(rows, response), place)]


def _response_columns(rows: pd.DataFrame, response: Response, place: Place, paired: bool) -> pd.DataFrame:
    if paired:
        # The stand-ins of diverged runs are in the ratios already.
        y = analysis_values(rows, response, rows[response.name].to_numpy(np.float64))
        found = difference_intervals(_matrix(y, place), magnitude=1.0)
    else:
        found = t_intervals(_matrix(analysis_values(rows, response), place))
    bounds = {"mean": found.mean, "ci_low": found.low, "ci_high": found.high}
    return pd.DataFrame({f"{response.name}_{key}": from_analysis(y, response.scale) for key, y in bounds.items()})
