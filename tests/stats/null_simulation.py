"""Twenty thousand studies of which the truth is known: does an analysis cover what it claims?

`python -m tests.stats.null_simulation` prints the table that stands in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from kdrun.stats.effects import holm
from kdrun.stats.intervals import difference_intervals
from kdrun.stats.scales import Layout, Response
from kdrun.stats.terms import terms_of

Array = NDArray[np.float64]

STUDIES = 20_000
REPLICATES = (3, 10)
FACTORS = {"gradient": ("ste", "smoothstep"), "distillation": ("none", "trajectory"), "width": ("16", "32")}
LAYOUT = Layout(FACTORS, (Response("y", "linear"),), ("y",))
TREATMENTS = [dict(zip(FACTORS, reversed(cell), strict=True)) for cell in product(*reversed(list(FACTORS.values())))]
TERMS = terms_of(LAYOUT, TREATMENTS)
# Variances 1:10 over treatments, an effect of replicates, and one of replicate × width.
DEVIATIONS = np.sqrt(np.linspace(1, 10, len(TREATMENTS)))
REPLICATE_DEVIATION, WHOLE_PLOT_DEVIATION = 2.0, 1.5
HUGE, HUGE_TERMS = 100.0, (0, 1, 3)
COVERAGE, FAMILYWISE = (94.3, 95.7), (4.0, 5.7)


@dataclass(frozen=True)
class Analysed:
    """Bounds and adjusted p values [studies, terms]."""

    low: Array
    high: Array
    p_adjusted: Array


Analysis = Callable[[Array], Analysed]


def drawn(replicates: int, huge: bool = False, studies: int = STUDIES) -> Array:
    """y [studies, R, 8] without any effect, or with three huge ones."""
    rng = np.random.default_rng(20_000 + replicates)
    y = rng.normal(size=(studies, replicates, len(TREATMENTS))) * DEVIATIONS
    y += REPLICATE_DEVIATION * rng.normal(size=(studies, replicates, 1))
    wide = np.array([treatment["width"] == "32" for treatment in TREATMENTS])
    y += WHOLE_PLOT_DEVIATION * np.where(wide, *rng.normal(size=(2, studies, replicates, 1)))
    if huge:
        y += HUGE / 2 * TERMS.columns[:, list(HUGE_TERMS)].sum(axis=1)
    return y


def kdruns_own(y: Array) -> Analysed:
    """kdrun's analysis of every study: estimates inside replicates, t intervals, Holm."""
    inside = estimates(y)
    found = difference_intervals(rows(inside))
    p_values = found.p_value.reshape(len(y), -1)
    return Analysed(
        found.low.reshape(len(y), -1), found.high.reshape(len(y), -1), np.array([holm(study) for study in p_values])
    )


def estimates(y: Array) -> Array:
    """The estimates [studies, R, terms] inside each replicate."""
    return TERMS.estimates(y.reshape(-1, y.shape[2])).reshape(*y.shape[:2], -1)


def rows(inside: Array) -> Array:
    """One row of R estimates for each study and term."""
    return inside.transpose(0, 2, 1).reshape(-1, inside.shape[1])


def coverage(analysis: Analysis, replicates: int) -> Array:
    """How many percent of intervals of each term hold its true effect, 0."""
    found = analysis(drawn(replicates))
    percent: Array = 100 * np.mean((found.low <= 0) & (found.high >= 0), axis=0)
    return percent


def familywise(analysis: Analysis, replicates: int, huge: bool) -> float:
    """In how many percent of studies some term without effect has an adjusted p of 0.05 or less."""
    found = analysis(drawn(replicates, huge))
    null = [term for term in range(len(TERMS.terms)) if not (huge and term in HUGE_TERMS)]
    return float(100 * np.mean((found.p_adjusted[:, null] <= 0.05).any(axis=1)))


def failures(analysis: Analysis, replicates: int) -> list[str]:
    """Every bound that an analysis misses."""
    covered = dict(zip(TERMS.names, coverage(analysis, replicates), strict=True))
    missed = [f"coverage of {name} is {p:.2f}" for name, p in covered.items() if not COVERAGE[0] <= p <= COVERAGE[1]]
    for huge in (False, True):
        error = familywise(analysis, replicates, huge)
        if not FAMILYWISE[0] <= error <= FAMILYWISE[1]:
            missed.append(f"familywise error {'beside huge effects' if huge else 'without effects'} is {error:.2f}")
    return missed


def table() -> str:
    """What docs/statistics.md shows."""
    lines = ["| | R = 3 | R = 10 |", "| --- | ---: | ---: |"]
    covered = [coverage(kdruns_own, replicates) for replicates in REPLICATES]
    for place, name in enumerate(TERMS.names):
        lines.append(f"| coverage of {name} | {covered[0][place]:.2f}% | {covered[1][place]:.2f}% |")
    for huge in (False, True):
        errors = [familywise(kdruns_own, replicates, huge) for replicates in REPLICATES]
        what = "beside three huge effects" if huge else "without effects"
        lines.append(f"| familywise error after Holm, {what} | {errors[0]:.2f}% | {errors[1]:.2f}% |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201 (a script that prints)
