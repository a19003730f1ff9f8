"""Two results folders beside each other: which runs are the same, and how much each treatment differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from kdrun.stats.intervals import Intervals, difference_intervals
from kdrun.stats.scales import Floats, Response, analysis_values, from_analysis, ratio

IDENTICAL, DIFFERENT = "identical", "different"
COLUMNS = (
    "response", "kind", "comparator", "verdict", "replicates", "only_a", "only_b", "mean_a", "mean_b", "estimate",
    "ci_low", "ci_high", "p_value", "ratio", "ratio_low", "ratio_high",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Two results folders: the table of `comparison_table`, their digests, and whether replicates were paired."""

    names: tuple[str, str]
    digests: tuple[str, str]
    factors: tuple[str, ...]
    responses: tuple[Response, ...]
    paired: bool
    table: pd.DataFrame

    @property
    def identical(self) -> bool:
        """Whether both hold the same runs with the same bits, of every response and every trained network."""
        return self.same_responses and self.digests[0] == self.digests[1]

    @property
    def same_responses(self) -> bool:
        """Whether both hold the same runs with the same bits of the compared responses."""
        alone = self.table[["only_a", "only_b"]].fillna(0).to_numpy()
        return bool((self.table["verdict"] == IDENTICAL).all()) and not alone.any()


def comparison_table(
    a: pd.DataFrame, b: pd.DataFrame, factors: Sequence[str], responses: Sequence[Response], paired: bool
) -> pd.DataFrame:
    """One row per response and per teacher, treatment or comparator of two tables of runs, in the order of A, then B.

    Columns: response, kind, comparator, one per factor, verdict (`identical`, `different`, `only in A`, `only in B`),
    replicates (in both), only_a and only_b (replicates of one alone), mean_a and mean_b in the response's own units,
    and of B minus A: estimate, ci_low, ci_high, p_value on the analysis scale, ratio, ratio_low, ratio_high where that
    is logarithmic. Where replicates are paired, means and verdicts are over those that both have. Identical means the
    status and every bit of the response, of every such run. `paired` says that a
    replicate of A and one of B share their random numbers; else the interval is Welch's.
    """
    keys = ["kind", "comparator", *factors]
    a, b = (_with_all(table, factors) for table in (a, b))
    groups_a, groups_b = (dict(list(table.groupby(keys, sort=False))) for table in (a, b))
    rows = [
        {
            "response": response.name,
            **dict(zip(keys, key, strict=True)),
            **_compared(groups_a, groups_b, key, response, paired),
        }
        for response in responses
        for key in dict.fromkeys([*groups_a, *groups_b])
    ]
    columns = [*COLUMNS[:3], *factors, *COLUMNS[3:]]
    return pd.DataFrame(rows, columns=columns)


def _with_all(table: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """The table with a column for every factor, empty where its study has none of that name."""
    return table.assign(**{name: "" for name in factors if name not in table.columns})


def _compared(groups_a: Any, groups_b: Any, key: Any, response: Response, paired: bool) -> dict[str, Any]:
    a, b = (groups.get(key) for groups in (groups_a, groups_b))
    if a is None or b is None:
        rows, side = (a, "a") if b is None else (b, "b")
        mean = _mean(_y(rows, response), response)
        return {"verdict": f"only in {side.upper()}", "replicates": 0, f"mean_{side}": mean, f"only_{side}": len(rows)}
    a, b = (rows.set_index("replicate").sort_index() for rows in (a, b))
    both = a.index.intersection(b.index)
    counts = {"replicates": len(both), "only_a": len(a) - len(both), "only_b": len(b) - len(both)}
    shared_a, shared_b = a.loc[both], b.loc[both]
    if paired and len(both):
        a, b = shared_a, shared_b
    y_a, y_b = _y(a, response), _y(b, response)
    same = len(a) == len(b) == len(both) and _same(a, b, response)
    found = _paired(shared_a, shared_b, response) if paired else _welch(y_a, y_b)
    means = {"mean_a": _mean(y_a, response), "mean_b": _mean(y_b, response)}
    return {"verdict": IDENTICAL if same else DIFFERENT, **counts, **means, **_numbers(found, response)}


def _y(rows: pd.DataFrame, response: Response) -> Floats:
    """Values on the analysis scale, without holes."""
    y = analysis_values(rows.reset_index(), response)
    return y[~np.isnan(y)]


def _mean(y: Floats, response: Response) -> float:
    return float(from_analysis(y.mean(), response.scale)) if len(y) else np.nan


def _same(a: pd.DataFrame, b: pd.DataFrame, response: Response) -> bool:
    """Whether status and every bit of the response are the same in all replicates."""
    bits = [rows[response.name].to_numpy(np.float64).view(np.uint64) for rows in (a, b)]
    empty = [np.isnan(rows[response.name].to_numpy(np.float64)) for rows in (a, b)]
    same: NDArray[np.bool_] = (bits[0] == bits[1]) | (empty[0] & empty[1])
    return bool(same.all() and (a["status"].to_numpy() == b["status"].to_numpy()).all())


def _paired(a: pd.DataFrame, b: pd.DataFrame, response: Response) -> Intervals:
    y_a, y_b = (analysis_values(rows.reset_index(), response) for rows in (a, b))
    magnitude = float(np.nanmax(np.abs(np.concatenate([y_a, y_b])), initial=0.0))
    return difference_intervals((y_b - y_a)[None, :], magnitude=magnitude)


def _welch(a: Floats, b: Floats) -> Intervals:
    """Welch's interval of the difference of two means from independent replicates."""
    count = np.array([min(len(a), len(b))])
    nothing = np.array([np.nan])
    mean = np.array([b.mean() - a.mean() if len(a) and len(b) else np.nan])
    if count[0] < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return Intervals(count, mean, nothing, nothing, nothing, nothing, nothing)
    parts = np.array([np.var(y, ddof=1) / len(y) for y in (a, b)])
    error = np.sqrt(parts.sum(keepdims=True))
    df = parts.sum(keepdims=True) ** 2 / np.sum(parts**2 / (np.array([len(a), len(b)]) - 1), keepdims=True)
    half = special.stdtrit(df, 0.975) * error
    p_value = 2 * special.stdtr(df, -np.abs(mean / error))
    return Intervals(count, mean, mean - half, mean + half, error, df, p_value)


def _numbers(found: Intervals, response: Response) -> dict[str, float]:
    bounds = {"": found.mean, "_low": found.low, "_high": found.high}
    names = {"": "estimate", "_low": "ci_low", "_high": "ci_high"}
    plain = {names[key]: float(values[0]) for key, values in bounds.items()}
    ratios = {f"ratio{key}": float(ratio(values, response.scale)[0]) for key, values in bounds.items()}
    return {**plain, "p_value": float(found.p_value[0]), **ratios}
