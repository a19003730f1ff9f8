"""What claims are judged by, and what a judgement says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from kdrun.records import GradientCheck
from kdrun.stats.effects import Contrasts, contrasts_of, design_terms
from kdrun.stats.intervals import Intervals
from kdrun.stats.scales import Layout, Response, filled, ratio
from kdrun.stats.terms import Terms

Verdict = Literal["supported", "refuted", "inconclusive"]
Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What claims are judged by.

    The table of runs and its layout, the gradient checks, and whether replicate 1 gave the same bits again (None: not
    tried).
    """

    table: pd.DataFrame
    layout: Layout
    gradient_checks: Sequence[GradientCheck] = ()
    reproducible: bool | None = None
    _contrasts: dict[str, Contrasts] = field(default_factory=dict)

    @cached_property
    def terms(self) -> Terms:
        """The terms that the treatments can tell."""
        return design_terms(self.table, self.layout)

    def contrasts(self, response: str) -> Contrasts:
        """The contrasts of one response, made once."""
        if response not in self._contrasts:
            self._contrasts[response] = contrasts_of(
                self.table, self.layout, self.layout.response(response), self.terms
            )
        return self._contrasts[response]

    def response(self, argument: Mapping[str, Any]) -> Response:
        """The response that a claim names, else the primary one."""
        return self.layout.response(argument.get("response") or self.layout.judged[0])

    def with_worst(self, name: str) -> Known:
        """The same with diverged runs at the worst value seen of one response."""
        worst = _worst(self.table, self.layout.response(name))
        responses = tuple(
            replace(response, stand_in=worst) if response.name == name else response
            for response in self.layout.responses
        )
        return replace(self, layout=replace(self.layout, responses=responses), _contrasts={})


def _worst(table: pd.DataFrame, response: Response) -> float | None:
    values = filled(table, response)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    return float(values.max() if response.better == "lower" else values.min())


@dataclass(frozen=True)
class Finding:
    """A verdict on one claim, a sentence with the numbers behind it, and the estimate where there is one."""

    verdict: Verdict
    evidence: str
    estimate: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    replicates: int = 0


# Judges the argument of a claim at a level alpha.
Judge = Callable[[Any, Known, float], Finding]


@dataclass(frozen=True)
class Estimate:
    """One estimate with its interval, on the analysis scale."""

    mean: float
    low: float
    high: float
    std_error: float
    replicates: int

    @classmethod
    def of(cls, found: Intervals, row: int = 0) -> Estimate:
        """One row of intervals."""
        mean, low, high, error = (float(v[row]) for v in (found.mean, found.low, found.high, found.std_error))
        return cls(mean, low, high, error, int(found.count[row]))

    def verdict(self, low: float, high: float) -> Verdict:
        """Supported where the interval lies inside (low, high), refuted where it lies outside, else inconclusive."""
        if np.isnan(self.low):
            return "inconclusive"
        if low < self.low and self.high < high:
            return "supported"
        return "refuted" if self.low > high or self.high < low else "inconclusive"

    @property
    def obstacle(self) -> str:
        """Why there is no interval, as the end of a sentence; empty where there is one."""
        if not np.isnan(self.low):
            return ""
        if np.isnan(self.mean):
            return ": there is no estimate"
        if self.replicates < 2:
            return ": one replicate gives no interval, so no verdict"
        if self.std_error == 0:
            return ": the replicates do not vary, so there is no interval and no verdict"
        return ": too many runs are missing for an interval"

    def as_ratio(self, response: Response) -> tuple[float, float, float]:
        """A difference with its bounds as people read it: a ratio (of odds) on a log scale."""
        if response.scale == "linear":
            return self.mean, self.low, self.high
        mean, low, high = (float(value) for value in ratio(np.array([self.mean, self.low, self.high]), response.scale))
        return mean, low, high


def difference_words(response: Response) -> str:
    """What a difference on the analysis scale is called."""
    return {"log10": "a ratio", "logit": "an odds ratio", "linear": "a difference"}[response.scale]


def counted(replicates: int) -> str:
    """How many replicates, in a sentence."""
    return f"{replicates} replicate{'s'[: replicates != 1]}"


def number(value: float) -> str:
    """A number in a sentence: three significant digits, without trailing zeros."""
    return "no value" if np.isnan(value) else f"{value:.3g}"


def interval(mean: float, low: float, high: float) -> str:
    """A mean with its interval in a sentence, the interval only where there is one."""
    return number(mean) if np.isnan(low) else f"{number(mean)} [{number(low)}, {number(high)}]"
