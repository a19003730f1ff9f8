"""The smallest effect that a study can show, for each of its terms: in units of a run's deviation, or by a pilot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special

from kdrun.stats.power import minimum_detectable, upper_deviation
from kdrun.stats.scales import Response, ratio
from kdrun.stats.terms import Terms

ALPHA = 0.05
ADVISED_REPLICATES = 6
COLUMNS = (
    "response", "term", "contrast", "order", "deviation", "delta", "delta_holm", "deviation_high", "delta_high",
    "delta_holm_high", "ratio", "ratio_holm", "ratio_high", "ratio_holm_high",
)  # fmt: skip
_SIZES = ("delta", "delta_holm", "delta_high", "delta_holm_high")


def minimum_effects(terms: Terms, replicates: int) -> pd.DataFrame:
    """Minimum detectable effects in units of σ, the deviation of a run inside its replicate. Columns: `COLUMNS`.

    One row per contrast. `deviation` is σ_d = σ·√(variance factor), which is 2σ/√N for two-level terms; `delta` is
    detected with 80% power at α = 0.05, `delta_holm` at 0.05/(m·c), the first and hardest step of Holm over m terms for
    a term of c contrasts. nan for one replicate. Upper limits and ratios, which only a pilot tells, are nan.
    """
    table = _contrasts(terms, "")
    table["deviation"] = np.sqrt(terms.variance_factor)
    return _with_sizes(table, len(terms.terms), replicates)


def pilot_effects(terms: Terms, replicates: int, effects: pd.DataFrame, responses: Sequence[Response]) -> pd.DataFrame:
    """Minimum detectable effects on the analysis scale, by what a pilot's `effects` say of each contrast.

    `deviation` is the pilot's σ_d = std_error·√(df + 1), and `deviation_high` its 80% upper limit; each has its sizes,
    and their ratios on logarithmic scales. nan for what the pilot does not tell. Columns: `COLUMNS`.
    """
    tables = [_by_pilot(terms, replicates, effects, response) for response in responses]
    return pd.concat(tables, ignore_index=True)


def _by_pilot(terms: Terms, replicates: int, effects: pd.DataFrame, response: Response) -> pd.DataFrame:
    table = _contrasts(terms, response.name)
    rows = effects[effects["response"] == response.name]
    count = rows["df"].to_numpy(np.float64) + 1
    deviations = rows["std_error"].to_numpy(np.float64) * np.sqrt(count)
    names = zip(rows["term"], rows["contrast"].fillna(""), strict=True)
    known = dict(zip(names, zip(deviations, count, strict=True), strict=True))
    found = [known.get(name, (np.nan, np.nan)) for name in zip(table["term"], table["contrast"], strict=True)]
    table["deviation"] = [deviation for deviation, _ in found]
    table["deviation_high"] = [upper_deviation(deviation, runs) for deviation, runs in found]
    table = _with_sizes(table, len(terms.terms), replicates)
    for size in _SIZES:
        table[size.replace("delta", "ratio")] = ratio(table[size].to_numpy(np.float64), response.scale)
    return table


def _contrasts(terms: Terms, response: str) -> pd.DataFrame:
    """A row for each contrast; every number is still nan."""
    table = pd.DataFrame(np.nan, index=range(len(terms.contrasts)), columns=list(COLUMNS))
    table["response"] = response
    table["term"] = pd.Series([terms.terms[index].name for index, _ in terms.contrasts], dtype="str")
    table["contrast"] = pd.Series([label for _, label in terms.contrasts], dtype="str")
    table["order"] = pd.Series([terms.terms[index].order for index, _ in terms.contrasts], dtype=np.int64)
    return table


def _with_sizes(table: pd.DataFrame, tests: int, replicates: int) -> pd.DataFrame:
    """The table with the sizes that follow from its deviations."""
    plain = minimum_detectable(replicates, ALPHA)
    contrasts = table.groupby("term", sort=False)["term"].transform("size")
    known = {size: minimum_detectable(replicates, ALPHA / (max(1, tests) * size)) for size in contrasts.unique()}
    strict = contrasts.map(known)
    for suffix in ("", "_high"):
        deviation = table[f"deviation{suffix}"]
        table[f"delta{suffix}"], table[f"delta_holm{suffix}"] = deviation * plain, deviation * strict
    return table


def power_warnings(terms: int, replicates: int) -> list[str]:
    """What so few replicates cannot show; empty from six on."""
    if replicates >= ADVISED_REPLICATES:
        return []
    if replicates == 1:
        return ["one replicate: no intervals, no tests and no verdicts; plan at least 6"]
    critical = float(special.stdtrit(replicates - 1, 1 - ALPHA / (2 * max(1, terms))))
    text = f"{replicates} replicates: Holm over {terms} term{'s'[: terms != 1]} asks for |t| above {critical:.3g} first"
    return [f"{text}; plan at least {ADVISED_REPLICATES}"]
